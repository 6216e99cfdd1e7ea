"""The data commands: which arguments they take, as drivers send them, and where values stand in them."""

from datetime import datetime
from typing import Any

import pytest
from bson import SON, Binary, Int64, ObjectId, Timestamp

from sealwire.policies.errors import Reason, Refusal
from sealwire.wire.raw_bson import validate
from tests.policies.support import (
    Command,
    Edits,
    covered,
    find,
    insert,
    plan_message,
    plan_of,
    planned,
    reason,
    run,
    seal,
    update,
)
from tests.support.reasons import raising
from tests.support.rows import rows

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
NUMBER = {"nhs_number": "a"}
COVERED = [("nhs_number", "a")]


@rows(
    "command, edits",
    (
        {
            **find(NUMBER, projection={"_id": 0}, sort={"n": 1}),
            **{"hint": "name_1", "skip": 1, "limit": 2, "batchSize": 3, "singleBatch": True, "let": {"x": 1}},
            **{"returnKey": False, "showRecordId": False, "tailable": False, "awaitData": False},
            **{"oplogReplay": False, "noCursorTimeout": True, "allowPartialResults": False},
            **{"allowDiskUse": True, "min": {"name": "a"}, "max": {"name": "b"}},
            **{"collation": {"locale": "simple"}},
        },
        COVERED,
    ),
    (find({}, sort={"$natural": -1}, hint={"$natural": 1}), []),
    ({"find": "patients"}, []),
    (find(None, projection=None, sort=None, collation=None), []),
    ({"count": "patients", "query": NUMBER, "limit": 1, "skip": 0, "hint": "x", "fields": None}, COVERED),
    ({"count": "patients"}, []),
    ({"count": "patients", "query": None}, []),
    ({"distinct": "patients", "key": "postcode", "query": NUMBER}, COVERED),
    ({"distinct": "patients", "key": "contacts.phone"}, []),
    ({"distinct": "patients", "key": "name", "collation": ENGLISH}, []),
    ({"insert": "patients", "documents": [NUMBER], "ordered": True}, COVERED),
    ({"insert": "patients", "documents": [NUMBER], "bypassDocumentValidation": True}, COVERED),
    (
        {
            "update": "patients",
            "updates": [
                SON(
                    [
                        *{"q": NUMBER, "u": {"$set": {"tags": "b"}}, "multi": False}.items(),
                        *{"upsert": True, "hint": {"x": 1}, "collation": None, "sort": {"name": 1}}.items(),
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
            "deletes": [{"q": NUMBER, "limit": 1, "hint": "name_1"}, {"q": {"tags": "b"}, "limit": 0}],
            "ordered": True,
            "let": {},
        },
        [("nhs_number", "a"), ("tags", "b")],
    ),
    (
        {
            **{"findAndModify": "patients", "query": NUMBER, "update": {"$set": {"tags": "b"}}},
            **{"new": True, "upsert": True, "remove": False, "fields": {"tags": 1}, "sort": {"name": 1}},
            **{"arrayFilters": None, "hint": "x", "bypassDocumentValidation": False, "let": {}},
        },
        [("nhs_number", "a"), ("tags", "b")],
    ),
    ({"findandmodify": "patients", "query": NUMBER, "remove": True}, COVERED),
    (
        {
            **run({"$match": NUMBER}),
            **{"allowDiskUse": True, "bypassDocumentValidation": False, "hint": "x", "let": {"x": 1}},
            **{"explain": True},
        },
        COVERED,
    ),
    (run({"$match": NUMBER}, {"$group": {"_id": 1, "n": {"$sum": 1}}}), COVERED),
    (
        {"insert": "fs.files", "documents": [{"filename": "x", "metadata": {"nhs": "a"}}]},
        [("metadata.nhs", "a")],
    ),
    ({"find": "fs.files", "filter": {"metadata.nhs": "a"}}, [("metadata.nhs", "a")]),
    ({"find": "patients", "$db": "tenant_7", "filter": NUMBER}, COVERED),
)
def test_commands_as_drivers_send_them_are_covered(command: Command, edits: Edits) -> None:
    assert covered(command) == edits
    assert covered({**command, **SESSION}) == edits


@rows(
    "command, expected",
    ({"find": "patients", "sort": {"nhs_number": 1}}, Reason.SORT),
    ({"find": "patients", "sort": {"contacts.0.phone": 1}}, Reason.SORT),
    ({"find": "patients", "min": NUMBER}, Reason.RANGE),
    ({"find": "patients", "max": {"address": {}}}, Reason.RANGE),
    ({"find": "patients", "unheardOf": 1}, Reason.SHAPE),
    ({"find": "patients", "encryptionInformation": {}}, Reason.SHAPE),
    (find(5), Reason.SHAPE),
    ({"count": "patients", "query": {"notes": "x"}}, Reason.RANDOM_EQUALITY),
    ({"distinct": "patients", "key": "notes"}, Reason.RANDOM_EQUALITY),
    ({"distinct": "patients", "key": "contacts"}, Reason.RANDOM_EQUALITY),
    ({"distinct": "patients", "key": "notes.x"}, Reason.BELOW_ENCRYPTED),
    ({"distinct": "patients"}, Reason.SHAPE),
    ({"distinct": "patients", "key": 5}, Reason.SHAPE),
    ({"insert": "patients", "documents": NUMBER}, Reason.SHAPE),
    ({"insert": "patients", "documents": None}, Reason.SHAPE),
    (insert("a"), Reason.SHAPE),
    # what is no document is found before any is planned, on the plain core as on the compiled one
    (insert({"nhs_number": 5}, "a"), Reason.SHAPE),
    ({"delete": "patients", "deletes": [{"q": {"nhs_number": {"$gt": "a"}}}, "a"]}, Reason.SHAPE),
    (find({"contacts": {"$elemMatch": {"$or": [{"phone": {"$gt": "a"}}, "a"]}}}), Reason.SHAPE),
    (update({}, unheardOf=1), Reason.SHAPE),
    (update({}, sort={"visits": 1}), Reason.SORT),
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
        ({name: "patients", "let": {variable: NUMBER}}, Reason.SHAPE)
        for name in ("find", "update", "delete", "findAndModify", "aggregate")
        for variable in ("CURRENT", "ROOT", "Current", "C")
    ),
    (update({}, c={"CURRENT": {}}), Reason.SHAPE),
)
def test_arguments_that_cannot_be_followed_are_refused(command: dict[str, Any], expected: Reason) -> None:
    assert reason(command) is expected


@rows(
    "command",
    find({"postcode": "a"}),
    find({"$expr": {"$eq": ["$nhs_number", "$other_nhs"]}}),
    {"count": "patients", "query": {"postcode": {"$ne": "a"}}},
    {"distinct": "patients", "key": "postcode"},
    {"aggregate": "patients", "pipeline": [{"$match": {"postcode": "a"}}]},
    {"aggregate": "patients", "pipeline": [{"$group": {"_id": "$postcode"}}]},
    {"aggregate": "patients", "pipeline": [{"$group": {"_id": 1, "p": {"$addToSet": "$postcode"}}}]},
    {"aggregate": "patients", "pipeline": [{"$sortByCount": "$postcode"}]},
    {"findAndModify": "patients", "query": {"postcode": "a"}, "remove": True},
    {"findAndModify": "patients", "query": {}, "update": {"$addToSet": {"tags": "a"}}},
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


@rows(
    "command",
    find({"name": "a", "nhs_number": None}, sort={"name": 1}),
    {"aggregate": "patients", "pipeline": [{"$group": {"_id": "$sex"}}]},
    {"findAndModify": "patients", "query": {"name": "x"}, "update": {"$set": {"tags": "a"}}},
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


@rows(
    "command, identifier, documents",
    (
        "insert",
        "documents",
        [{"_id": ObjectId(bytes(12)), "nhs_number": "a"}, {"nhs_number": "b", "at": datetime(2000, 1, 1)}],
    ),
    ("update", "updates", [{"q": NUMBER, "u": {"$set": {"nhs_number": "b"}}}]),
    ("delete", "deletes", [{"q": NUMBER, "limit": 1}, {"q": {"nhs_number": "b"}, "limit": 1}]),
)
def test_document_sequences_are_covered_like_arrays(
    command: str, identifier: str, documents: list[Any]
) -> None:
    message = plan_message({command: "patients", "ordered": True}, {identifier: documents})
    assert [edit.parents[:2] for edit in message.plan.edits] == [(0, message.plan.edits[0].parents[1])] * 2
    assert [row[0] for row in planned({command: "patients", identifier: documents})] == ["nhs_number"] * 2
    assert len(seal(message.plan)) == int.from_bytes(seal(message.plan)[:4], "little")


def test_a_sequence_to_an_unprotected_collection_passes() -> None:
    message = plan_message({"insert": "wards"}, {"documents": [NUMBER]})
    assert (message.plan.protected, message.plan.edits) == (False, [])


def test_the_fields_of_a_count_are_flags() -> None:
    assert covered({"count": "patients", "query": {}, "fields": {"name": 1}}) == []
    assert reason({"count": "patients", "query": {}, "fields": {"nhs_number": "secret"}}) is Reason.SHAPE


# -------------------------------------------------------------------------------------------------- bulkWrite

NAMESPACES = [
    {"ns": "clinic.wards"},
    {"ns": "clinic.patients"},
    {"ns": "clinic.appointments"},
    {"ns": "tenant_7.patients"},
]


def bulk(*ops: Any, **more: Any) -> dict[str, Any]:
    return {"bulkWrite": 1, "ops": list(ops), "nsInfo": NAMESPACES, "$db": "admin", **more}


@rows(
    "op, edits",
    ({"insert": 1, "document": {"nhs_number": "a", "name": "b"}}, [("nhs_number", "nhs", "store", "a")]),
    (
        {"insert": 2, "document": {"nhs_number": "a", "patient_nhs": "b"}},
        [("patient_nhs", "nhs", "store", "b")],
    ),
    ({"insert": 3, "document": {"nhs_number": "a", "postcode": "b"}}, [("nhs_number", "nhs", "store", "a")]),
    ({"insert": Int64(1), "document": {"tags": ["a"]}}, [("tags", "tag", "store", "a")]),
    (
        {
            **{
                "update": 1,
                "filter": {"postcode": "a"},
                "updateMods": {"$set": {"contacts.$[c].phone": "b"}},
            },
            **{"multi": True, "upsert": False, "arrayFilters": [{"c.phone": "d"}], "hint": {"x": 1}},
            **{"collation": None, "sort": {"name": 1}},
        },
        [
            ("postcode", "postcode", "match", "a"),
            ("contacts.phone", "phone", "store", "b"),
            ("contacts.phone", "phone", "match", "d"),
        ],
    ),
    ({"update": 1, "filter": {}, "updateMods": NUMBER}, [("nhs_number", "nhs", "store", "a")]),
    (
        {
            "delete": 1,
            "filter": {"nhs_number": {"$in": ["a"]}},
            "multi": False,
            "hint": "name_1",
            "collation": None,
        },
        [("nhs_number", "nhs", "match", "a")],
    ),
    ({"insert": 0, "document": NUMBER}, []),
    ({"update": 0, "filter": {"nhs_number": {"$gt": "a"}}, "updateMods": [{"$set": {"x": 1}}]}, []),
    ({"delete": 0, "filter": {"$where": "1"}, "future": 1}, []),
)
def test_an_operation_is_covered_by_the_collection_that_its_number_points_to(op: Any, edits: Any) -> None:
    command = bulk(
        op, ordered=False, errorsOnly=True, bypassDocumentValidation=False, cursor={}, let={"x": 1}
    )
    assert planned(command) == edits
    assert planned({"explain": command, "$db": "admin"}) == edits


def test_operations_on_many_collections_stand_in_one_message() -> None:
    command = bulk(
        {"insert": 1, "document": NUMBER},
        {"insert": 0, "document": {"nhs_number": "b"}},
        {"delete": 2, "filter": {"patient_nhs": "c"}},
        {"update": 3, "filter": {"nhs_number": "d"}, "updateMods": {"$set": {"postcode": "e"}}},
    )
    assert [value for _, value in covered(command)] == ["a", "c", "d"]
    assert (plan_of(command).protected, plan_of(command).namespace) == (True, "clinic.patients")


@pytest.mark.parametrize("order", [("ops", "nsInfo"), ("nsInfo", "ops"), ("nsInfo",), ("ops",)])
def test_sequences_come_in_any_order_and_each_may_be_an_array(order: tuple[str, ...]) -> None:
    parts: dict[str, list[dict[str, Any]]] = {
        "ops": [{"insert": 1, "document": NUMBER}, {"insert": 0, "document": {"nhs_number": "b"}}],
        "nsInfo": NAMESPACES,
    }
    body = {name: value for name, value in parts.items() if name not in order}
    message = plan_message({"bulkWrite": 1, **body, "$db": "admin"}, {name: parts[name] for name in order})
    assert [edit.node.path for edit in message.plan.edits] == ["nhs_number"]
    sealed = seal(message.plan)
    assert int.from_bytes(sealed[:4], "little") == len(sealed)
    assert validate(sealed, message.body, len(sealed)) > 0


@rows(
    "op, expected",
    ({"insert": 4, "document": {}}, Reason.SHAPE),
    ({"insert": -1, "document": {}}, Reason.SHAPE),
    ({"insert": Int64(2**40), "document": {}}, Reason.SHAPE),
    ({"insert": 1.5, "document": {}}, Reason.SHAPE),
    ({"insert": "1", "document": {}}, Reason.SHAPE),
    ({"insert": None, "document": {}}, Reason.SHAPE),
    ({"insert": True, "document": {}}, Reason.SHAPE),
    (SON([("document", {}), ("insert", 1)]), Reason.SHAPE),
    ({"insert": 0, "update": 1, "document": {}}, Reason.SHAPE),
    ({"replace": 1, "document": {}}, Reason.SHAPE),
    ({}, Reason.SHAPE),
    (5, Reason.SHAPE),
    ({"insert": 1, "document": 5}, Reason.SHAPE),
    ({"insert": 1, "document": {}, "future": 1}, Reason.SHAPE),
    ({"insert": 1, "document": {"nhs_number": 5}}, Reason.TYPE),
    ({"insert": 1, "documents": [NUMBER]}, Reason.SHAPE),
    ({"update": 1, "filter": {"visits": {"$gt": 5}}, "updateMods": {}}, Reason.RANGE),
    ({"update": 1, "filter": {}, "updateMods": {"$inc": {"visits": 1}}}, Reason.OPERATOR),
    ({"update": 1, "filter": {}, "updateMods": {}, "sort": {"visits": 1}}, Reason.SORT),
    ({"update": 1, "filter": {}, "updateMods": {}, "upsertSupplied": True}, Reason.SHAPE),
    ({"update": 1, "q": NUMBER, "u": {}}, Reason.SHAPE),
    (
        {"update": 1, "filter": {"nhs_number": 5}, "updateMods": {"$set": {"x": 1}}, "upsert": True},
        Reason.TYPE,
    ),
    ({"update": 1, "filter": NUMBER, "updateMods": {}, "collation": ENGLISH}, Reason.COLLATION),
    ({"update": 1, "filter": {}, "updateMods": {}, "constants": {"CURRENT": {}}}, Reason.SHAPE),
    ({"delete": 1, "filter": {"notes": "a"}}, Reason.RANDOM_EQUALITY),
    ({"delete": 1, "filter": NUMBER, "collation": ENGLISH}, Reason.COLLATION),
    ({"delete": 1, "filter": {}, "return": True}, Reason.SHAPE),
)
def test_an_operation_that_cannot_be_followed_is_refused(op: Any, expected: Reason) -> None:
    assert reason(bulk(op)) is expected


@rows(
    "more",
    {"nsInfo": [{"ns": "clinic.patients", "encryptionInformation": {}}]},
    {"nsInfo": [{"ns": "clinic.patients"}, {"ns": 5}]},
    {"nsInfo": [{"ns": "clinic.patients"}, {}]},
    {"nsInfo": [{"ns": "clinic.patients"}, 5]},
    {"nsInfo": {"0": {"ns": "clinic.patients"}}},
    {"nsInfo": [{"ns": Binary(b"clinic.patients")}]},
    {"nsInfo": [{"ns": "clinic.patients", "isTimeseriesNamespace": True}]},
    {"nsInfo": [{"ns": "clinic.patients"}], "rawData": True},
    {"nsInfo": "clinic.patients"},
    {"nsInfo": [["clinic.patients"]]},
    {"future": 1},
    {"let": {"CURRENT": NUMBER}},
    {"let": {"ROOT": 1}},
)
def test_what_else_cannot_be_followed_is_refused(more: dict[str, Any]) -> None:
    assert reason(bulk({"insert": 0, "document": {}}, **more)) is Reason.SHAPE


@rows(
    "body, sequences",
    ({"insert": "patients"}, {"updates": [{}]}),
    ({"find": "patients"}, {"filter": [{}]}),
    ({"aggregate": "patients"}, {"pipeline": [{"$match": {}}]}),
    ({"aggregate": "wards"}, {"pipeline": [{"$unionWith": "patients"}]}),
    ({"aggregate": 1}, {"pipeline": [{"$changeStream": {}}]}),
    ({"create": "view", "viewOn": "wards"}, {"pipeline": [{"$unionWith": "patients"}]}),
    ({"createIndexes": "patients"}, {"indexes": [{"key": {"name": 1}, "name": "n"}]}),
    ({"explain": {"find": "patients"}}, {"documents": [{}]}),
    ({"renameCollection": "clinic.a", "$db": "admin"}, {"to": [{"to": "clinic.patients"}]}),
    # a sequence to an administrative command is refused
    ({"drop": "patients"}, {"documents": [NUMBER]}),
    # sequences that no driver sends are refused
    ({"bulkWrite": 1, "nsInfo": NAMESPACES, "$db": "admin"}, {"documents": [NUMBER]}),
    ({"bulkWrite": 1, "$db": "admin"}, {"nsInfo.0": [{"ns": "clinic.patients"}]}),
)
def test_a_sequence_where_no_driver_sends_one_is_refused(body: Any, sequences: Any) -> None:
    with raising(Refusal, Reason.SHAPE):
        plan_message(body, sequences)


@pytest.mark.parametrize("malformed", [[], None, 5, True, [5], [{"ns": 5}], [{}], [{"ns": "x.y"}, {"ns": 1}]])
def test_what_no_server_takes_for_a_list_of_collections_is_left_to_it(malformed: Any) -> None:
    plan = plan_of(bulk({"insert": 9, "document": NUMBER}, nsInfo=malformed))
    assert (plan.protected, plan.reveals, plan.edits) == (False, False, [])


def test_a_bulk_write_to_unprotected_collections_passes_untouched() -> None:
    plan = plan_of(bulk({"future": 9}, nsInfo=NAMESPACES[:1], anything=1))
    assert (plan.protected, plan.edits) == (False, [])


def test_an_upsert_does_not_make_the_next_operation_one() -> None:
    upsert = {"update": 1, "filter": {"name": "x"}, "updateMods": {"$set": {"name": "y"}}, "upsert": True}
    plain = {"update": 1, "filter": {"nhs_number": 5}, "updateMods": {"$set": {"name": "y"}}}
    assert covered(bulk(upsert, plain)) == [("nhs_number", 5)]


def test_a_collation_is_judged_with_its_own_operation() -> None:
    by_name = {"delete": 1, "filter": {"name": "x"}, "collation": ENGLISH}
    by_number = {"delete": 1, "filter": {"nhs_number": "x"}}
    assert covered(bulk(by_name, by_number, by_name)) == [("nhs_number", "x")]
    assert reason(bulk(by_name, {**by_number, "collation": ENGLISH})) is Reason.COLLATION
