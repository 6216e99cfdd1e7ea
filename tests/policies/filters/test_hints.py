"""Hints: an index on a covered path may not decide which documents come."""

from typing import Any

import pytest
from bson import SON, Decimal128, encode

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.filters.hints import fixed_by_bounds
from sealwire.wire.raw_bson import elements
from tests.policies.support import POLICY, covered, find, plan_of, reason, refusal_of, run
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows

Command = dict[str, Any]


def aggregate(hint: Any, *stages: Any) -> Command:
    return run(*list(stages), hint=hint)


def update(filter_: Any, hint: Any, **parts: Any) -> Command:
    statement = {"q": filter_, "u": {"$set": {"name": "x"}}, "hint": hint, **parts}
    return {"update": "patients", "updates": [statement]}


def delete(filter_: Any, hint: Any, limit: Any) -> Command:
    return {"delete": "patients", "deletes": [{"q": filter_, "limit": limit, "hint": hint}]}


def modify(**parts: Any) -> Command:
    return {"findAndModify": "patients", "query": {}, "update": {"$set": {"name": "x"}}, **parts}


def bulk(operation: Command) -> Command:
    return {"bulkWrite": 1, "$db": "admin", "ops": [operation], "nsInfo": [{"ns": "clinic.patients"}]}


@rows(
    "command",
    find(hint="nhs_number_1", limit=3),
    find(hint={"nhs_number": 1}, limit=3),
    find(hint={"nhs_number": -1}, skip=1),
    find(hint={"nhs_number": "hashed"}, singleBatch=True),
    find(hint="nhs_number_hashed", limit=1),
    find(hint="ward_1_nhs_number_-1", limit=1),
    find(hint="nhs_number_1_ward_1", limit=1),
    find(hint="address.postcode_1", limit=1),
    find(hint="address_1", limit=1),
    find(hint="by_nhs", limit=1),
    find(hint="nhs_number_1", limit=1, filter=None),
    find(hint="by_nhs", limit=1, filter=None),
    find(hint={"nhs_number": 1}, limit=1, sort={}),
    find(hint={"nhs_number": 1}, limit=1, sort={"$natural": 1}),
    find(hint={"nhs_number": 1}, limit=Decimal128("1")),
    find(hint={"nhs_number": 1}, limit=1, filter={"nhs_number": {"$in": ["a", "b"]}}),
    find(hint={"nhs_number": 1}, limit=1, filter={"nhs_number": {"$ne": "a"}}),
    find(hint={"nhs_number": 1}, limit=1, filter={"$or": [{"nhs_number": "a"}]}),
    find(hint={"nhs_number": 1, "postcode": 1}, limit=1, filter={"nhs_number": "a"}),
    find(hint={"tags": 1}, limit=1, filter={"tags": ["a", "b"]}),
    find(hint={"tags": 1}, limit=1, filter={"$and": [{"tags": "a"}, {"tags": {"$in": ["b", "c"]}}]}),
    find(hint={"tags": 1}, limit=1, filter={"tags": "a", "$or": [{"tags": "b"}, {"tags": "c"}]}),
    find(
        hint={"contacts.phone": 1},
        limit=1,
        filter={"contacts.phone": "a", "contacts": {"$elemMatch": {"phone": {"$in": ["b", "c"]}}}},
    ),
    find(hint={"visits": 1}, limit=1, min={"visits": 1}, max={"visits": 1}, filter={}, sort=None)
    | {"hint": {"visits": 1, "big": 1}},
    aggregate("nhs_number_1", {"$limit": 3}),
    aggregate("nhs_number_1", {"$match": {"ward": "x"}}, {"$skip": 3}, {"$sort": {"name": 1}}),
    aggregate({"nhs_number": 1}, {"$group": {"_id": "$ward", "n": {"$first": "$name"}}}),
    aggregate({"nhs_number": 1}, {"$facet": {"a": [{"$count": "n"}], "b": [{"$limit": 2}]}}),
    aggregate({"nhs_number": 1}, {"$limit": 2}, {"$match": {"nhs_number": "a"}}),
    update({}, {"nhs_number": 1}),
    update({}, "nhs_number_1", multi=False),
    update({}, "nhs_number_1", multi=-0.0),
    delete({}, {"nhs_number": 1}, 1),
    delete({}, {"nhs_number": 1}, 1.0),
    modify(hint={"nhs_number": 1}),
    {"findAndModify": "patients", "query": {}, "remove": True, "hint": "nhs_number_1"},
    bulk({"update": 0, "filter": {}, "updateMods": {"$set": {"name": 1}}, "hint": {"nhs_number": 1}}),
    bulk({"delete": 0, "filter": {}, "hint": {"nhs_number": 1}}),
)
def test_some_documents_by_the_order_of_ciphertext_are_refused(command: Command) -> None:
    assert reason(command) is Reason.SORT


@rows(
    "command",
    find(hint="nhs_number_1"),
    find(hint={"nhs_number": 1}, limit=0, skip=0, singleBatch=False),
    find(hint={"nhs_number": 1}, limit=-0.0, skip=None),
    find(hint="by_nhs"),
    find(hint="_id_", limit=3),
    find(hint="by_nhs", limit=3, filter={"_id": 5}),
    delete({"_id": {"$eq": 5}}, "by_nhs", 1),
    find(hint={"_id": 1}, limit=3),
    find(hint={"$natural": -1}, limit=3),
    find(hint="ward_1", limit=3),
    find(hint={"ward": 1, "name": -1}, limit=3),
    find(hint=None, limit=3),
    find(hint={"nhs_number": 1}, limit=3, sort={"name": 1}),
    find(hint={"nhs_number": 1, "ward": 1}, limit=3, filter={"nhs_number": "a"}),
    find(hint="nhs_number_1_ward_1", limit=3, filter={"nhs_number": {"$eq": "a"}}),
    find(hint="nhs_number_1", limit=3, filter={"nhs_number": None}),
    find(hint={"nhs_number": 1}, limit=3, filter={"$and": [{"name": 1}, {"nhs_number": "a"}]}),
    find(
        hint={"nhs_number": 1, "postcode": 1},
        limit=1,
        filter={"$and": [{"nhs_number": "a"}, {"$and": [{"postcode": "b"}]}]},
    ),
    find(hint={"visits": 1, "ward": 1}, limit=1)
    | {"min": SON([("visits", 1), ("ward", 1)]), "max": SON([("visits", 1), ("ward", 5)])},
    aggregate("nhs_number_1", {"$match": {"name": 1}}, {"$sort": {"name": 1}}, {"$limit": 3}),
    aggregate("nhs_number_1", {"$match": {"nhs_number": "a"}}, {"$limit": 3}),
    aggregate("nhs_number_1", {"$match": {"ward": "x"}}, {"$group": {"_id": 1, "n": {"$sum": 1}}}),
    aggregate("nhs_number_1", {"$group": {"_id": "$ward"}}, {"$limit": 1}),
    aggregate("nhs_number_1", {"$count": "n"}),
    update({"nhs_number": "a"}, {"nhs_number": 1}),
    update({}, {"nhs_number": 1}, multi=True),
    update({}, {"nhs_number": 1}, sort={"name": 1}),
    delete({}, {"nhs_number": 1}, 0),
    delete({"nhs_number": "a"}, {"nhs_number": 1}, 1),
    modify(hint={"nhs_number": 1}, sort={"name": 1}),
    modify(hint={"ward": 1}),
    bulk(
        {
            "update": 0,
            "filter": {},
            "updateMods": {"$set": {"name": 1}},
            "multi": True,
            "hint": {"nhs_number": 1},
        }
    ),
    bulk({"delete": 0, "filter": {}, "multi": True, "hint": {"nhs_number": 1}}),
    {"count": "patients", "query": {}, "limit": 3, "hint": "nhs_number_1"},
    {"distinct": "patients", "key": "ward", "hint": "nhs_number_1"},
)
def test_other_hints_pass(command: Command) -> None:
    plan_of(command)


def test_an_unprotected_collection_takes_any_hint() -> None:
    plan_of({"find": "wards", "filter": {}, "hint": "by_nhs", "limit": 1})


def plan_on_view(hint: Any) -> None:
    """Plan a find on a view with the covered paths of appointments."""
    command = {"find": "view", "filter": {}, "hint": hint, "limit": 1, "$db": "clinic"}
    plan_command(POLICY, encode(command), 0, covered=lambda _: POLICY.covered("clinic.appointments"))


@pytest.mark.parametrize("hint", ["ward_1", {"ward": 1}, "by_ward"])
def test_a_hint_on_a_view_is_one_on_another_collection(hint: Any) -> None:
    """Which paths are covered there, the view's own covered paths do not say."""
    with raising(Refusal, Reason.SORT):
        plan_on_view(hint)
    plan_on_view("_id_")


@pytest.mark.parametrize("hint", [{"$natural": 1}, {"_id": -1}, "_id_"])
def test_a_hint_on_a_view_may_name_what_no_policy_covers(hint: Any) -> None:
    plan_on_view(hint)


@pytest.mark.parametrize("hint", [{"_id": 1, "ward": 1}, {"$natural": 1, "ward": 1}])
def test_a_hint_on_a_view_that_names_more_is_refused(hint: Any) -> None:
    with raising(Refusal, Reason.SORT):
        plan_on_view(hint)


def test_a_name_of_more_fields_than_an_index_has_is_any_index() -> None:
    plan_of(find(hint="_".join(f"f{i}_1" for i in range(32)), limit=1))
    assert refusal_of(find(hint="_".join(f"f{i}_1" for i in range(33)), limit=1)).reason is Reason.SORT


UNDERSCORED = policy_of("""
version: 1
classes: {k: {mode: deterministic, type: string}}
collections:
  clinic.one: {a_1_b: k}
  clinic.two: {b_-1_c_hashed_d: k}
  clinic.three: {c: k}
""")


@rows(
    "collection, hint, is_refused",
    ("one", "a_1_b_1", True),
    ("one", "a_1_b_1_c_1", True),
    ("one", "x_1_a_1_b_1", True),
    ("one", "a_1", False),
    ("one", "b_1", False),
    ("one", "a_-1_b_1", False),
    ("two", "a_1_b_-1_c_hashed_d_1", True),
    ("two", "b_-1_c_hashed_d_text_e_1", True),
    ("two", "b_-1_c_hashed_1", False),
    ("three", "a_1_b_1_c_2dsphere", True),
    ("three", "a_2d_c_2d", True),
    ("three", "a_1_b_1_c_2", True),
    ("three", "c_1x", True),
    ("three", "cc_1", False),
    ("three", "a_c_1", False),
)
def test_a_name_may_mean_each_field_that_can_be_read_in_it(
    collection: str, hint: str, is_refused: bool
) -> None:
    command = find(hint=hint, limit=1) | {"find": collection}
    if is_refused:
        assert refusal_of(command, UNDERSCORED).reason is Reason.SORT
    else:
        plan_of(command, UNDERSCORED)


@pytest.mark.parametrize("kind", ["secret", 1.5, 0, True, None, {"a": "secret"}, ["secret"]])
@rows(
    "command",
    find(),
    {"count": "patients", "query": {}},
    {"distinct": "patients", "key": "ward"},
    run(),
    modify(sort={"name": 1}),
)
def test_a_value_in_place_of_a_direction_is_refused(command: Command, kind: Any) -> None:
    assert reason({**command, "hint": {"nhs_number": kind}}) is Reason.SHAPE
    plan_of({**command, "hint": {"nhs_number": -1}})


@pytest.mark.parametrize("kind", ["secret", 0, {"a": 1}])
def test_a_statement_s_hint_holds_no_value_either(kind: Any) -> None:
    assert reason(update({}, {"nhs_number": kind}, multi=True)) is Reason.SHAPE
    assert reason(delete({}, {"nhs_number": kind}, 0)) is Reason.SHAPE


# ------------------------------------------------------------------------------------------------ min and max


def test_a_field_is_fixed_where_both_bounds_have_it() -> None:
    buf = encode({"min": {"a": 1, "both": 1}, "max": {"both": 2, "b": 1}})
    bounds = {element.name: element for element in elements(buf, 0)}
    assert fixed_by_bounds(buf, bounds) == {b"both"}
    assert fixed_by_bounds(buf, {b"min": bounds[b"min"]}) == frozenset()


def find_between(low: Any, high: Any) -> dict[str, Any]:
    bounds = {"min": low, "max": high}
    return {"find": "patients", "hint": "x"} | {
        name: value for name, value in bounds.items() if value is not None
    }


@rows(
    "low, high, edits",
    ({"nhs_number": "a", "age": 5}, {"nhs_number": "a", "age": 9}, [("nhs_number", "a")] * 2),
        ({"ward": 1, "nhs_number": "a", "age": 5}, {"ward": 1, "nhs_number": "a", "age": 9},
         [("nhs_number", "a")] * 2),
        ({"visits": 2, "age": 5}, {"visits": 2.0, "age": 9}, [("visits", 2)] * 2),
        ({"nhs_number": None, "age": 5}, {"nhs_number": None, "age": 9}, []),
        ({"contacts.phone": "a"}, {"contacts.phone": "a"}, [("contacts.phone", "a")] * 2),
        ({"age": 5, "ward": 2}, {"age": 9, "ward": 1}, []),
        ({"age": 5}, None, []),
        (None, {"age": {"a": 1}}, []),

)  # fmt: skip
def test_bounds_with_the_same_covered_values_are_covered(low: Any, high: Any, edits: list[Any]) -> None:
    assert covered(find_between(low, high)) == edits


@rows(
    "low, high, expected",
    ({"nhs_number": "a"}, None, Reason.RANGE),
    (None, {"nhs_number": "a"}, Reason.RANGE),
    ({"nhs_number": "a"}, {"nhs_number": "b"}, Reason.RANGE),
    ({"nhs_number": "a"}, {"nhs_number": None}, Reason.RANGE),
    ({"age": 5, "nhs_number": "a"}, {"age": 9, "nhs_number": "a"}, Reason.RANGE),
    ({"nhs_number": "a", "age": 1}, {"age": 1, "nhs_number": "a"}, Reason.RANGE),
    ({"nhs_number": "a", "other_nhs": "a"}, {"nhs_number": "a", "other_nhs": "b"}, Reason.RANGE),
    ({"nhs_number": ["a"]}, {"nhs_number": ["a"]}, Reason.RANGE),
    ({"address": {"postcode": "a"}}, {"address": {"postcode": "a"}}, Reason.RANGE),
    ({"address": 1}, {"address": 1}, Reason.RANGE),
    ({"notes": "a"}, {"notes": "a"}, Reason.RANDOM_EQUALITY),
    ({"notes.x": "a"}, {"notes.x": "a"}, Reason.BELOW_ENCRYPTED),
    (5, {"age": 1}, Reason.SHAPE),
)
def test_bounds_that_order_ciphertext_are_refused(low: Any, high: Any, expected: Reason) -> None:
    assert reason(find_between(low, high)) is expected


@rows(
    "bounds, path", ({"nhs_number": "a"}, "nhs_number"), ({"age": 1, "contacts.phone": "a"}, "contacts.phone")
)
def test_the_refusal_names_the_covered_path(bounds: dict[str, Any], path: str) -> None:
    assert refusal_of(find_between(bounds, None)).path == path


def test_bounds_compare_ciphertext_under_no_collation() -> None:
    same = find_between({"nhs_number": "a"}, {"nhs_number": "a"})
    assert reason({**same, "collation": {"locale": "en"}}) is Reason.COLLATION
