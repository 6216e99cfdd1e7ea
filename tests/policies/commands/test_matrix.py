"""Each row of the support matrix, held against a command on a covered path: the planner does what it says."""

from collections.abc import Callable
from typing import Any

import pytest

from sealwire.policies.commands.planner import MATRIX
from sealwire.policies.file.loader import load_policy
from sealwire.policies.planning.rules import Verdict
from tests.policies.mongodb_names import BY_FAMILY, COLLECTION_COMMANDS, OTHER_COMMANDS
from tests.policies.signature_calls import fitting
from tests.policies.support import POLICY, Command, plan_of, refusal_of

Probe = Callable[[str], Command]
NHS = "nhs_number"
FIELD = f"${NHS}"


RANGED = load_policy(
    b"""
version: 1
classes:
  counted: {mode: deterministic, type: int, range: {from: 0, to: 9}}
collections:
  clinic.patients:
    nhs_number: counted
""",
    "policy.yaml",
)
_RANGES = ("$gt", "$gte", "$lt", "$lte")


def _find(query: Any) -> Command:
    return {"find": "patients", "filter": query}


def _update(update: Any) -> Command:
    return {"update": "patients", "updates": [{"q": {}, "u": update}]}


def _aggregate(*stages: Any) -> Command:
    return {"aggregate": "patients", "pipeline": list(stages), "cursor": {}}


def _yields(expression: Any) -> Command:
    return _aggregate({"$set": {"x": expression}})


_JOIN = {"from": "appointments", "as": "z"}
_GRAPH = {**_JOIN, "startWith": "a", "connectFromField": "patient_nhs", "connectToField": "patient_nhs"}
_SAME = {"$set": {"nhs_number": "a"}}

COMMANDS: dict[str, Command] = {
    "aggregate": _aggregate({"$match": {NHS: "a"}}),
    "bulkWrite": {
        "bulkWrite": 1,
        "ops": [{"insert": 0, "document": {NHS: "a"}}],
        "nsInfo": [{"ns": "clinic.patients"}],
        "$db": "admin",
    },
    "count": {"count": "patients", "query": {NHS: "a"}},
    "create": {"create": "patients", "validator": {NHS: {"$ne": "a"}}},
    "collMod": {"collMod": "patients", "validator": {NHS: {"$ne": "a"}}},
    "createIndexes": {
        "createIndexes": "patients",
        "indexes": [{"key": {NHS: 1}, "name": "n", "partialFilterExpression": {NHS: "a"}}],
    },
    "delete": {"delete": "patients", "deletes": [{"q": {NHS: "a"}, "limit": 1}]},
    "distinct": {"distinct": "patients", "key": NHS, "query": {NHS: "a"}},
    "find": _find({NHS: "a"}),
    "findAndModify": {"findAndModify": "patients", "query": {NHS: "a"}, "remove": True},
    "findandmodify": {"findandmodify": "patients", "query": {NHS: "a"}, "remove": True},
    "insert": {"insert": "patients", "documents": [{NHS: "a"}]},
    "update": _update(_SAME),
    "dropIndexes": {"dropIndexes": "patients", "index": {NHS: 1}},
    "killCursors": {"killCursors": "patients", "cursors": [5]},
    "renameCollection": {"renameCollection": "tenant_1.patients", "to": "tenant_2.patients", "$db": "admin"},
}

BEYOND: dict[str, Command] = {
    "create": {"create": "v", "viewOn": "patients", "pipeline": [{"$match": {NHS: "a"}}]},
    "collMod": {"collMod": "v", "viewOn": "patients", "pipeline": [{"$match": {NHS: "a"}}]},
    "cloneCollectionAsCapped": {"cloneCollectionAsCapped": "x", "toCollection": "patients", "size": 1},
    "mapReduce": {"mapReduce": "patients", "map": "", "reduce": "", "out": "y"},
    "mapreduce": {"mapreduce": "patients", "map": "", "reduce": "", "out": "y"},
}

CONDITIONS: dict[str, Any] = {
    **{key: ["a"] for key in ("$in", "$nin", "$all")},
    "$not": {"$eq": "a"},
    "$elemMatch": {"$eq": "a"},
    "$exists": True,
    "$type": "string",
    **dict.fromkeys(_RANGES, 5),
    "$size": 2,
}

STAGES: dict[str, Any] = {
    "$match": {NHS: "a"},
    "$project": {"is": {"$eq": [FIELD, "a"]}},
    "$addFields": {"is": {"$eq": [FIELD, "a"]}},
    "$set": {"is": {"$eq": [FIELD, "a"]}},
    "$unset": NHS,
    "$group": {"_id": FIELD},
    "$sortByCount": FIELD,
    "$bucket": {"groupBy": FIELD, "boundaries": ["a", "b"]},
    "$bucketAuto": {"groupBy": FIELD, "buckets": 2},
    "$setWindowFields": {"partitionBy": FIELD, "output": {"x": {"$push": FIELD}}},
    "$sort": {NHS: 1},
    "$unwind": "$tags",
    "$replaceRoot": {"newRoot": {"is": {"$eq": [FIELD, "a"]}}},
    "$replaceWith": {"is": {"$eq": [FIELD, "a"]}},
    "$fill": {"sortBy": {"age": 1}, "output": {"is": {"value": {"$eq": [FIELD, "a"]}}}},
    "$densify": {"field": "age", "partitionByFields": [NHS], "range": {"step": 1, "bounds": "full"}},
    "$geoNear": {"near": [0, 0], "distanceField": "d", "query": {NHS: "a"}},
    "$redact": {"$cond": [{"$eq": [FIELD, "a"]}, "$$KEEP", "$$PRUNE"]},
    "$facet": {"one": [{"$match": {NHS: "a"}}]},
    "$lookup": {**_JOIN, "pipeline": [{"$match": {"patient_nhs": "a"}}]},
    "$graphLookup": _GRAPH,
    "$unionWith": {"coll": "appointments", "pipeline": [{"$match": {"patient_nhs": "a"}}]},
    "$out": "patients",
    "$merge": {"into": "patients", "whenMatched": [{"$set": {NHS: "a"}}]},
    "$limit": 1,
    "$skip": 1,
    "$sample": {"size": 1},
    "$count": "n",
    "$documents": [{"n": FIELD}],
}

ACCUMULATORS: dict[str, Any] = {
    "$firstN": {"input": FIELD, "n": 1},
    "$lastN": {"input": FIELD, "n": 1},
    **{key: {"sortBy": {"age": 1}, "output": FIELD} for key in ("$top", "$bottom")},
    **{key: {"sortBy": {"age": 1}, "output": FIELD, "n": 1} for key in ("$topN", "$bottomN")},
    "$shift": {"output": FIELD, "by": 1},
    **{key: {} for key in ("$count", "$documentNumber", "$rank", "$denseRank")},
    "$mergeObjects": "$address",
    **dict.fromkeys(("$concatArrays", "$setUnion"), "$tags"),
}

EXPRESSIONS: dict[str, Any] = {
    "$literal": "x",
    "$eq": [FIELD, "a"],
    "$ne": [FIELD, "a"],
    "$in": [FIELD, ["a"]],
    "$indexOfArray": ["$tags", "a"],
    "$setEquals": ["$tags", ["a"]],
    "$setIsSubset": ["$tags", ["a"]],
    "$setIntersection": ["$tags", ["a"]],
    "$setDifference": ["$tags", ["a"]],
    "$setUnion": ["$tags", "$tags"],
    "$ifNull": [FIELD, "none"],
    "$cond": [True, FIELD, "none"],
    "$switch": {"branches": [{"case": True, "then": FIELD}], "default": "none"},
    "$objectToArray": "$address",
    "$arrayToObject": {"$objectToArray": "$address"},
    "$zip": {"inputs": ["$tags", "$tags"]},
    "$getField": NHS,
    "$rand": {},
    "$let": {"vars": {"n": FIELD}, "in": "$$n"},
    "$size": "$tags",
    "$isArray": "$tags",
    **{key: ["$tags", 1] for key in ("$arrayElemAt", "$slice")},
    **dict.fromkeys(("$first", "$last", "$reverseArray"), "$tags"),
    **{key: {"input": "$tags", "n": 1} for key in ("$firstN", "$lastN")},
    "$concatArrays": ["$tags", "$tags"],
    "$map": {"input": "$tags", "in": "$$this"},
    "$filter": {"input": "$tags", "cond": True},
    "$mergeObjects": ["$address", {"seen": 1}],
}

UPDATES: dict[str, Any] = {
    "$unset": {NHS: ""},
    "$pop": {"tags": 1},
    "$rename": {NHS: "other_nhs"},
    "$pullAll": {"tags": ["a"]},
    **{name: {"tags": "a"} for name in ("$push", "$addToSet", "$pull")},
}

PUSH: dict[str, Any] = {"$each": {"$each": ["a"]}, "$sort": {"$each": [], "$sort": 1}}

FILTERS: dict[str, Any] = {
    **{key: [{NHS: "a"}] for key in ("$and", "$or", "$nor")},
    "$expr": {"$eq": [FIELD, "a"]},
    "$jsonSchema": {"required": [NHS]},
}
UPDATE_STAGES: dict[str, Any] = {
    **{key: {NHS: {"$literal": "a"}} for key in ("$set", "$addFields", "$project")},
    "$unset": NHS,
    "$replaceRoot": {"newRoot": {NHS: "a"}},
    "$replaceWith": {NHS: "a"},
}


def _operand(key: str, name: str) -> Any:
    """The covered field in every place of the operator's signature."""
    signature = next(family.rules[name.encode()] for family in MATRIX if family.key == key).signature
    assert signature is not None
    return next(operand for operand in fitting(signature, FIELD) if operand != [])


PROBES: dict[str, Probe] = {
    "command": lambda name: COMMANDS.get(name, {name: "patients"}),
    "beyond": lambda name: BEYOND.get(name, {name: 1}),
    "passed": lambda name: {name: 1},
    "condition": lambda name: _find({NHS: {name: CONDITIONS.get(name, "a")}}),
    "filter": lambda name: _find({name: FILTERS.get(name, "a")}),
    "update": lambda name: _update({name: UPDATES.get(name, {NHS: "a"})}),
    "push": lambda name: _update({"$push": {"tags": PUSH.get(name, {"$each": [], name: 1})}}),
    "update stage": lambda name: _update([{name: UPDATE_STAGES.get(name, {})}]),
    "stage": lambda name: _aggregate({name: STAGES.get(name, {})}),
    "accumulator": lambda name: _aggregate(
        {"$group": {"_id": 1, "x": {name: ACCUMULATORS.get(name) or _operand("accumulator", name)}}}
    ),
    "expression": lambda name: _yields({name: EXPRESSIONS.get(name) or _operand("expression", name)}),
}
ROWS = [(family.key, name.decode()) for family in MATRIX for name in family.rules]


@pytest.mark.parametrize(("key", "name"), ROWS)
def test_the_planner_does_what_the_matrix_says(key: str, name: str) -> None:
    rule = next(family.rules[name.encode()] for family in MATRIX if family.key == key)
    command = PROBES[key](name)
    if rule.verdict is Verdict.REFUSED:
        assert refusal_of(command).reason is rule.reason
    else:
        edits = plan_of(command, RANGED if name in _RANGES else POLICY).edits
        assert (Verdict.ENCRYPTED if edits else Verdict.PASSED) is rule.verdict


@pytest.mark.parametrize("key", sorted(BY_FAMILY))
def test_every_name_that_the_manual_lists_has_a_row(key: str) -> None:
    rows = next(family.rules for family in MATRIX if family.key == key)
    assert {name for name in BY_FAMILY[key] if name.encode() not in rows} == set()


def test_every_command_of_the_manual_that_names_a_collection_has_a_row() -> None:
    rows = {
        name.decode() for family in MATRIX if family.key in ("command", "beyond") for name in family.rules
    }
    assert set(COLLECTION_COMMANDS) - rows == {"explain"}
    passed = {name.decode() for family in MATRIX if family.key == "passed" for name in family.rules}
    assert rows.isdisjoint(passed)
    assert set(OTHER_COMMANDS) - passed == set()


@pytest.mark.parametrize("name", OTHER_COMMANDS)
def test_a_command_that_names_no_collection_passes(name: str) -> None:
    plan = plan_of({name: 1})
    assert (plan.protected, plan.edits) == (False, [])


@pytest.mark.parametrize("family", MATRIX, ids=lambda family: family.key)
def test_a_refusal_names_its_reason_and_nothing_else_does(family: Any) -> None:
    assert all(
        (rule.verdict is Verdict.REFUSED) == (rule.reason is not None) for rule in family.rules.values()
    )


@pytest.mark.parametrize(
    "key", ["command", "passed", "condition", "filter", "update", "push", "update stage", "stage"]
)
def test_a_name_without_a_row_is_refused(key: str) -> None:
    name = "unheardOf" if key in {"command", "passed"} else "$unheardOf"
    said = refusal_of(PROBES[key](name)).reason.value
    assert f"{said}]" in next(f.others for f in MATRIX if f.key == key)
    assert said.startswith("unknown-")
