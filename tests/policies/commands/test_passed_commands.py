"""Commands that pass unread: those that are known to carry no value, and those that the policy allows."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from bson import Int64, encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.commands.command import TARGETED, target_of
from sealwire.policies.commands.planner import MATRIX, plan_command
from sealwire.policies.commands.views import ViewCatalog
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.loader import load_policy
from sealwire.policies.planning.rules import Verdict
from sealwire.wire.errors import BsonError
from tests.policies.mongodb_names import BY_FAMILY, COLLECTION_COMMANDS, OTHER_COMMANDS
from tests.policies.signature_calls import fitting
from tests.policies.support import (
    POLICY,
    Command,
    find,
    insert,
    plan_message,
    plan_of,
    reason,
    refusal_of,
    run,
    target,
    update,
)
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows

SECRET = {"nhs_number": "a"}
EMPTY = load_policy(b"version: 1\nclasses: {a: {mode: random}}\ncollections: {}\n", "p")
ALLOWING = replace(POLICY, allowed_commands=frozenset({b"unheardOf", b"applyOps"}))

UNKNOWN: list[Command] = [
    {"clusterAggregate": 1, "pipeline": [{"$match": SECRET}]},
    {"clusterAggregate": "patients", "pipeline": [{"$match": SECRET}]},
    {
        "clusterBulkWrite": 1,
        "ops": [{"insert": 0, "document": SECRET}],
        "nsInfo": [{"ns": "clinic.patients"}],
    },
    {"_clusterQueryWithoutShardKey": 1, "writeCmd": {"update": "patients", "updates": [{"q": SECRET}]}},
    {"_clusterWriteWithoutShardKey": "patients", "writeCmd": {}},
    {"testInternalTransactions": 1, "commandInfos": [{"command": find(SECRET)}]},
    {"configureFailPoint": "failCommand", "mode": "off", "$db": "admin"},
    {"unheardOf": 1, "filter": SECRET},
    {"unheardOf": "wards", "filter": SECRET},
    {"unheardOf": {"find": "patients"}, "$db": "other"},
    {"explain": {"unheardOf": 1}},
]

LOOKUP: dict[str, Any] = {"$lookup": {"from": "patients", "pipeline": [], "as": "z"}}


@pytest.mark.parametrize("command", UNKNOWN)
@pytest.mark.parametrize("database", ["clinic", "other", "admin"])
def test_a_command_that_nobody_knows_is_refused_on_any_namespace(command: Command, database: str) -> None:
    names = {*command, *command.get("explain", ())}
    expected = Reason.UNKNOWN_COMMAND if "unheardOf" in names else Reason.COMMAND
    assert reason({**command, "$db": database}) is expected


def test_the_policy_may_allow_one_but_not_on_a_protected_collection() -> None:
    for allowed in ({"unheardOf": 1}, {"unheardOf": "wards"}, {"unheardOf": {"x": 1}}):
        plan = plan_of(allowed, ALLOWING)
        assert (plan.protected, plan.reveals, plan.edits) == (False, False, [])
    for command in ({"unheardOf": "patients"}, {"unheardOf": "clinic.patients", "$db": "admin"}):
        assert refusal_of(command, ALLOWING).reason is Reason.UNKNOWN_COMMAND
    # of these it is known what they do
    assert refusal_of({"applyOps": 1}, ALLOWING).reason is Reason.COMMAND
    assert refusal_of({"find": 1}, ALLOWING).reason is Reason.SHAPE


@pytest.mark.parametrize("command", [*UNKNOWN, {"find": 1}, {"create": 5, "viewOn": b"x"}, {"rawData": True}])
def test_a_policy_that_protects_nothing_refuses_nothing(command: Command) -> None:
    assert plan_of(command, EMPTY).edits == []


@rows(
    "command",
    {"getMore": Int64(5), "collection": "patients", "rawData": True},
    {"getLog": "patients", "$db": "clinic"},
    {"createUser": "patients", "pwd": "x", "roles": []},
    {"getParameter": "clinic.patients", "$db": "admin"},
    {"setParameter": 1, "logComponentVerbosity": {"query": {"verbosity": 1}}, "$db": "admin"},
    {"enableSharding": "clinic.patients", "$db": "admin"},
    {"currentOp": 1, "$all": True, "$ownOps": False, "comment": "x", "$db": "admin"},
    {"currentOp": True, "active": True, "secs_running": {"$gt": 3}, "ns": {"$regex": "^clinic"}},
    {"currentOp": 1, "$or": [{"op": "query"}, {"command.find": "patients"}]},
    {"profile": 1, "slowms": 5, "filter": {"millis": {"$gt": 10}, "ns": "clinic.patients"}},
    {"profile": 0, "filter": "unset"},
    {"setAuditConfig": 1, "filter": {"atype": {"$in": ["authenticate"]}}, "$db": "admin"},
    {"setClusterParameter": {"defaultMaxTimeMS": {"readOperations": 5}}, "$db": "admin"},
    {"listCollections": 1, "filter": {"name": "patients", "type": "view"}, "nameOnly": True},
    {"listCollections": 1, "filter": {"options.viewOn": "x", "options.timeseries": {"$exists": False}}},
    {"listCollections": 1, "filter": {"options.validator": {"$exists": True}}},
    {"listCollections": 1, "filter": {"options.validator": "a"}, "$db": "other"},
    {"listDatabases": 1, "filter": {"name": "clinic"}, "$db": "admin"},
    # a command that names no collection passes
    *({name: 1} for name in OTHER_COMMANDS),
)
def test_known_ones_pass(command: Command) -> None:
    plan = plan_of(command)
    assert (plan.protected, plan.edits) == (False, [])


@rows(
    "command",
    {"currentOp": 1, "command.filter.nhs_number": "a"},
    {"currentOp": 1, "command": find(SECRET)},
    {"currentOp": 1, "$or": [{"ns": "x"}, {"command.filter.nhs_number": "a"}]},
    {"currentOp": 1, "$and": [{"$or": [{"cursor.originatingCommand.filter.nhs_number": "a"}]}]},
    {"currentOp": 1, "$expr": {"$eq": ["$command.filter.nhs_number", "a"]}},
    {"currentOp": 1, "$where": "this.command.filter.nhs_number == 'a'"},
    {"currentOp": 1, "whatever": "a"},
    {"profile": 1, "filter": {"command.filter.nhs_number": "a"}},
    {"profile": 1, "filter": {"command.update.$set.nhs_number": "a"}},
    {"setProfilingFilterGlobally": 1, "filter": {"command": SECRET}, "$db": "admin"},
    {"setAuditConfig": 1, "filter": {"param.args.filter.nhs_number": "a"}, "$db": "admin"},
    {"setAuditConfig": {"filter": {"param.args.filter.nhs_number": "a"}}, "$db": "admin"},
    {"setClusterParameter": {"auditConfig": {"filter": {"param": SECRET}}}, "$db": "admin"},
    {"setClusterParameter": {"querySettings": {"settingsArray": []}}, "$db": "admin"},
    {"listCollections": 1, "filter": {"options.validator.nhs_number": "a"}},
    {"listCollections": 1, "filter": {"options": {"validator": SECRET}}},
    {"listCollections": 1, "filter": {"$or": [{"options.pipeline": [{"$match": SECRET}]}]}},
    {"listCollections": 1, "filter": {"$expr": {"$eq": ["$options.pipeline", [SECRET]]}}},
)
def test_their_filters_compare_nothing_with_what_may_hold_covered_values(command: Command) -> None:
    with pytest.raises(Refusal):
        plan_of(command)


def test_a_refusal_does_not_name_what_a_client_calls_a_path() -> None:
    assert refusal_of({"currentOp": 1, "943 476 5919": "a"}).path == ""


@pytest.mark.parametrize("name", ["ping", "currentOp", "listCollections", "getMore"])
def test_no_argument_of_theirs_comes_as_a_sequence(name: str) -> None:
    with raising(Refusal, Reason.SHAPE):
        plan_message({name: 1}, {"filter": [SECRET]})


RAW: list[Any] = [True, 1, {}, "false"]


@pytest.mark.parametrize("raw", RAW)
@rows(
    "command",
    {"find": "patients"},
    insert(),
    {"listIndexes": "patients"},
    {"createIndexes": "patients", "indexes": []},
    {"create": "patients"},
    {"aggregate": "wards", "pipeline": [LOOKUP], "cursor": {}},
    {"explain": {"find": "patients"}},
)
def test_raw_data_is_refused_where_paths_are_covered(command: Command, raw: Any) -> None:
    assert plan_of({**command, "rawData": False}).edits == []
    assert reason({**command, "rawData": raw}) is Reason.SHAPE
    assert reason({"explain": {**command, "rawData": raw}}) is Reason.SHAPE
    assert plan_of({"find": "wards", "rawData": raw}).edits == []


def test_what_stands_beside_an_explained_command_is_known() -> None:
    explained = {"explain": {"find": "patients"}, "verbosity": "queryPlanner", "maxTimeMS": 5}
    assert plan_of(explained).protected
    assert reason({**explained, "filter": SECRET}) is Reason.SHAPE


# Commands that are recognised by their top level alone.


TARGET = target("find", "wards", "stats")


def test_a_target_is_command_collection_and_database_wherever_the_database_stands() -> None:
    assert target_of(encode({"find": "wards", "$db": "stats", "filter": {"a": 1}}), 0) == TARGET
    assert target_of(b"??" + encode({"find": "wards", "filter": {}, "$db": "stats"}), 2) == TARGET


@rows(
    "command",
    {"aggregate": "wards", "pipeline": [], "$db": "stats"},
    {"ping": 1, "$db": "stats"},
    {"find": 1, "$db": "stats"},
    {"find": "wards"},
    {"find": "wards", "$db": 1},
    {"$db": "stats", "find": "wards"},
    {},
)
def test_any_other_command_has_no_target(command: dict[str, Any]) -> None:
    assert target_of(encode(command), 0) is None


@pytest.mark.parametrize("twice", [{"find": "patients"}, {"$db": "clinic"}, {"filter": {}}])
def test_a_name_that_stands_twice_has_to_be_planned(twice: dict[str, Any]) -> None:
    parts = encode({"find": "wards", "$db": "stats", "filter": {}})[4:-1] + encode(twice)[4:]
    assert target_of((len(parts) + 4).to_bytes(4, "little") + parts, 0) is None


@given(st.binary(max_size=80))
def test_bytes_that_are_no_document_have_none_or_raise_what_the_walk_raises(noise: bytes) -> None:
    data = (len(noise) + 5).to_bytes(4, "little") + noise + b"\0"
    with suppress(BsonError):
        assert target_of(data, 0) is None


names = st.sampled_from(["wards", "patients", "system.views", "v", "tenant_1.patients", "staff.x"])
databases = st.sampled_from(["clinic", "stats", "tenant_7", "admin", "local"])
arguments = st.dictionaries(
    st.sampled_from(["filter", "query", "updates", "deletes", "documents", "u", "hint", "let", "comment"]),
    st.sampled_from([1, "x", {}, {"nhs_number": "943 476 5919"}, [{"$lookup": {"from": "patients"}}], None]),
    max_size=3,
)


@given(st.sampled_from(sorted(TARGETED)), names, databases, arguments, arguments)
def test_what_the_planner_says_of_a_clear_target_it_says_of_each_command_on_it(
    name: bytes, collection: str, database: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    catalog = ViewCatalog(POLICY)
    for each in ("wards", "v", "system.views", "tenant_1.patients", "staff.x"):
        catalog.learn(f"{database}.{each}", None)
    answers = []
    for more in (first, second):
        command = encode({name.decode(): collection, **more, "$db": database})
        assert target_of(command, 0) == target(name.decode(), collection, database)
        try:
            plan = plan_command(POLICY, command, 0, covered=catalog.covered)
        except Refusal as refusal:
            answers.append(("refused", refusal.reason.value, False, 0))
        else:
            answers.append((plan.command, plan.namespace, plan.protected, len(plan.edits)))
    if any(protected is False and kind != "refused" for kind, _, protected, _ in answers):
        assert answers[0] == answers[1]
        assert answers[0][3] == 0


# Each row of the support matrix, held against a command on a covered path: the planner does what it says.


Probe = Callable[[str], Command]
NHS = "nhs_number"
FIELD = f"${NHS}"


RANGED = policy_of("""
version: 1
classes:
  counted: {mode: deterministic, type: int, range: {from: 0, to: 9}}
collections:
  clinic.patients:
    nhs_number: counted
""")
_RANGES = ("$gt", "$gte", "$lt", "$lte")


def _yields(expression: Any) -> Command:
    return run({"$set": {"x": expression}})


_JOIN = {"from": "appointments", "as": "z"}
_GRAPH = {**_JOIN, "startWith": "a", "connectFromField": "patient_nhs", "connectToField": "patient_nhs"}
_SAME = {"$set": {"nhs_number": "a"}}

COMMANDS: dict[str, Command] = {
    "aggregate": run({"$match": {NHS: "a"}}),
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
    "find": find({NHS: "a"}),
    "findAndModify": {"findAndModify": "patients", "query": {NHS: "a"}, "remove": True},
    "findandmodify": {"findandmodify": "patients", "query": {NHS: "a"}, "remove": True},
    "insert": insert({NHS: "a"}),
    "update": update(_SAME),
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
    "condition": lambda name: find({NHS: {name: CONDITIONS.get(name, "a")}}),
    "filter": lambda name: find({name: FILTERS.get(name, "a")}),
    "update": lambda name: update({name: UPDATES.get(name, {NHS: "a"})}),
    "push": lambda name: update({"$push": {"tags": PUSH.get(name, {"$each": [], name: 1})}}),
    "update stage": lambda name: update([{name: UPDATE_STAGES.get(name, {})}]),
    "stage": lambda name: run({name: STAGES.get(name, {})}),
    "accumulator": lambda name: run(
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


@pytest.mark.parametrize("family", MATRIX, ids=lambda family: family.key)
def test_a_refusal_names_its_reason_and_nothing_else_does(family: Any) -> None:
    assert all(
        (rule.verdict is Verdict.REFUSED) == (rule.reason is not None) for rule in family.rules.values()
    )


@rows("key", "command", "passed", "condition", "filter", "update", "push", "update stage", "stage")
def test_a_name_without_a_row_is_refused(key: str) -> None:
    name = "unheardOf" if key in {"command", "passed"} else "$unheardOf"
    said = refusal_of(PROBES[key](name)).reason.value
    assert f"{said}]" in next(f.others for f in MATRIX if f.key == key)
    assert said.startswith("unknown-")
