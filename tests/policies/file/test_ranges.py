"""Ranges on classes that declare one: the grid, the lists that ranges become, what is refused."""

import re
from datetime import datetime
from typing import Any

import pytest
from bson import Decimal128, Int64, MaxKey
from hypothesis import given
from hypothesis import strategies as st

from sealwire.files.errors import SourceError
from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from sealwire.policies.planning.plan import RangeEdit
from tests.policies.range_policy import POLICY, days, listed, plan, reason


@pytest.mark.parametrize(
    ("field", "condition", "values"),
    [
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
    ],
)
def test_a_range_becomes_the_list_of_its_values(
    field: str, condition: dict[str, Any], values: list[Any]
) -> None:
    assert listed(field, condition) == values


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


@pytest.mark.parametrize(
    ("query", "expected"),
    [
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
    ],
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
    assert [edit.is_among for edit in made.edits if isinstance(edit, RangeEdit)] == [True]


def test_a_range_of_one_value_in_the_filter_of_an_upsert_is_refused() -> None:
    def upsert(condition: dict[str, Any]) -> dict[str, Any]:
        return {"update": "c", "updates": [{"q": {"a": condition}, "u": {"$set": {"x": 1}}, "upsert": True}]}

    assert reason(upsert({"$gt": 1, "$lt": 3})) is Reason.RANGE
    for condition in ({"$gt": 1, "$lt": 4}, {"$gt": 3, "$lt": 1}):
        assert [type(edit) for edit in plan(upsert(condition)).edits] == [RangeEdit]


@pytest.mark.parametrize(
    "document",
    [
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
    ],
)
def test_values_off_the_grid_and_in_arrays_are_not_stored(document: dict[str, Any]) -> None:
    assert reason({"insert": "c", "documents": [document]}) is Reason.GRID


@pytest.mark.parametrize(
    "document",
    [
        {"b": datetime(1900, 1, 1), "m": datetime(2001, 12, 1), "y": datetime(2010, 1, 1)},
        {"a": 120.0, "l": -5, "p": datetime(2000, 1, 1, 1)},
        {"b": None, "s": {"b": datetime(2099, 12, 31)}},
        {"s": [{"x": 1}, {"b": None}], "tags": ["x"]},
    ],
)
def test_values_on_the_grid_are_stored(document: dict[str, Any]) -> None:
    plan({"insert": "c", "documents": [document]})


@pytest.mark.parametrize(
    "update",
    [
        {"$set": {"s.0.b": datetime(2000, 1, 1)}},
        {"$set": {"s.$[].b": datetime(2000, 1, 1)}},
        {"$push": {"s": {"b": datetime(2000, 1, 1)}}},
        {"$addToSet": {"a": 5}},
        {"$push": {"a": {"$each": [5]}}},
        {"$set": {"a": 500}},
    ],
)
def test_updates_keep_to_single_values_on_the_grid(update: dict[str, Any]) -> None:
    assert reason({"update": "c", "updates": [{"q": {}, "u": update}]}) is Reason.GRID


@pytest.mark.parametrize("query", [{"a": 121}, {"a": [5]}, {"b": datetime(2000, 1, 1, 1)}])
def test_an_upsert_seeds_only_what_may_be_stored(query: dict[str, Any]) -> None:
    statement = {"q": query, "u": {"$set": {"x": 1}}}
    plan({"update": "c", "updates": [statement]})
    assert reason({"update": "c", "updates": [{**statement, "upsert": True}]}) is Reason.GRID


@pytest.mark.parametrize(
    "declared",
    [
        "{mode: random, range: {from: 0, to: 1}}",
        "{mode: deterministic, type: string, range: {from: 0, to: 1}}",
        "{mode: deterministic, type: int, range: {from: 2, to: 1}}",
        "{mode: deterministic, type: int, range: {from: 0, to: 2147483648}}",
        "{mode: deterministic, type: int, range: {from: 0}}",
        "{mode: deterministic, type: int, range: {unit: day, from: 0, to: 1}}",
        "{mode: deterministic, type: date, range: {unit: hour, from: 2000-01-01, to: 2000-01-02}}",
        "{mode: deterministic, type: date, range: {unit: day, from: 0, to: 1}}",
        "{mode: deterministic, type: int, range: {from: 0, to: 9, max_values: 0}}",
    ],
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
