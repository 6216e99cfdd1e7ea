"""Ranges on classes that declare one: the grid, the lists that ranges become, what is refused."""

import math
import re
from datetime import date, datetime
from typing import Any

import pytest
from bson import DatetimeMS, Decimal128, Int64, MaxKey, encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.files.errors import SourceError
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.ranges import RangeDomain
from sealwire.policies.planning.plan import ListPlace, RangeEdit
from tests.policies.range_policy import POLICY, days, listed, plan, reason
from tests.support.reasons import raising
from tests.support.rows import rows

_LONG_AGO, _FAR_AHEAD = DatetimeMS(-(10**16)), DatetimeMS(10**16)
"""Days that no calendar has a date for."""
_YEARS = [datetime(year, 1, 1) for year in range(1990, 2011)]
_MONTHS = [datetime(year, month, 1) for year in (2000, 2001) for month in range(1, 13)]


@rows(
    "field, condition, values",
    ("b", {"$gte": datetime(2000, 1, 1), "$lt": datetime(2000, 1, 4)}, days(1, 2, 3)),
    ("b", {"$gt": datetime(2000, 1, 1), "$lte": datetime(2000, 1, 4)}, days(2, 3, 4)),
    ("b", {"$gt": datetime(2000, 1, 1, 12), "$lt": datetime(2000, 1, 3, 12)}, days(2, 3)),
    ("b", {"$gte": datetime(2000, 1, 1, 12), "$lte": datetime(2000, 1, 3, 12)}, days(2, 3)),
    ("b", {"$gt": datetime(2000, 1, 3), "$lt": datetime(2000, 1, 1)}, []),
    ("b", {"$gte": datetime(2099, 12, 30)}, [datetime(2099, 12, 30), datetime(2099, 12, 31)]),
    ("b", {"$lt": datetime(1900, 1, 2)}, [datetime(1900, 1, 1)]),
    ("b", {"$gte": "a string"}, []),
    ("b", {"$gte": 5, "$lt": datetime(2000, 1, 1)}, []),
    ("m", {"$gte": datetime(2001, 11, 2)}, [datetime(2001, 12, 1)]),
    ("m", {"$lte": datetime(2000, 2, 1)}, [datetime(2000, 1, 1), datetime(2000, 2, 1)]),
    ("m", {"$lt": datetime(2000, 2, 1)}, [datetime(2000, 1, 1)]),
    ("y", {"$gt": datetime(2008, 1, 1)}, [datetime(2009, 1, 1), datetime(2010, 1, 1)]),
    ("y", {"$gt": datetime(2008, 6, 1)}, [datetime(2009, 1, 1), datetime(2010, 1, 1)]),
    ("y", {"$lt": datetime(1, 1, 1)}, []),
    ("y", {"$gt": datetime(9999, 12, 31)}, []),
    ("a", {"$gt": 1, "$lt": 4}, [2, 3]),
    ("a", {"$gte": 1.5, "$lte": 3.5}, [2, 3]),
    ("a", {"$gte": 1.0, "$lt": Decimal128("3")}, [1, 2]),
    ("a", {"$gt": Int64(118)}, [119, 120]),
    ("a", {"$gte": float("nan")}, []),
    ("a", {"$gt": float("inf")}, []),
    ("a", {"$lt": Decimal128("-Infinity")}, []),
    ("a", {"$gt": Decimal128("1E+6000")}, []),
    ("l", {"$gte": -1, "$lte": float("inf")}, [-1, 0, 1, 2, 3, 4, 5]),
    ("l", {"$lt": Int64(-(2**63))}, []),
    ("s.b", {"$gte": datetime(2099, 12, 31)}, [datetime(2099, 12, 31)]),
    # a bound beside, on and beyond each end
    *(
        ("l", {"$gt": bound, "$lt": -2}, [*range(first, -2)])
        for bound, first in ((-6, -5), (-6.5, -5), (-5, -4), (-5.0, -4), (-4.5, -4))
    ),
    *(
        ("l", {"$gte": bound, "$lt": -2.0}, [*range(first, -2)])
        for bound, first in ((-6, -5), (-6.5, -5), (-5.0, -5), (-4.5, -4))
    ),
    *(
        ("l", {"$lt": bound, "$gt": 2.0}, [*range(3, last + 1)])
        for bound, last in ((4.0, 3), (4.5, 4), (5, 4), (5.0, 4), (5.5, 5), (6, 5), (7.5, 5))
    ),
    *(
        ("l", {"$lte": bound, "$gt": 2.5}, [*range(3, last + 1)])
        for bound, last in ((3.5, 3), (4.0, 4), (5.0, 5), (5.5, 5), (6.0, 5), (7.5, 5))
    ),
    *(("l", {"$lt": bound}, []) for bound in (-5, -5.0, -5.5)),
    *(("l", {"$gt": bound}, []) for bound in (5, 5.0, 5.5)),
    ("l", {"$lte": -5.5}, []),
    *(("l", {"$gte": bound}, []) for bound in (5.5, 6.0)),
    *[
        ("l", {name: nan}, [])
        for name in ("$lt", "$lte", "$gt", "$gte")
        for nan in (math.nan, Decimal128("NaN"))
    ],
    ("l", {"$gte": 5.0}, [5]),
    ("l", {"$lte": -5.0}, [-5]),
    *[(field, {"$lt": _LONG_AGO}, []) for field in "bmy"],
    *[(field, {"$gt": _FAR_AHEAD}, []) for field in "bmy"],
    ("m", {"$lt": _FAR_AHEAD}, _MONTHS),
    ("m", {"$gt": _LONG_AGO}, _MONTHS),
    ("y", {"$lte": _FAR_AHEAD}, _YEARS),
    ("y", {"$gte": _LONG_AGO}, _YEARS),
    ("y", {"$gt": datetime(2009, 1, 1)}, _YEARS[-1:]),
    ("m", {"$gte": datetime(2001, 11, 2)}, _MONTHS[-1:]),
    ("m", {"$lt": datetime(2000, 2, 1)}, _MONTHS[:1]),
)
def test_a_range_becomes_the_list_of_its_values(
    field: str, condition: dict[str, Any], values: list[Any]
) -> None:
    assert listed(field, condition) == values


def test_the_first_and_the_last_day_of_the_calendar_lie_on_a_grid() -> None:
    source = b"""
version: 1
classes: {k: {mode: deterministic, type: date, range: {unit: UNIT, from: 0001-01-01, to: 9999-12-31}}}
collections: {d.c: {f: k}}
"""
    last = {"day": date(9999, 12, 31), "month": date(9999, 12, 1), "year": date(9999, 1, 1)}
    for unit, day in last.items():
        domain = load_policy(source.replace(b"UNIT", unit.encode()), "policy.yaml").classes["k"].domain
        assert domain is not None
        first_ms, last_ms = ((each - date(1970, 1, 1)).days * 86_400_000 for each in (date(1, 1, 1), day))
        assert domain.holds(first_ms)
        assert domain.holds(last_ms)
        outside = (
            first_ms - 1,
            first_ms - 86_400_000,
            last_ms + 1,
            (date.max - date(1970, 1, 1)).days * 86_400_000 + 86_400_000,
        )
        assert not any(map(domain.holds, outside))


@pytest.mark.parametrize(("value_type", "bits"), [("int", 31), ("long", 63)])
def test_a_range_lies_between_the_numbers_of_its_type(value_type: str, bits: int) -> None:
    def load(low: int, high: int) -> RangeDomain | None:
        grid = f"{{mode: deterministic, type: {value_type}, range: {{from: {low}, to: {high}}}}}"
        source = f"version: 1\nclasses: {{k: {grid}}}\ncollections: {{db.c: {{f: k}}}}\n"
        return load_policy(source.encode(), "policy.yaml").classes["k"].domain

    least, most = -(2**bits), 2**bits - 1
    domain = load(least, most)
    assert domain is not None
    assert (domain.low, domain.high) == (least, most)
    for low, high in ((least - 1, most), (least, most + 1)):
        with pytest.raises(SourceError):
            load(low, high)


@rows("declared, most", ("", 40_000), (", max_values: 1", 1), (", max_values: 200000", 200_000))
def test_a_range_lists_as_many_values_as_the_policy_allows(declared: str, most: int) -> None:
    source = f"""
version: 1
classes: {{k: {{mode: deterministic, type: long, range: {{from: 0, to: 10000000{declared}}}}}}}
collections: {{db.c: {{f: k}}}}
"""
    policies = load_policy(source.encode(), "policy.yaml")
    command = {"find": "c", "filter": {"f": {"$lt": most}}, "$db": "db"}
    (edit,) = plan_command(policies, encode(command), 0).edits
    assert isinstance(edit, RangeEdit)
    assert edit.listed == range(most)
    command["filter"] = {"f": {"$lte": most}}
    with raising(Refusal, Reason.RANGE_SIZE):
        plan_command(policies, encode(command), 0)


_bounds = st.integers(-3, 124) | st.floats(-3, 124, allow_nan=False) | st.sampled_from([1e308, -1e308])


@given(st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), _bounds, min_size=1))
def test_the_list_holds_exactly_what_satisfies_all_conditions(condition: dict[str, Any]) -> None:
    tests = {
        "$gt": lambda value, bound: value > bound,
        "$gte": lambda value, bound: value >= bound,
        "$lt": lambda value, bound: value < bound,
        "$lte": lambda value, bound: value <= bound,
    }
    wanted = [
        value
        for value in range(121)
        if all(tests[operator](value, bound) for operator, bound in condition.items())
    ]
    if len(wanted) > 50:
        assert reason({"find": "c", "filter": {"a": condition}}) is Reason.RANGE_SIZE
    else:
        assert listed("a", condition) == wanted


@rows(
    "query, expected",
    ({"p": {"$gt": datetime(2000, 1, 1)}}, Reason.RANGE),
    ({"b": {"$gt": None}}, Reason.RANGE),
    ({"b": {"$gt": MaxKey()}}, Reason.RANGE),
    # of no value, it would match everything below $not, where the server rejects it
    ({"b": {"$gt": re.compile("1")}}, Reason.RANGE),
    ({"a": {"$not": {"$lte": re.compile("1")}}}, Reason.RANGE),
    ({"a": {"$gt": 118, "$in": [119], "$not": {"$eq": 1}}}, Reason.RANGE),
    ({"s": {"$gt": {"b": datetime(2000, 1, 1)}}}, Reason.RANGE),
    ({"b": {"$gt": datetime(1900, 1, 1)}}, Reason.RANGE_SIZE),
    ({"a": {"$gte": 0}}, Reason.RANGE_SIZE),
)
def test_ranges_that_have_no_exact_list_are_refused(query: dict[str, Any], expected: Reason) -> None:
    assert reason({"find": "c", "filter": query}) is expected


def test_ranges_work_wherever_a_filter_stands() -> None:
    condition = {"$gte": 1, "$lt": 3}
    for command in (
        {"find": "c", "filter": {"$or": [{"a": condition}, {"a": {"$not": condition}}]}},
        {"count": "c", "query": {"a": condition}},
        {"aggregate": "c", "pipeline": [{"$sort": {"_id": 1}}, {"$match": {"a": condition}}], "cursor": {}},
        {"delete": "c", "deletes": [{"q": {"a": condition}, "limit": 1}]},
        {"update": "c", "updates": [{"q": {"a": condition}, "u": {"$set": {"x": 1}}}]},
    ):
        made = plan(command)
        assert all(isinstance(edit, RangeEdit) for edit in made.edits)
        assert len(made.replacements) == len(made.edits) > 0


def test_a_range_beside_a_list_is_said_another_way() -> None:
    made = plan({"find": "c", "filter": {"a": {"$in": [1, 5], "$gte": 3, "$lt": 7}}})
    assert [type(edit).__name__ for edit in made.edits] == ["ValueEdit", "ValueEdit", "RangeEdit"]
    assert [edit.place for edit in made.edits if isinstance(edit, RangeEdit)] == [ListPlace.BESIDE]


def test_a_range_of_one_value_in_the_filter_of_an_upsert_is_refused() -> None:
    def upsert(condition: dict[str, Any]) -> dict[str, Any]:
        return {"update": "c", "updates": [{"q": {"a": condition}, "u": {"$set": {"x": 1}}, "upsert": True}]}

    assert reason(upsert({"$gt": 1, "$lt": 3})) is Reason.RANGE
    for condition in ({"$gt": 1, "$lt": 4}, {"$gt": 3, "$lt": 1}):
        assert [type(edit) for edit in plan(upsert(condition)).edits] == [RangeEdit]


@rows(
    "document",
    {"b": datetime(2000, 1, 1, 0, 0, 1)},
    {"b": datetime(1899, 12, 31)},
    {"b": datetime(2100, 1, 1)},
    {"m": datetime(2000, 1, 2)},
    {"y": datetime(2000, 2, 1)},
    {"a": 121},
    {"a": -1.0},
    {"b": [datetime(2000, 1, 1)]},
    {"s": [{"b": datetime(2000, 1, 1)}]},
    {"s": [{"x": 1}, {"b": datetime(2000, 1, 1)}]},
)
def test_values_off_the_grid_and_in_arrays_are_not_stored(document: dict[str, Any]) -> None:
    assert reason({"insert": "c", "documents": [document]}) is Reason.GRID


@rows(
    "document",
    {"b": datetime(1900, 1, 1), "m": datetime(2001, 12, 1), "y": datetime(2010, 1, 1)},
    {"a": 120.0, "l": -5, "p": datetime(2000, 1, 1, 1)},
    {"b": None, "s": {"b": datetime(2099, 12, 31)}},
    {"s": [{"x": 1}, {"b": None}], "tags": ["x"]},
)
def test_values_on_the_grid_are_stored(document: dict[str, Any]) -> None:
    plan({"insert": "c", "documents": [document]})


@rows(
    "update",
    {"$set": {"s.0.b": datetime(2000, 1, 1)}},
    {"$set": {"s.$[].b": datetime(2000, 1, 1)}},
    {"$push": {"s": {"b": datetime(2000, 1, 1)}}},
    {"$addToSet": {"a": 5}},
    {"$push": {"a": {"$each": [5]}}},
    {"$set": {"a": 500}},
)
def test_updates_keep_to_single_values_on_the_grid(update: dict[str, Any]) -> None:
    assert reason({"update": "c", "updates": [{"q": {}, "u": update}]}) is Reason.GRID


@pytest.mark.parametrize("query", [{"a": 121}, {"a": [5]}, {"b": datetime(2000, 1, 1, 1)}])
def test_an_upsert_seeds_only_what_may_be_stored(query: dict[str, Any]) -> None:
    statement = {"q": query, "u": {"$set": {"x": 1}}}
    plan({"update": "c", "updates": [statement]})
    assert reason({"update": "c", "updates": [{**statement, "upsert": True}]}) is Reason.GRID


@rows(
    "declared",
    "{mode: random, range: {from: 0, to: 1}}",
    "{mode: deterministic, type: string, range: {from: 0, to: 1}}",
    "{mode: deterministic, type: int, range: {from: 2, to: 1}}",
    "{mode: deterministic, type: int, range: {from: 0, to: 2147483648}}",
    "{mode: deterministic, type: int, range: {from: 0}}",
    "{mode: deterministic, type: int, range: {unit: day, from: 0, to: 1}}",
    "{mode: deterministic, type: date, range: {unit: hour, from: 2000-01-01, to: 2000-01-02}}",
    "{mode: deterministic, type: date, range: {unit: day, from: 0, to: 1}}",
    "{mode: deterministic, type: int, range: {from: 0, to: 9, max_values: 0}}",
    "{mode: deterministic, type: int, range: {from: 0, to: 9, max_values: 200001}}",
)
def test_a_range_that_cannot_be_is_refused_with_its_place(declared: str) -> None:
    source = f"version: 1\nclasses:\n  k: {declared}\ncollections:\n  d.c: {{f: k}}\n"
    with pytest.raises(SourceError) as caught:
        load_policy(source.encode(), "policy.yaml")
    assert caught.value.line == 3


def test_a_day_of_the_policy_stands_for_its_month() -> None:
    month = POLICY.classes["month"].domain
    assert month is not None
    assert (month.low, month.high) == (2000 * 12, 2001 * 12 + 11)


# Ranges on declared classes in pipelines: only where the field still is what was stored.


def test_a_range_after_a_stage_that_reshapes_documents_is_refused() -> None:
    stages = [{"$group": {"_id": "$x", "a": {"$push": "$a"}}}, {"$match": {"a": {"$gt": 1, "$lt": 3}}}]
    assert reason({"aggregate": "c", "pipeline": stages, "cursor": {}}) is Reason.RANGE


@rows(
    "stage, expected",
    ({"$set": {"a": 5}}, None),
    ({"$set": {"a": {"$ifNull": ["$a", 5]}}}, None),
    ({"$set": {"a": {"$cond": ["$x", 5, "$a"]}}}, None),
    ({"$set": {"a": 500}}, Reason.GRID),
    ({"$set": {"a": [5]}}, Reason.PIPELINE_UPDATE),
    ({"$set": {"a": {"$literal": [5]}}}, Reason.PIPELINE_UPDATE),
    ({"$set": {"a": {"$concatArrays": [["$a"], ["$a"]]}}}, Reason.PIPELINE_UPDATE),
    ({"$set": {"a": {"$let": {"vars": {"x": ["$a"]}, "in": "$$x"}}}}, Reason.PIPELINE_UPDATE),
    ({"$set": {"s.b": "$b"}}, Reason.PIPELINE_UPDATE),
    ({"$set": {"s": {"b": "$b"}}}, Reason.PIPELINE_UPDATE),
    ({"$set": {"s": ["$s"]}}, Reason.PIPELINE_UPDATE),
)
def test_a_pipeline_update_keeps_to_single_values(stage: dict[str, Any], expected: Reason | None) -> None:
    command = {"update": "c", "updates": [{"q": {}, "u": [stage]}]}
    if expected is None:
        plan(command)
    else:
        assert reason(command) is expected


_RANGE = {"$match": {"a": {"$gte": 1, "$lt": 3}}}


def over(*stages: dict[str, Any], on: str = "c") -> dict[str, Any]:
    return {"aggregate": on, "pipeline": list(stages), "cursor": {}}


@pytest.mark.parametrize("before", [[], [{"$group": {"_id": "$a"}}]])
def test_the_pipeline_of_a_join_begins_with_documents_as_stored(before: list[dict[str, Any]]) -> None:
    join = {"$lookup": {"from": "c", "pipeline": [_RANGE], "as": "j"}}
    union = {"$unionWith": {"coll": "c", "pipeline": [_RANGE]}}
    graph = {"from": "c", "startWith": "$_id", "connectFromField": "x", "connectToField": "x", "as": "g"}
    restricted = {"$graphLookup": {**graph, "restrictSearchWithMatch": _RANGE["$match"]}}
    stages: list[dict[str, Any]] = [{"$project": {"x": 1}}, join]
    assert len(plan(over(*stages)).edits) == 1
    for stage in (join, union):
        assert len(plan(over(*before, stage)).edits) == 1
    assert len(plan(over({"$project": {"x": 1}}, restricted)).edits) == 1
    rearranged = {**join["$lookup"], "pipeline": [{"$set": {"a": ["$a"]}}, _RANGE]}
    assert reason(over({"$lookup": rearranged})) is Reason.RANGE


@rows(
    "stage",
    {"$lookup": {"from": "c", "pipeline": [], "as": "j"}},
    {"$unionWith": "c"},
    {"$set": {"b": "$a", "x": [1]}},
    {"$unset": "x"},
    {"$project": {"a": 1}},
    {"$unwind": "$x"},
)
def test_a_stage_that_leaves_the_field_where_it_was_leaves_its_ranges(stage: dict[str, Any]) -> None:
    assert len(plan(over(stage, _RANGE)).edits) == 1


@rows(
    "stage",
    {"$set": {"a": ["$a"]}},
    {"$set": {"a": {"$ifNull": ["$a", None]}}},
    {"$unionWith": {"coll": "c", "pipeline": [{"$set": {"a": ["$a"]}}]}},
    {"$replaceWith": "$$ROOT"},
    {"$group": {"_id": None, "a": {"$push": "$a"}}},
    {"$group": {"_id": None, "a": {"$first": "$a"}}},
)
def test_a_range_on_what_a_stage_has_moved_is_refused(stage: dict[str, Any]) -> None:
    assert reason(over(stage, _RANGE)) is Reason.RANGE
    assert reason(over(stage, {"$project": {"a": 1}}, {"$set": {"y": 1}}, _RANGE)) is Reason.RANGE


def test_a_range_in_the_documents_that_a_join_has_put_into_an_array_is_refused() -> None:
    join = {"$lookup": {"from": "c", "pipeline": [], "as": "j"}}
    inside = {"$match": {"j.a": {"$gte": 1, "$lt": 3}}}
    assert reason(over(join, inside)) is Reason.RANGE
    assert reason(over(join, {"$unwind": "$j"}, {"$replaceWith": "$j"}, _RANGE)) is Reason.RANGE


def test_a_range_before_and_after_what_leaves_the_field_alone() -> None:
    for stage in ({"$lookup": {"from": "c", "pipeline": [], "as": "j"}}, {"$unionWith": "c"}):
        assert len(plan(over(_RANGE, stage)).edits) == 1
    stages: list[dict[str, Any]] = [
        {"$set": {"a": ["$a"]}},
        {"$lookup": {"from": "c", "pipeline": [_RANGE], "as": "j"}},
        _RANGE,
    ]
    assert reason(over(*stages)) is Reason.RANGE


@pytest.mark.parametrize("write", [{"$out": "c"}, {"$merge": "c"}, {"$merge": {"into": "c"}}])
def test_no_pipeline_writes_arrays_into_a_class_with_a_range(write: dict[str, Any]) -> None:
    assert plan(over(_RANGE, write)).protected
    for stage in (
        {"$set": {"a": ["$a"]}},
        {"$unionWith": {"coll": "c", "pipeline": [{"$set": {"a": ["$a"]}}]}},
    ):
        assert reason(over(stage, write)) is Reason.TARGET


@rows(
    "value",
    {"$map": {"input": [1, 2], "in": "$a"}},
    {"$arrayElemAt": [[["$a"]], 0]},
    {"$first": [[["$a"]]]},
    {"$let": {"vars": {"x": ["$a"]}, "in": "$$x"}},
    {"$slice": ["$a", 1]},
    {"$slice": ["$x", 1]},
    {"$concatArrays": ["$a"]},
    {"$concatArrays": ["$a", "$a"]},
)
def test_no_expression_stores_an_array_in_a_class_with_a_range(value: dict[str, Any]) -> None:
    update = {"q": {}, "u": [{"$set": {"a": value}}]}
    assert reason({"update": "c", "updates": [update]}) is Reason.PIPELINE_UPDATE


@rows(
    "stage, is_refused",
    ({"$replaceWith": {"$mergeObjects": ["$$ROOT", {"x": 1}]}}, False),
    ({"$replaceWith": {"$ifNull": ["$$ROOT", None]}}, False),
    ({"$replaceWith": {"$cond": [True, "$$ROOT", "$$ROOT"]}}, False),
    ({"$set": {"a": {"$ifNull": ["$a", None]}}}, False),
    ({"$set": {"s": {"$ifNull": ["$s", None]}}}, True),
    ({"$set": {"s": {"$mergeObjects": ["$s", {"x": 1}]}}}, True),
    ({"$set": {"s": {"$cond": [True, "$s", "$s"]}}}, True),
    ({"$set": {"s.b": {"$ifNull": ["$b", None]}}}, True),
)
def test_an_expression_stores_single_values_of_a_range_at_the_top_of_a_document_only(
    stage: dict[str, Any], is_refused: bool
) -> None:
    command = {"update": "c", "updates": [{"q": {}, "u": [stage]}]}
    if is_refused:
        assert reason(command) is Reason.PIPELINE_UPDATE
    else:
        assert plan(command).edits == []
