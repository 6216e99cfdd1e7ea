"""The arguments of stages: what a stage does not take is refused before it is read by anybody."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from bson import Decimal128, Int64, encode
from bson.raw_bson import RawBSONDocument
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.policies.aggregation.stages import STAGES
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from tests.policies.commands.test_passed_commands import STAGES as PROBES
from tests.policies.support import POLICY, Command, Edits, covered, reason, run, seal
from tests.support.rows import rows

Stage = dict[str, Any]


@rows(
    "stage",
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


@rows(
    "sort",
    {"name": {"$meta": HIDDEN}},
    {"name": HIDDEN},
    {"name": {}},
    {"name": {"$meta": "textScore", "x": HIDDEN}},
    {"name": [HIDDEN]},
)
def test_expressions_in_a_direction_s_place_are_refused(sort: Any) -> None:
    for command in commands(sort):
        assert reason(command) is Reason.SHAPE


@rows("sort", {"name": 1}, {"name": -1.0, "age": 2}, {"score": {"$meta": "textScore"}}, {})
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


# Projections of find and $project: what they keep of the covered paths, and what they cannot do.


def find(projection: Any) -> dict[str, Any]:
    """A find with this projection."""
    return {"find": "patients", "filter": {}, "projection": projection}


def then(projection: Any, *stages: Any) -> dict[str, Any]:
    """A pipeline that projects and goes on."""
    return {"aggregate": "patients", "cursor": {}, "pipeline": [{"$project": projection}, *stages]}


@rows(
    "projection, edits",
    ({"contacts": {"$elemMatch": {"phone": "1"}}}, [("contacts.phone", "1")]),
    ({"tags": {"$elemMatch": {"$eq": "a"}}}, [("tags", "a")]),
    ({"tags": {"$elemMatch": {"$in": ["a", "b"]}}}, [("tags", "a"), ("tags", "b")]),
    ({"is": {"$eq": ["$nhs_number", "a"]}}, [("nhs_number", "a")]),
    ({"a": {"b": {"$eq": ["$nhs_number", "a"]}}}, [("nhs_number", "a")]),
    # flags array operators and forwarding pass
    ({}, []),
    ({"nhs_number": 1, "_id": 0}, []),
    ({"nhs_number": False}, []),
    ({"address.postcode": 1.0, "contacts.phone": Int64(1), "notes": Decimal128("1")}, []),
    ({"address": {"postcode": 1, "city": True}}, []),
    ({"contacts.$": 1}, []),
    ({"contacts": {"$slice": 2}}, []),
    ({"contacts": {"$slice": [1, 2]}, "tags": {"$slice": -1}}, []),
    ({"contacts": {"$slice": [1.5, Decimal128("2.5")]}, "tags": {"$slice": 1.5}}, []),
    ({"contacts": {"$slice": [1, 0]}, "tags": {"$slice": [1, 2, 3]}}, []),  # the server's own errors
    ({"contacts": {"$elemMatch": {"kind": "home"}}}, []),
    ({"list": {"$elemMatch": {"x": 1}}, "other": {"$slice": [1, 2]}}, []),
    ({"renamed": "$nhs_number", "p": "$address.postcode", "n": "$notes"}, []),
    ({"score": {"$meta": "textScore"}}, []),
    ({"upper": {"$toUpper": "$name"}}, []),
    ({"n": {"$size": "$tags"}, "first": {"$slice": ["$list", 2]}}, []),
    ({"nhs_number": None, "x": "constant"}, []),
)
def test_constants_in_a_projection_are_covered(projection: Any, edits: Any) -> None:
    assert covered(find(projection)) == edits


@rows(
    "projection, expected",
    ({"notes": {"$slice": 1}}, Reason.RANDOM_EQUALITY),
    ({"contacts": {"note": {"$slice": 1}}}, Reason.RANDOM_EQUALITY),
    ({"notes": {"$elemMatch": {"$eq": 1}}}, Reason.RANDOM_EQUALITY),
    ({"tags": {"$elemMatch": {"a": "b"}}}, Reason.BELOW_ENCRYPTED),
    ({"contacts": {"$elemMatch": {"phone": {"$gt": "1"}}}}, Reason.RANGE),
    ({"contacts": {"$slice": 1, "$x": 1}}, Reason.SHAPE),
    ({"tags": {"$slice": "secret"}}, Reason.SHAPE),
    ({"tags": {"$slice": []}}, Reason.SHAPE),
    ({"tags": {"$slice": [1, "secret"]}}, Reason.SHAPE),
    ({"x": {"$slice": {"$eq": ["$nhs_number", "secret"]}}}, Reason.SHAPE),
    ({"x": {"$slice": [1, {"$eq": ["$nhs_number", "secret"]}]}}, Reason.SHAPE),
    ({"x": {"$slice": 1, "y": {"$eq": ["$nhs_number", "secret"]}}}, Reason.SHAPE),
    ({"x": {"$elemMatch": {"$expr": {"$eq": ["$nhs_number", "secret"]}}}}, Reason.OPERATOR),
    ({"contacts": {"$elemMatch": {"$expr": {"$eq": ["$nhs_number", "secret"]}}}}, Reason.OPERATOR),
    ({"a" * 1001: {"b": 1}}, Reason.SHAPE),
    ({"contacts": {"$elemMatch": 5}}, Reason.SHAPE),
    ({"x": {"$toUpper": "$nhs_number"}}, Reason.COMPUTE),
    ({"a": {"b": {"$toUpper": "$nhs_number"}}}, Reason.COMPUTE),
    ({"x": {"$slice": ["$notes", 1]}}, Reason.COMPUTE),
    ({"x": {"$getField": "$name"}}, Reason.COMPUTE),
    ({"x": {"$unheardOf": "nhs_number"}}, Reason.UNKNOWN_EXPRESSION),
    ({"notes.x": 1}, Reason.BELOW_ENCRYPTED),
    ({"contacts": {"note": {"x": 0}}}, Reason.BELOW_ENCRYPTED),
    (["nhs_number"], Reason.SHAPE),
)
def test_what_a_projection_cannot_do_with_ciphertext_is_refused(projection: Any, expected: Reason) -> None:
    assert reason(find(projection)) is expected


def test_names_that_are_nested_amount_to_a_path_of_a_thousand_bytes_at_most() -> None:
    assert covered(find({"a" * 1000: {"b": 1}})) == []
    assert covered(find({"a" * 499: {"b" * 500: {"c": 1}}})) == []
    assert reason(find({"a" * 500: {"b" * 500: {"c": 1}}})) is Reason.SHAPE


@rows(
    "projection, match, edits",
    ({"nhs_number": 1}, {"nhs_number": "a"}, [("nhs_number", "a")]),
    ({"name": 0}, {"nhs_number": "a"}, [("nhs_number", "a")]),
    ({"n": "$nhs_number"}, {"n": "a"}, [("nhs_number", "a")]),
    ({"a": "$address"}, {"a.postcode": "b", "a.city": "c"}, [("address.postcode", "b")]),
    ({"a": {"b": "$nhs_number"}}, {"name": "x"}, []),
    ({"address": {"postcode": 1}}, {"address.postcode": "b"}, [("address.postcode", "b")]),
    ({"nhs_number": 0}, {"nhs_number": "a"}, [("nhs_number", "a")]),
    ({"nhs_number": Decimal128("0.0")}, {"nhs_number": "a"}, [("nhs_number", "a")]),
    ({"address": {"postcode": 0}}, {"address.postcode": "b"}, [("address.postcode", "b")]),
    ({"nhs_number": "$name"}, {"nhs_number": "a"}, []),
    ({"nhs_number": {"$literal": "x"}}, {"nhs_number": "a"}, []),
    ({"address.postcode": "$name"}, {"address.postcode": "b"}, []),
    ({"nhs_number": "$postcode", "postcode": "$nhs_number"}, {"nhs_number": "a"}, [("postcode", "a")]),
)
def test_the_stages_behind_see_what_a_projection_left(projection: Any, match: Any, edits: Edits) -> None:
    assert covered(then(projection, {"$match": match})) == edits


@rows(
    "projection",
    {"name": 1},
    {"name": 1, "_id": 0},
    {"_id": 1},
    {"_id": "$name"},
    {"x": "$name"},
    {"address.city": 1, "contacts": {"kind": True}, "deep.a.c": 1},
    {"address.x": "$name"},
    {"name": {"$literal": 0}},
)
def test_what_is_compared_with_a_field_that_an_inclusion_leaves_out_stays_covered(projection: Any) -> None:
    paths = ("nhs_number", "contacts.phone", "tags", "deep.a.b")
    compared = covered(then(projection, {"$match": dict.fromkeys(paths, "a")}))
    assert compared == [(path, "a") for path in paths]


@rows(
    "projection, is_plain",
    ({"name": 1}, True),
    ({"name": 1, "_id": 0}, True),
    ({"_id": 1}, True),
    ({"x": "$name"}, True),
    ({"address.city": 1, "contacts": {"kind": True}, "deep.a.c": 1}, True),
    ({"nhs_number": {"$literal": 0}}, True),
    ({"nhs_number": 1}, False),
    ({"x": "$nhs_number"}, False),
    ({"address": 1}, False),
    ({"contacts.0": 1}, False),
    ({"name": 1, "nhs_number": 0}, False),
    ({"name": 0}, False),
    ({"name": -0.0}, False),
    ({"name": Decimal128("-0E+40")}, False),
    ({"name": 5e-324}, True),
    ({"name": float("nan")}, True),
)
def test_only_what_an_inclusion_names_goes_into_another_collection(projection: Any, is_plain: bool) -> None:
    command = then(projection, {"$out": "names"})
    if is_plain:
        assert covered(command) == []
    else:
        assert reason(command) is Reason.TARGET


@rows(
    "projection, path, left",
    ({"address": 1}, "address.postcode", "address.postcode"),
    ({"address.postcode": 1, "address.city": 1}, "address.postcode", "address.postcode"),
    ({"deep.a": 1}, "deep.a.b", "deep.a.b"),
    ({"deep": {"a": {"b": 1}}, "name": 1}, "deep.a.b", "deep.a.b"),
    ({"contacts.phone": 1, "contacts.kind": 1}, "contacts.0.phone", "contacts.phone"),
    ({"contacts.0": 1}, "contacts.phone", "contacts.phone"),
    ({"contacts.kind": 1, "contacts.0": 1}, "contacts.phone", "contacts.phone"),
    ({"contacts.0": 1, "contacts.kind": 1}, "contacts.phone", "contacts.phone"),
    ({"0": 1}, "nhs_number", "nhs_number"),
    ({"name": 1, "n": "$nhs_number"}, "n", "nhs_number"),
    ({"_id": 0}, "nhs_number", "nhs_number"),
    ({"name": 0, "_id": 1}, "nhs_number", "nhs_number"),
    ({"name": 0, "age": 1}, "nhs_number", "nhs_number"),
    ({"name": 0, "age": "$name"}, "nhs_number", "nhs_number"),
    ({"_id": {"x": 0}, "name": 1}, "nhs_number", "nhs_number"),
    ({"name": {}, "age": 1}, "nhs_number", "nhs_number"),
    ({}, "nhs_number", "nhs_number"),
)
def test_what_a_projection_leaves_stays_covered(projection: Any, path: str, left: str) -> None:
    assert covered(then(projection, {"$match": {path: "a"}})) == [(left, "a")]


@pytest.mark.parametrize(("projection", "expected"), [({"n": 1}, Reason.TARGET), ({"n": 1, "_id": 0}, None)])
def test_the_identity_is_left_unless_it_is_excluded(projection: Any, expected: Reason | None) -> None:
    stages = [{"$group": {"_id": "$postcode"}}, {"$project": projection}, {"$out": "names"}]
    command = {"aggregate": "patients", "cursor": {}, "pipeline": stages}
    if expected is None:
        assert covered(command) == []
    else:
        assert reason(command) is expected


def test_an_included_and_an_assigned_field_of_one_document_are_forwarded_only() -> None:
    for projection in (
        {"address.postcode": 1, "address.x": "$nhs_number"},
        {"address.x": "$nhs_number", "address.postcode": 1},
    ):
        assert covered(then(projection)) == []
        assert reason(then(projection, {"$match": {"address.postcode": "a"}})) is Reason.COMPUTE


def test_below_an_assigned_dotted_path_a_value_can_be_forwarded_only() -> None:
    assert reason(then({"a.b": "$nhs_number"}, {"$match": {"a.b": "x"}})) is Reason.COMPUTE


@pytest.mark.parametrize("path", ["contacts.0.phone", "contacts.0", "tags.0"])
def test_a_number_in_an_assigned_path_is_refused_where_it_would_be_taken_for_an_index(path: str) -> None:
    assert reason(then({path: "$name"})) is Reason.STAGE


def test_a_flag_that_is_no_canonical_decimal_is_refused() -> None:
    assert reason(then({"name": Decimal128.from_bid(bytes(15) + b"\x6c")})) is Reason.SHAPE


@pytest.mark.parametrize("paths", [("a", "a"), ("a.b", "a"), ("a", "b", "a.b"), ("a.b", "a.b.c")])
def test_assigned_paths_that_collide_are_refused(paths: tuple[str, ...]) -> None:
    fields = [encode({path: "$name"}) for path in paths]
    body = b"".join(field[4:-1] for field in fields)
    projection = RawBSONDocument((len(body) + 5).to_bytes(4, "little") + body + b"\0")
    assert reason(then(projection)) is Reason.SHAPE


def test_names_that_only_begin_alike_do_not_collide() -> None:
    assert covered(then({"a.x": "$name", "a-b": "$name", "ab": "$name", "a.xy": "$name"})) == []


def test_many_fields_are_followed() -> None:
    many = {f"f{number}": "$nhs_number" for number in range(4000)}
    assert covered(then(many, {"$match": {"f3999": "a"}})) == [("nhs_number", "a")]
    assert covered(then(dict.fromkeys(many, 0), {"$match": {"nhs_number": "a"}})) == [("nhs_number", "a")]


def test_projections_deeper_than_the_server_takes_are_refused() -> None:
    projection: Any = 1
    for _ in range(250):
        projection = {"a": projection}
    assert reason(find(projection)) is Reason.SHAPE
    assert reason(then(projection)) is Reason.SHAPE
