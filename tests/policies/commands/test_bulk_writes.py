"""`bulkWrite`: every operation is covered by the policy of the collection that its number points to."""

from typing import Any

import pytest
from bson import Binary, Int64
from bson.son import SON

from sealwire.policies.errors import Reason, Refusal
from sealwire.wire.raw_bson import validate
from tests.policies.support import covered, plan_message, plan_of, planned, reason, seal

NAMESPACES = [
    {"ns": "clinic.wards"},
    {"ns": "clinic.patients"},
    {"ns": "clinic.appointments"},
    {"ns": "tenant_7.patients"},
]
ENGLISH = {"locale": "en", "strength": 2}


def bulk(*ops: Any, **more: Any) -> dict[str, Any]:
    return {"bulkWrite": 1, "ops": list(ops), "nsInfo": NAMESPACES, "$db": "admin", **more}


@pytest.mark.parametrize(
    ("op", "edits"),
    [
        ({"insert": 1, "document": {"nhs_number": "a", "name": "b"}}, [("nhs_number", "nhs", "store", "a")]),
        (
            {"insert": 2, "document": {"nhs_number": "a", "patient_nhs": "b"}},
            [("patient_nhs", "nhs", "store", "b")],
        ),
        (
            {"insert": 3, "document": {"nhs_number": "a", "postcode": "b"}},
            [("nhs_number", "nhs", "store", "a")],
        ),
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
        (
            {"update": 1, "filter": {}, "updateMods": {"nhs_number": "a"}},
            [("nhs_number", "nhs", "store", "a")],
        ),
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
        ({"insert": 0, "document": {"nhs_number": "a"}}, []),
        ({"update": 0, "filter": {"nhs_number": {"$gt": "a"}}, "updateMods": [{"$set": {"x": 1}}]}, []),
        ({"delete": 0, "filter": {"$where": "1"}, "future": 1}, []),
    ],
)
def test_an_operation_is_covered_by_the_collection_that_its_number_points_to(op: Any, edits: Any) -> None:
    command = bulk(
        op, ordered=False, errorsOnly=True, bypassDocumentValidation=False, cursor={}, let={"x": 1}
    )
    assert planned(command) == edits
    assert planned({"explain": command, "$db": "admin"}) == edits


def test_operations_on_many_collections_stand_in_one_message() -> None:
    command = bulk(
        {"insert": 1, "document": {"nhs_number": "a"}},
        {"insert": 0, "document": {"nhs_number": "b"}},
        {"delete": 2, "filter": {"patient_nhs": "c"}},
        {"update": 3, "filter": {"nhs_number": "d"}, "updateMods": {"$set": {"postcode": "e"}}},
    )
    assert [value for _, value in covered(command)] == ["a", "c", "d"]
    assert (plan_of(command).protected, plan_of(command).namespace) == (True, "clinic.patients")


@pytest.mark.parametrize("order", [("ops", "nsInfo"), ("nsInfo", "ops"), ("nsInfo",), ("ops",)])
def test_sequences_come_in_any_order_and_each_may_be_an_array(order: tuple[str, ...]) -> None:
    parts: dict[str, list[dict[str, Any]]] = {
        "ops": [
            {"insert": 1, "document": {"nhs_number": "a"}},
            {"insert": 0, "document": {"nhs_number": "b"}},
        ],
        "nsInfo": NAMESPACES,
    }
    body = {name: value for name, value in parts.items() if name not in order}
    message = plan_message({"bulkWrite": 1, **body, "$db": "admin"}, {name: parts[name] for name in order})
    assert [edit.node.path for edit in message.plan.edits] == ["nhs_number"]
    sealed = seal(message.plan)
    assert int.from_bytes(sealed[:4], "little") == len(sealed)
    assert validate(sealed, message.body, len(sealed)) > 0


@pytest.mark.parametrize(
    ("op", "expected"),
    [
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
        ({"insert": 1, "documents": [{"nhs_number": "a"}]}, Reason.SHAPE),
        ({"update": 1, "filter": {"visits": {"$gt": 5}}, "updateMods": {}}, Reason.RANGE),
        ({"update": 1, "filter": {}, "updateMods": {"$inc": {"visits": 1}}}, Reason.OPERATOR),
        ({"update": 1, "filter": {}, "updateMods": {}, "sort": {"visits": 1}}, Reason.SORT),
        ({"update": 1, "filter": {}, "updateMods": {}, "upsertSupplied": True}, Reason.SHAPE),
        ({"update": 1, "q": {"nhs_number": "a"}, "u": {}}, Reason.SHAPE),
        (
            {"update": 1, "filter": {"nhs_number": 5}, "updateMods": {"$set": {"x": 1}}, "upsert": True},
            Reason.TYPE,
        ),
        (
            {"update": 1, "filter": {"nhs_number": "a"}, "updateMods": {}, "collation": ENGLISH},
            Reason.COLLATION,
        ),
        ({"update": 1, "filter": {}, "updateMods": {}, "constants": {"CURRENT": {}}}, Reason.SHAPE),
        ({"delete": 1, "filter": {"notes": "a"}}, Reason.RANDOM_EQUALITY),
        ({"delete": 1, "filter": {"nhs_number": "a"}, "collation": ENGLISH}, Reason.COLLATION),
        ({"delete": 1, "filter": {}, "return": True}, Reason.SHAPE),
    ],
)
def test_an_operation_that_cannot_be_followed_is_refused(op: Any, expected: Reason) -> None:
    assert reason(bulk(op)) is expected


@pytest.mark.parametrize(
    "more",
    [
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
        {"let": {"CURRENT": {"nhs_number": "a"}}},
        {"let": {"ROOT": 1}},
    ],
)
def test_what_else_cannot_be_followed_is_refused(more: dict[str, Any]) -> None:
    assert reason(bulk({"insert": 0, "document": {}}, **more)) is Reason.SHAPE


@pytest.mark.parametrize(
    ("body", "sequences"),
    [
        ({"nsInfo": NAMESPACES}, {"documents": [{"nhs_number": "a"}]}),
        ({}, {"nsInfo.0": [{"ns": "clinic.patients"}]}),
    ],
)
def test_sequences_that_no_driver_sends_are_refused(body: dict[str, Any], sequences: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        plan_message({"bulkWrite": 1, **body, "$db": "admin"}, sequences)
    assert caught.value.reason is Reason.SHAPE


@pytest.mark.parametrize("malformed", [[], None, 5, True, [5], [{"ns": 5}], [{}], [{"ns": "x.y"}, {"ns": 1}]])
def test_what_no_server_takes_for_a_list_of_collections_is_left_to_it(malformed: Any) -> None:
    plan = plan_of(bulk({"insert": 9, "document": {"nhs_number": "a"}}, nsInfo=malformed))
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
