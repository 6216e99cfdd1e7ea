"""The data commands: which arguments they take, as drivers send them, and where values stand in them."""

from datetime import datetime
from typing import Any

import pytest
from bson import SON, Binary, Int64, ObjectId, Timestamp

from sealwire.policies.errors import Reason, Refusal
from tests.policies.support import covered, plan_message, plan_of, planned, reason, seal

SESSION = {
    "lsid": {"id": Binary(b"0" * 16, 4)},
    "$clusterTime": {"clusterTime": Timestamp(1, 1), "signature": {"hash": b"0" * 20, "keyId": Int64(0)}},
    "$readPreference": {"mode": "primary"},
    "txnNumber": Int64(1),
    "startTransaction": True,
    "autocommit": False,
    "readConcern": {"level": "majority"},
    "writeConcern": {"w": "majority"},
    "maxTimeMS": 5,
    "comment": {"nhs_number": "any"},
    "apiVersion": "1",
    "apiStrict": True,
    "apiDeprecationErrors": True,
}
"""What drivers add to any command."""

ENGLISH = {"locale": "en", "strength": 2}


@pytest.mark.parametrize(
    ("command", "edits"),
    [
        (
            {
                **{
                    "find": "patients",
                    "filter": {"nhs_number": "a"},
                    "projection": {"_id": 0},
                    "sort": {"n": 1},
                },
                **{
                    "hint": "name_1",
                    "skip": 1,
                    "limit": 2,
                    "batchSize": 3,
                    "singleBatch": True,
                    "let": {"x": 1},
                },
                **{"returnKey": False, "showRecordId": False, "tailable": False, "awaitData": False},
                **{"oplogReplay": False, "noCursorTimeout": True, "allowPartialResults": False},
                **{"allowDiskUse": True, "min": {"name": "a"}, "max": {"name": "b"}},
                **{"collation": {"locale": "simple"}},
            },
            [("nhs_number", "a")],
        ),
        ({"find": "patients", "filter": {}, "sort": {"$natural": -1}, "hint": {"$natural": 1}}, []),
        ({"find": "patients"}, []),
        ({"find": "patients", "filter": None, "projection": None, "sort": None, "collation": None}, []),
        (
            {
                "count": "patients",
                "query": {"nhs_number": "a"},
                "limit": 1,
                "skip": 0,
                "hint": "x",
                "fields": None,
            },
            [("nhs_number", "a")],
        ),
        ({"count": "patients"}, []),
        ({"count": "patients", "query": None}, []),
        ({"distinct": "patients", "key": "postcode", "query": {"nhs_number": "a"}}, [("nhs_number", "a")]),
        ({"distinct": "patients", "key": "contacts.phone"}, []),
        ({"distinct": "patients", "key": "name", "collation": ENGLISH}, []),
        ({"insert": "patients", "documents": [{"nhs_number": "a"}], "ordered": True}, [("nhs_number", "a")]),
        (
            {"insert": "patients", "documents": [{"nhs_number": "a"}], "bypassDocumentValidation": True},
            [("nhs_number", "a")],
        ),
        (
            {
                "update": "patients",
                "updates": [
                    SON(
                        [
                            *{"q": {"nhs_number": "a"}, "u": {"$set": {"tags": "b"}}, "multi": False}.items(),
                            *{
                                "upsert": True,
                                "hint": {"x": 1},
                                "collation": None,
                                "sort": {"name": 1},
                            }.items(),
                        ]
                    ),
                    {"u": {"nhs_number": "c"}, "q": {"postcode": "d"}},
                ],
                "ordered": False,
                "let": {"x": 1},
                "bypassDocumentValidation": False,
            },
            [("nhs_number", "a"), ("tags", "b"), ("postcode", "d"), ("nhs_number", "c")],
        ),
        (
            {
                "delete": "patients",
                "deletes": [
                    {"q": {"nhs_number": "a"}, "limit": 1, "hint": "name_1"},
                    {"q": {"tags": "b"}, "limit": 0},
                ],
                "ordered": True,
                "let": {},
            },
            [("nhs_number", "a"), ("tags", "b")],
        ),
        (
            {
                **{
                    "findAndModify": "patients",
                    "query": {"nhs_number": "a"},
                    "update": {"$set": {"tags": "b"}},
                },
                **{"new": True, "upsert": True, "remove": False, "fields": {"tags": 1}, "sort": {"name": 1}},
                **{"arrayFilters": None, "hint": "x", "bypassDocumentValidation": False, "let": {}},
            },
            [("nhs_number", "a"), ("tags", "b")],
        ),
        ({"findandmodify": "patients", "query": {"nhs_number": "a"}, "remove": True}, [("nhs_number", "a")]),
        (
            {
                **{"aggregate": "patients", "pipeline": [{"$match": {"nhs_number": "a"}}], "cursor": {}},
                **{"allowDiskUse": True, "bypassDocumentValidation": False, "hint": "x", "let": {"x": 1}},
                **{"explain": True},
            },
            [("nhs_number", "a")],
        ),
        (
            {
                "aggregate": "patients",
                "pipeline": [{"$match": {"nhs_number": "a"}}, {"$group": {"_id": 1, "n": {"$sum": 1}}}],
                "cursor": {},
            },
            [("nhs_number", "a")],
        ),
        (
            {"insert": "fs.files", "documents": [{"filename": "x", "metadata": {"nhs": "a"}}]},
            [("metadata.nhs", "a")],
        ),
        ({"find": "fs.files", "filter": {"metadata.nhs": "a"}}, [("metadata.nhs", "a")]),
        ({"find": "patients", "$db": "tenant_7", "filter": {"nhs_number": "a"}}, [("nhs_number", "a")]),
    ],
)
def test_commands_as_drivers_send_them_are_covered(
    command: dict[str, Any], edits: list[tuple[str, Any]]
) -> None:
    assert covered(command) == edits
    assert covered({**command, **SESSION}) == edits


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({"find": "patients", "sort": {"nhs_number": 1}}, Reason.SORT),
        ({"find": "patients", "sort": {"contacts.0.phone": 1}}, Reason.SORT),
        ({"find": "patients", "min": {"nhs_number": "a"}}, Reason.RANGE),
        ({"find": "patients", "max": {"address": {}}}, Reason.RANGE),
        ({"find": "patients", "unheardOf": 1}, Reason.SHAPE),
        ({"find": "patients", "encryptionInformation": {}}, Reason.SHAPE),
        ({"find": "patients", "filter": 5}, Reason.SHAPE),
        ({"count": "patients", "query": {"notes": "x"}}, Reason.RANDOM_EQUALITY),
        ({"distinct": "patients", "key": "notes"}, Reason.RANDOM_EQUALITY),
        ({"distinct": "patients", "key": "contacts"}, Reason.RANDOM_EQUALITY),
        ({"distinct": "patients", "key": "notes.x"}, Reason.BELOW_ENCRYPTED),
        ({"distinct": "patients"}, Reason.SHAPE),
        ({"distinct": "patients", "key": 5}, Reason.SHAPE),
        ({"insert": "patients", "documents": {"nhs_number": "a"}}, Reason.SHAPE),
        ({"insert": "patients", "documents": None}, Reason.SHAPE),
        ({"insert": "patients", "documents": ["a"]}, Reason.SHAPE),
        # what is no document is found before any is planned, on the plain core as on the compiled one
        ({"insert": "patients", "documents": [{"nhs_number": 5}, "a"]}, Reason.SHAPE),
        ({"delete": "patients", "deletes": [{"q": {"nhs_number": {"$gt": "a"}}}, "a"]}, Reason.SHAPE),
        (
            {
                "find": "patients",
                "filter": {"contacts": {"$elemMatch": {"$or": [{"phone": {"$gt": "a"}}, "a"]}}},
            },
            Reason.SHAPE,
        ),
        ({"update": "patients", "updates": [{"q": {}, "u": {}, "unheardOf": 1}]}, Reason.SHAPE),
        ({"update": "patients", "updates": [{"q": {}, "u": {}, "sort": {"visits": 1}}]}, Reason.SORT),
        ({"update": "patients", "updates": [{"q": {"$where": "1"}, "u": {}}]}, Reason.JAVASCRIPT),
        ({"delete": "patients", "deletes": [{"q": {"visits": {"$gt": 5}}, "limit": 0}]}, Reason.RANGE),
        ({"delete": "patients", "deletes": [{"q": {}, "unheardOf": 1}]}, Reason.SHAPE),
        ({"findAndModify": "patients", "query": {}, "sort": {"visits": 1}, "remove": True}, Reason.SORT),
        (
            {"findAndModify": "patients", "query": {}, "update": [{"$set": {"x": "$tags"}}]},
            Reason.PIPELINE_UPDATE,
        ),
        ({"findAndModify": "patients", "query": {}, "update": {"$inc": {"visits": 1}}}, Reason.OPERATOR),
        (
            {"findAndModify": "patients", "query": {}, "update": {}, "fields": {"x": {"$toUpper": "$tags"}}},
            Reason.COMPUTE,
        ),
        ({"aggregate": "patients", "pipeline": [], "unheardOf": 1}, Reason.SHAPE),
        *(
            ({name: "patients", "let": {variable: {"nhs_number": "a"}}}, Reason.SHAPE)
            for name in ("find", "update", "delete", "findAndModify", "aggregate")
            for variable in ("CURRENT", "ROOT", "Current", "C")
        ),
        ({"update": "patients", "updates": [{"q": {}, "u": {}, "c": {"CURRENT": {}}}]}, Reason.SHAPE),
    ],
)
def test_arguments_that_cannot_be_followed_are_refused(command: dict[str, Any], expected: Reason) -> None:
    assert reason(command) is expected


@pytest.mark.parametrize(
    "command",
    [
        {"find": "patients", "filter": {"postcode": "a"}},
        {"find": "patients", "filter": {"$expr": {"$eq": ["$nhs_number", "$other_nhs"]}}},
        {"count": "patients", "query": {"postcode": {"$ne": "a"}}},
        {"distinct": "patients", "key": "postcode"},
        {"aggregate": "patients", "pipeline": [{"$match": {"postcode": "a"}}]},
        {"aggregate": "patients", "pipeline": [{"$group": {"_id": "$postcode"}}]},
        {"aggregate": "patients", "pipeline": [{"$group": {"_id": 1, "p": {"$addToSet": "$postcode"}}}]},
        {"aggregate": "patients", "pipeline": [{"$sortByCount": "$postcode"}]},
        {"findAndModify": "patients", "query": {"postcode": "a"}, "remove": True},
        {"findAndModify": "patients", "query": {}, "update": {"$addToSet": {"tags": "a"}}},
    ],
)
def test_a_collation_on_an_encrypted_comparison_is_refused(command: dict[str, Any]) -> None:
    plan_of(command)
    plan_of({**command, "collation": {"locale": "simple"}})
    for collation in (ENGLISH, {"locale": "en"}, {}):
        assert reason({**command, "collation": collation}) is Reason.COLLATION


def test_a_collation_is_refused_wherever_it_stands_in_the_command() -> None:
    assert (
        reason(SON([("find", "patients"), ("collation", ENGLISH), ("filter", {"tags": "a"})]))
        is Reason.COLLATION
    )


@pytest.mark.parametrize(
    "command",
    [
        {"find": "patients", "filter": {"name": "a", "nhs_number": None}, "sort": {"name": 1}},
        {"aggregate": "patients", "pipeline": [{"$group": {"_id": "$sex"}}]},
        {"findAndModify": "patients", "query": {"name": "x"}, "update": {"$set": {"tags": "a"}}},
    ],
)
def test_a_collation_that_no_ciphertext_meets_passes(command: dict[str, Any]) -> None:
    assert plan_of({**command, "collation": ENGLISH}).protected


def test_a_collation_is_judged_with_its_own_statement() -> None:
    by_name = {"q": {"name": "x"}, "u": {"$set": {"tags": "a"}}, "collation": ENGLISH}
    by_number = {"q": {"nhs_number": "x"}, "u": {"$set": {"name": "a"}}}
    assert len(plan_of({"update": "patients", "updates": [by_name, by_number, by_name]}).edits) == 3
    wrong = {**by_number, "collation": ENGLISH}
    assert reason({"update": "patients", "updates": [by_name, wrong]}) is Reason.COLLATION
    deletes = [{"q": {"name": "x"}, "limit": 1, "collation": ENGLISH}, {"q": {"nhs_number": "x"}, "limit": 1}]
    assert len(plan_of({"delete": "patients", "deletes": deletes}).edits) == 1
    deletes[1]["collation"] = ENGLISH
    assert reason({"delete": "patients", "deletes": deletes}) is Reason.COLLATION


@pytest.mark.parametrize(
    ("command", "identifier", "documents"),
    [
        (
            "insert",
            "documents",
            [{"_id": ObjectId(), "nhs_number": "a"}, {"nhs_number": "b", "at": datetime(2000, 1, 1)}],
        ),
        ("update", "updates", [{"q": {"nhs_number": "a"}, "u": {"$set": {"nhs_number": "b"}}}]),
        (
            "delete",
            "deletes",
            [{"q": {"nhs_number": "a"}, "limit": 1}, {"q": {"nhs_number": "b"}, "limit": 1}],
        ),
    ],
)
def test_document_sequences_are_covered_like_arrays(
    command: str, identifier: str, documents: list[Any]
) -> None:
    message = plan_message({command: "patients", "ordered": True}, {identifier: documents})
    assert [edit.parents[:2] for edit in message.plan.edits] == [(0, message.plan.edits[0].parents[1])] * 2
    assert [row[0] for row in planned({command: "patients", identifier: documents})] == ["nhs_number"] * 2
    assert len(seal(message.plan)) == int.from_bytes(seal(message.plan)[:4], "little")


@pytest.mark.parametrize(
    ("body", "sequences"),
    [
        ({"insert": "patients"}, {"updates": [{}]}),
        ({"find": "patients"}, {"filter": [{}]}),
        ({"aggregate": "patients"}, {"pipeline": [{"$match": {}}]}),
        ({"aggregate": "wards"}, {"pipeline": [{"$unionWith": "patients"}]}),
        ({"aggregate": 1}, {"pipeline": [{"$changeStream": {}}]}),
        ({"create": "view", "viewOn": "wards"}, {"pipeline": [{"$unionWith": "patients"}]}),
        ({"createIndexes": "patients"}, {"indexes": [{"key": {"name": 1}, "name": "n"}]}),
        ({"explain": {"find": "patients"}}, {"documents": [{}]}),
        ({"renameCollection": "clinic.a", "$db": "admin"}, {"to": [{"to": "clinic.patients"}]}),
    ],
)
def test_a_sequence_where_no_driver_sends_one_is_refused(
    body: dict[str, Any], sequences: dict[str, Any]
) -> None:
    with pytest.raises(Refusal) as caught:
        plan_message(body, sequences)
    assert caught.value.reason is Reason.SHAPE


def test_a_sequence_to_an_administrative_command_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        plan_message({"drop": "patients"}, {"documents": [{"nhs_number": "a"}]})
    assert caught.value.reason is Reason.SHAPE


def test_a_sequence_to_an_unprotected_collection_passes() -> None:
    message = plan_message({"insert": "wards"}, {"documents": [{"nhs_number": "a"}]})
    assert (message.plan.protected, message.plan.edits) == (False, [])


def test_the_fields_of_a_count_are_flags() -> None:
    assert covered({"count": "patients", "query": {}, "fields": {"name": 1}}) == []
    assert reason({"count": "patients", "query": {}, "fields": {"nhs_number": "secret"}}) is Reason.SHAPE
