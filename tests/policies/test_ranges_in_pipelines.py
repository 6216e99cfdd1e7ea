"""Ranges on declared classes in pipelines: only where the field still is what was stored."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.range_policy import plan, reason


def test_a_range_after_a_stage_that_reshapes_documents_is_refused() -> None:
    stages = [{"$group": {"_id": "$x", "a": {"$push": "$a"}}}, {"$match": {"a": {"$gt": 1, "$lt": 3}}}]
    assert reason({"aggregate": "c", "pipeline": stages, "cursor": {}}) is Reason.RANGE


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
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
    ],
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


@pytest.mark.parametrize(
    "stage",
    [
        {"$lookup": {"from": "c", "pipeline": [], "as": "j"}},
        {"$unionWith": "c"},
        {"$set": {"b": "$a", "x": [1]}},
        {"$unset": "x"},
        {"$project": {"a": 1}},
        {"$unwind": "$x"},
    ],
)
def test_a_stage_that_leaves_the_field_where_it_was_leaves_its_ranges(stage: dict[str, Any]) -> None:
    assert len(plan(over(stage, _RANGE)).edits) == 1


@pytest.mark.parametrize(
    "stage",
    [
        {"$set": {"a": ["$a"]}},
        {"$set": {"a": {"$ifNull": ["$a", None]}}},
        {"$unionWith": {"coll": "c", "pipeline": [{"$set": {"a": ["$a"]}}]}},
        {"$replaceWith": "$$ROOT"},
        {"$group": {"_id": None, "a": {"$push": "$a"}}},
        {"$group": {"_id": None, "a": {"$first": "$a"}}},
    ],
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


@pytest.mark.parametrize(
    "value",
    [
        {"$map": {"input": [1, 2], "in": "$a"}},
        {"$arrayElemAt": [[["$a"]], 0]},
        {"$first": [[["$a"]]]},
        {"$let": {"vars": {"x": ["$a"]}, "in": "$$x"}},
        {"$slice": ["$a", 1]},
        {"$slice": ["$x", 1]},
        {"$concatArrays": ["$a"]},
        {"$concatArrays": ["$a", "$a"]},
    ],
)
def test_no_expression_stores_an_array_in_a_class_with_a_range(value: dict[str, Any]) -> None:
    update = {"q": {}, "u": [{"$set": {"a": value}}]}
    assert reason({"update": "c", "updates": [update]}) is Reason.PIPELINE_UPDATE


@pytest.mark.parametrize(
    ("stage", "is_refused"),
    [
        ({"$replaceWith": {"$mergeObjects": ["$$ROOT", {"x": 1}]}}, False),
        ({"$replaceWith": {"$ifNull": ["$$ROOT", None]}}, False),
        ({"$replaceWith": {"$cond": [True, "$$ROOT", "$$ROOT"]}}, False),
        ({"$set": {"a": {"$ifNull": ["$a", None]}}}, False),
        ({"$set": {"s": {"$ifNull": ["$s", None]}}}, True),
        ({"$set": {"s": {"$mergeObjects": ["$s", {"x": 1}]}}}, True),
        ({"$set": {"s": {"$cond": [True, "$s", "$s"]}}}, True),
        ({"$set": {"s.b": {"$ifNull": ["$b", None]}}}, True),
    ],
)
def test_an_expression_stores_single_values_of_a_range_at_the_top_of_a_document_only(
    stage: dict[str, Any], is_refused: bool
) -> None:
    command = {"update": "c", "updates": [{"q": {}, "u": [stage]}]}
    if is_refused:
        assert reason(command) is Reason.PIPELINE_UPDATE
    else:
        assert plan(command).edits == []
