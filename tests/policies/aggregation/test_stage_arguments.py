"""The arguments of stages: what a stage does not take is refused before it is read by anybody."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from bson import Decimal128, Int64, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.policies.aggregation.stages import STAGES
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from tests.policies.aggregation.test_pipelines import run
from tests.policies.commands.test_passed_commands import STAGES as PROBES
from tests.policies.support import POLICY, Command, covered, reason, seal

Stage = dict[str, Any]


@pytest.mark.parametrize(
    "stage",
    [
        *({name: value} for name in ("$limit", "$skip") for value in (-1, 2.5, "5", None, [5], {"x": 5})),
        *({name: value} for name in ("$limit", "$skip") for value in (float("nan"), float("inf"), 1e300)),
        {"$limit": 0},
        {"$limit": -0.0},
        {"$limit": True},
        {"$sample": 5},
        {"$sample": {}},
        {"$sample": {"size": "943"}},
        {"$sample": {"size": -1}},
        {"$sample": {"size": 1, "x": "943"}},
        {"$count": ""},
        {"$count": "$n"},
        {"$count": "a.b"},
        {"$count": {"n": "943"}},
        {"$count": 5},
        {"$unset": []},
        {"$unset": ""},
        {"$unset": "$name"},
        {"$unset": ["name", "$name"]},
        {"$unset": ["name", "name.x"]},
        {"$unwind": "list"},
        {"$unwind": "$"},
        {"$unwind": "$$ROOT"},
        {"$unwind": ["$list"]},
        {"$unwind": {"path": "$list", "x": "943"}},
        {"$unwind": {"includeArrayIndex": "at"}},
        {"$unwind": {"path": "$list", "includeArrayIndex": "$at"}},
        {"$unwind": {"path": "$list", "includeArrayIndex": {"$eq": ["$nhs_number", "943"]}}},
        {"$unwind": {"path": "$list", "preserveNullAndEmptyArrays": 1}},
        {"$unwind": {"path": "$list", "preserveNullAndEmptyArrays": {"$eq": ["$nhs_number", "943"]}}},
        {"$replaceRoot": {"newRoot": "$address", "x": {"$eq": ["$nhs_number", "943"]}}},
        {"$replaceRoot": {"x": "$address"}},
        {"$facet": {}},
        {"$facet": {"$x": []}},
        {"$facet": {"a.b": []}},
        {"$facet": {"a": [{"$out": "patients"}]}},
        {"$set": {"x": 1, "x.y": 2}},
        {"$bucket": {"groupBy": "$age"}},
        {"$bucket": {"groupBy": "$age", "boundaries": [0, 1], "buckets": 5}},
        {"$bucketAuto": {"groupBy": "$age", "buckets": 0}},
        {"$bucketAuto": {"groupBy": "$age", "buckets": {"$add": [1, 1]}}},
        {"$bucketAuto": {"groupBy": "$age", "buckets": 2, "granularity": {"$eq": ["$nhs_number", "943"]}}},
        {"$group": {"_id": 1, "a.b": {"$sum": 1}}},
        {"$group": {"_id": 1, "$x": {"$sum": 1}}},
        {"$sortByCount": "ward"},
        {"$sortByCount": {"x": "$ward"}},
        {"$setWindowFields": {"partitionBy": "$ward"}},
        {"$setWindowFields": {"output": {}, "x": "943"}},
        {"$fill": {"partitionBy": "$ward", "partitionByFields": ["ward"], "output": {"x": {"value": 1}}}},
        {"$fill": {"output": {"x": {"value": 1, "method": "locf"}}}},
        {"$densify": {"field": "age"}},
        {"$densify": {"field": "age", "range": {"step": 1, "bounds": "all"}}},
        {"$densify": {"field": "age", "range": {"step": "943", "bounds": "full"}}},
        {"$densify": {"field": "age", "range": {"step": 1, "bounds": ["943", 5]}}},
        {"$densify": {"field": "age", "range": {"step": 1, "bounds": "full", "x": "943"}}},
        {"$densify": {"field": "age", "range": {"step": 1, "bounds": "full", "unit": "943"}}},
        {"$geoNear": {"distanceField": "d"}},
        {"$lookup": {"from": "wards", "localField": "w", "foreignField": "w", "let": {"x": 1}, "as": "z"}},
        {"$lookup": {"from": "wards", "pipeline": [], "as": "$z"}},
        {"$lookup": {"from": "wards", "pipeline": [{"$merge": "patients"}], "as": "z"}},
        {"$graphLookup": {"from": "wards", "startWith": 1, "connectFromField": "a", "connectToField": "b",
                          "as": "z", "maxDepth": {"$eq": ["$nhs_number", "943"]}}},
        {"$graphLookup": {"from": "wards", "startWith": 1, "connectFromField": "a", "connectToField": "b",
                          "as": "z", "maxDepth": -1}},
        {"$unionWith": {"coll": "wards", "x": "943"}},
    ],
)  # fmt: skip
def test_what_a_stage_does_not_take_is_refused(stage: Stage) -> None:
    assert reason(run(stage)) is Reason.SHAPE


@pytest.mark.parametrize("number", [5, 5.0, Int64(5), Decimal128("5"), Decimal128("5.0")])
def test_whole_numbers_come_in_every_type(number: Any) -> None:
    graph = {"from": "wards", "startWith": 1, "connectFromField": "a", "connectToField": "b", "as": "z"}
    stages = [
        {"$limit": number},
        {"$skip": number},
        {"$sample": {"size": number}},
        {"$graphLookup": {**graph, "maxDepth": number}},
        {"$bucketAuto": {"groupBy": "$age", "buckets": number, "granularity": "R5"}},
    ]
    assert covered(run(*stages)) == []


def test_a_stage_that_writes_is_the_last_of_all() -> None:
    compared: Stage = {"$match": {"nhs_number": "943"}}
    for stage in ({"$out": "patients"}, {"$merge": "patients"}):
        assert covered(run(stage)) == []
        assert reason(run(stage, compared)) is Reason.SHAPE
        inner = {"coll": "patients", "pipeline": [stage]}
        assert reason(run({"$unionWith": inner})) is Reason.SHAPE


MARKER = "a marker 943"
# what stands at, or is compared with, nhs_number; else it could be a constant for a field in clear
LEAK: Stage = {"$eq": ["$nhs_number", MARKER]}


def _places(value: Any) -> Iterator[list[Any]]:
    """The path to every document and array in a value."""
    yield []
    children = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in children:
        if isinstance(child, dict | list):
            yield from ([key, *rest] for rest in _places(child))


def _at(value: Any, path: list[Any]) -> Any:
    for key in path:
        value = value[key]
    return value


VALID: dict[str, Any] = {
    "$limit": 1, "$skip": 1, "$sample": {"size": 1}, "$count": "n", "$unset": ["ward"],
    "$unwind": {"path": "$list", "includeArrayIndex": "at", "preserveNullAndEmptyArrays": True},
    "$facet": {"one": [{"$match": {"ward": 1}}]},
    "$setWindowFields": {"partitionBy": "$ward", "sortBy": {"age": 1},
                         "output": {"x": {"$sum": "$age", "window": {"documents": [-1, 0]}}}},
    "$changeStream": {"fullDocument": "updateLookup"},
    "$merge": {"into": "patients", "on": "_id", "whenMatched": "merge", "whenNotMatched": "insert"},
    "$out": {"db": "clinic", "coll": "patients"},
    "$currentOp": {"allUsers": True}, "$collStats": {"storageStats": {"scale": 1}},
    "$listSessions": {"users": [{"user": "x", "db": "y"}]},
}  # fmt: skip

_FILTERS = frozenset(("$match", "query", "restrictSearchWithMatch"))


@settings(max_examples=1500)
@given(st.sampled_from(sorted(name.decode() for name in STAGES)), st.data())
def test_no_argument_that_a_stage_does_not_take_carries_a_covered_constant(
    name: str, data: st.DataObject
) -> None:
    argument = copy.deepcopy(VALID.get(name, PROBES.get(name, {})))
    stage: Stage = {name: argument}
    doubled = b""
    kind = data.draw(st.sampled_from(["extra", "misnamed", "retyped", "missing", "doubled"]))
    # in a filter it would be a constant for whatever path it stands at
    places = [path for path in _places(stage) if not _FILTERS.intersection(map(str, path))]
    place = _at(stage, data.draw(st.sampled_from(places)))
    if isinstance(place, dict):
        key = data.draw(st.sampled_from([*place] or ["x"]))
        if kind == "extra" or not place:
            place[data.draw(st.sampled_from(["unheardOf", "default", "let", "unit", "x"]))] = LEAK
        elif kind == "misnamed":
            place[f"{key}s"] = place.pop(key)
            place[key] = LEAK
        elif kind == "missing":
            del place[key]
            place["x"] = LEAK
        elif kind == "doubled" and len(key) > 1:
            place[f"{key[:-1]}~"] = LEAK
            doubled = f"{key[:-1]}~\0".encode()
        else:
            place[key] = LEAK
    else:
        place.append(LEAK)
    buf = encode({**run(stage), "$db": "clinic"})
    if doubled:
        buf = buf.replace(doubled, key.encode() + b"\0")
    try:
        plan = plan_command(POLICY, buf, 0)
    except Refusal:
        return
    sealed = seal(plan)
    for begin in _found(sealed, MARKER.encode()):
        # an envelope holds a string as its bytes of BSON: the marker's length stands before it
        assert b"sealed:\x02" in sealed[begin - 16 : begin], stage


def _found(data: bytes, what: bytes) -> Iterator[int]:
    begin = data.find(what)
    while begin >= 0:
        yield begin
        begin = data.find(what, begin + 1)


# ----------------------------------------------------------------------------------------------------- orders

HIDDEN = {"$eq": ["$nhs_number", "secret"]}


def commands(sort: Any) -> list[dict[str, Any]]:
    """What takes a sort specification."""
    return [
        {"find": "patients", "filter": {}, "sort": sort},
        {"findAndModify": "patients", "query": {}, "sort": sort, "remove": True},
        {"aggregate": "patients", "pipeline": [{"$sort": sort}], "cursor": {}},
    ]


@pytest.mark.parametrize(
    "sort",
    [
        {"name": {"$meta": HIDDEN}},
        {"name": HIDDEN},
        {"name": {}},
        {"name": {"$meta": "textScore", "x": HIDDEN}},
        {"name": [HIDDEN]},
    ],
)
def test_expressions_in_a_direction_s_place_are_refused(sort: Any) -> None:
    for command in commands(sort):
        assert reason(command) is Reason.SHAPE


@pytest.mark.parametrize(
    "sort", [{"name": 1}, {"name": -1.0, "age": 2}, {"score": {"$meta": "textScore"}}, {}]
)
def test_other_paths_are_the_server_s_affair(sort: Any) -> None:
    for command in commands(sort):
        assert covered(command) == []


@pytest.mark.parametrize("path", ["nhs_number", "address", "contacts.0.phone", "notes"])
def test_a_covered_path_is_refused(path: str) -> None:
    for command in commands({"name": 1, path: 1}):
        assert reason(command) is Reason.SORT


def test_a_field_that_a_stage_has_taken_away_is_sorted_in_a_direction_and_nothing_else() -> None:
    def sorted_by(direction: Any) -> Command:
        stages = [{"$unset": "nhs_number"}, {"$sort": {"nhs_number": direction}}]
        return {"aggregate": "patients", "pipeline": stages, "cursor": {}}

    assert covered(sorted_by(-1)) == []
    for direction in ("secret", 943_476_5919, 0, 1.5):
        assert reason(sorted_by(direction)) is Reason.SHAPE
