"""Short commands that make large trees of covered paths: what following them costs is bounded.

Work is counted in calls of functions and in the children of nodes that are made, never in time.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import pytest
from bson import encode

from sealwire.policies.aggregation.grouping import ACCUMULATORS
from sealwire.policies.aggregation.server_stages import SERVER_STAGES
from sealwire.policies.aggregation.stages import STAGES
from sealwire.policies.commands.planner import MATRIX, plan_command
from sealwire.policies.commands.views import View, ViewCatalog
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.operators import OPERATORS
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning import trees, walk
from sealwire.policies.planning.arguments import Signature
from sealwire.policies.roles.role import Rights
from tests.policies.commands.test_passed_commands import PROBES
from tests.policies.signature_calls import fitting
from tests.policies.support import POLICY, Command, find, plan_of, reason, run, update
from tests.policies.test_budgets import calls
from tests.retyped import retyped_within
from tests.support.reasons import raising
from tests.support.rows import rows

_VISITS = 4_000
"""The budget that towers are planned under: a fiftieth, so that they show at once when they go beyond."""

_FOR_A_BYTE, _FOR_A_VISIT = 12, 20
"""Calls that planning takes at most, for each byte of the command and for each visit."""

DOUBLED = {"$replaceWith": {"a": "$$ROOT", "b": "$$ROOT"}}
UNION = {"$unionWith": "appointments"}
WIDE = {"$set": {f"f{number}": "$nhs_number" for number in range(200)}}


def work_of(command: Command, monkeypatch: pytest.MonkeyPatch) -> int:
    """Calls of functions and children of nodes that a plan takes, or a refusal."""
    counted = 0
    built = PathNode.__post_init__

    def count(node: PathNode) -> None:
        nonlocal counted
        counted += len(node.children)
        built(node)

    with monkeypatch.context() as patch:
        patch.setattr(PathNode, "__post_init__", count)
        return calls(encode({**command, "$db": "clinic"})) + counted


def within(command: Command, monkeypatch: pytest.MonkeyPatch) -> bool:
    size = len(encode(command))
    with monkeypatch.context() as patch:
        patch.setattr(trees, "MAX_VISITS", _VISITS)
        return work_of(command, patch) <= _FOR_A_BYTE * size + _FOR_A_VISIT * _VISITS


def _around(operand: Any, inner: Any) -> Any:
    """The operand with another in the place of its last argument."""
    if isinstance(operand, list):
        return [*operand[:-1], inner]
    return {**operand, max(operand): inner} if isinstance(operand, dict) and operand else inner


def _nested(name: str, signature: Signature, path: str) -> Any:
    """An operator inside itself, with many constants beside it at each level."""
    found: Any = path
    beside = ["c"] * 15 if signature.most is None else []
    for _ in range(20):
        operand = _around(next(fitting(signature, path)), found)
        found = {name: beside + operand if isinstance(operand, list) else operand}
    return found


def towers_of_operator(name: str, signature: Signature) -> Iterator[Command]:
    for path in ("nhs_number", "notes", "ward"):
        nested = _nested(name, signature, f"${path}")
        yield run({"$set": {"x": nested}})
        yield update([{"$set": {path: nested}}])
    yield run(*[{"$replaceWith": {name: [{"a": "$$ROOT", "b": "$$ROOT"}, "$$ROOT"]}}] * 8, *[UNION] * 60)
    for operand in fitting(signature, "$$ROOT"):
        doubled = {"$replaceWith": {"a": {name: operand}, "b": "$$ROOT"}}
        yield run(*[doubled] * 8, *[UNION] * 60)
        yield run(*[DOUBLED] * 8, {"$set": {"x": [{name: _around(operand, "$a")}] * 100}})
        yield run(WIDE, {"$set": {f"g{number}": {name: operand} for number in range(30)}})


def towers_of_accumulator(name: str, signature: Signature) -> Iterator[Command]:
    for operand in fitting(signature, "$$ROOT"):
        group = {"$group": {"_id": "$ward", "a": {name: operand}, "b": {name: operand}}}
        window = {"$setWindowFields": {"sortBy": {"age": 1}, "output": {"a": {name: operand}}}}
        for stage in (group, window):
            yield run(*[stage] * 9, *[UNION] * 60)
            yield run(WIDE, *[stage] * 60)
            yield run(*[DOUBLED] * 8, *[stage] * 60)


ARGUMENTS: dict[str, Any] = {
    "$match": {"$or": [{"a.nhs_number": "a"}, {"$expr": {"$eq": ["$b", "$a"]}}]},
    "$project": {"z": 0, "a.b.z": 0},
    "$addFields": {"c": "$$ROOT", "d.e": "$a"},
    "$set": {"c": "$$ROOT"},
    "$unset": ["z", "a.a.nhs_number"],
    "$group": {"_id": "$a.nhs_number", "a": {"$push": "$$ROOT"}, "b": {"$first": "$$ROOT"}},
    "$sortByCount": "$a",
    "$bucket": {"groupBy": "$z", "boundaries": [0, 1], "output": {"a": {"$push": "$$ROOT"}}},
    "$bucketAuto": {"groupBy": "$z", "buckets": 2, "output": {"a": {"$push": "$$ROOT"}}},
    "$setWindowFields": {"sortBy": {"z": 1}, "output": {"c": {"$push": "$$ROOT"}}},
    "$sort": {"z": 1},
    "$unwind": {"path": "$a", "includeArrayIndex": "z"},
    "$limit": 1,
    "$skip": 1,
    "$sample": {"size": 1},
    "$count": "z",
    "$replaceRoot": {"newRoot": {"a": "$$ROOT", "b": "$$ROOT"}},
    "$replaceWith": {"$mergeObjects": ["$$ROOT", {"a": "$$ROOT", "b": "$a"}, "$b"]},
    "$fill": {"sortBy": {"z": 1}, "output": {"a": {"method": "locf"}, "b": {"value": "$b"}}},
    "$densify": {"field": "z", "range": {"step": 1, "bounds": "full"}},
    "$geoNear": {"near": [1, 2], "distanceField": "z", "query": {"a.nhs_number": "a"}},
    "$redact": {"$cond": [{"$eq": ["$level", 1]}, "$$DESCEND", "$$PRUNE"]},
    "$facet": {"a": [{"$limit": 1}], "b": [{"$limit": 2}]},
    "$documents": [{"a": "$$v", "b": "$$v"}],
    "$lookup": {"from": "patients", "pipeline": [DOUBLED], "as": "c"},
    "$graphLookup": {
        "from": "patients",
        "startWith": "$z",
        "connectFromField": "z",
        "connectToField": "z",
        "as": "c",
    },
    "$unionWith": {"coll": "patients", "pipeline": [DOUBLED, DOUBLED]},
    "$out": "patients",
    "$merge": {"into": "patients", "whenMatched": [{"$set": {"nhs_number": "$nhs_number"}}]},
    "$changeStream": {},
    "$changeStreamSplitLargeEvent": {},
}
"""For each stage that takes documents, what lets it pass them on, copy them or look into them."""


def towers_of_stage(name: str) -> Iterator[Command]:
    stage = {name: ARGUMENTS.get(name, {})}
    for count in (8, 40):
        yield run(*[DOUBLED] * 8, *[stage] * count)
        yield run(WIDE, *[stage] * count)
        yield run(*[DOUBLED, stage] * count)
        yield run(*[stage, UNION] * count)
        yield run(*[DOUBLED] * 8, *[UNION, stage] * count)
    inner = [stage]
    for _ in range(15):
        inner = [DOUBLED, stage, {"$unionWith": {"coll": "patients", "pipeline": inner}}, stage]
    yield run(*inner)
    yield run(*[DOUBLED] * 5, {"$facet": {f"f{number}": [stage, UNION] for number in range(30)}})


TOWERS: list[tuple[Mapping[bytes, Any], Any]] = [
    (OPERATORS, towers_of_operator),
    (ACCUMULATORS, towers_of_accumulator),
]


def first_alike(name: bytes, rows: Mapping[bytes, Any]) -> bytes:
    """The first operator with an equal row: the planner looks at the row, and the name is for messages."""
    return next(each for each in rows if rows[each] == rows[name])


@pytest.mark.plain_core(reason="counts the calls of Python functions")
@pytest.mark.parametrize(
    ("name", "rows", "towers"),
    [(name, *each) for each in TOWERS for name in each[0] if name == first_alike(name, each[0])],
)
def test_no_tower_goes_beyond_the_budget(
    name: bytes, rows: Any, towers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in towers(name.decode(), rows[name].signature):
        assert within(command, monkeypatch), command


@pytest.mark.plain_core(reason="counts the calls of Python functions")
@pytest.mark.parametrize(
    ("name", "rows", "towers"),
    [(name, *each) for each in TOWERS for name in each[0] if name != first_alike(name, each[0])],
)
def test_operators_with_equal_rows_take_the_same_work(
    name: bytes, rows: Any, towers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = (name, first_alike(name, rows))
    alike = [islice(towers(each.decode(), rows[each].signature), 2) for each in pair]
    for ours, theirs in zip(*alike, strict=True):
        assert work_of(ours, monkeypatch) == work_of(theirs, monkeypatch), ours


@pytest.mark.plain_core(reason="counts the calls of Python functions")
@pytest.mark.parametrize("name", STAGES)
def test_no_tower_of_a_stage_goes_beyond_the_budget(name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name.decode() in ARGUMENTS or STAGES[name].reason is Reason.STAGE or name in SERVER_STAGES
    for command in towers_of_stage(name.decode()):
        assert within(command, monkeypatch), command


MANY_FIELDS = {f"f{number}": "$nhs_number" for number in range(19_000)}
_FROB: Any = "c"
_IF_NULL: Any = "$notes"
for _ in range(90):
    _FROB = {"$frob": [_FROB, *["c"] * 300]}
    _IF_NULL = {"$ifNull": [_IF_NULL, *["c"] * 300]}

FOUND: dict[str, Command] = {
    "eight doublings and twenty unions": run(*[DOUBLED] * 8, *[UNION] * 20),
    "nine doublings and a hundred unions": run(*[DOUBLED] * 9, *[UNION] * 100),
    "merged documents": run(
        *[{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"a": "$$ROOT", "b": "$$ROOT"}]}}] * 9, *[UNION] * 100
    ),
    "many fields": run({"$set": MANY_FIELDS}, *[{"$set": {"x": 1, "y": "$nhs_number"}}] * 300),
    "unknown operators": run({"$set": {"x": _FROB}}),
    "$ifNull at a random path": update([{"$set": {"notes": _IF_NULL}}]),
}


@pytest.mark.plain_core(reason="counts the calls of Python functions")
@pytest.mark.parametrize("name", FOUND)
def test_short_commands_that_took_seconds_are_within_the_budget(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = FOUND[name]
    limit = _FOR_A_BYTE * len(encode(command)) + _FOR_A_VISIT * trees.MAX_VISITS
    assert work_of(command, monkeypatch) <= limit
    assert within(command, monkeypatch)


def visits_of(command: Command, work: trees.Work | None = None) -> int:
    work = work or trees.Work()
    plan_command(POLICY, encode({**command, "$db": "clinic"}), 0, work=work)
    return work.visits


@rows(
    "command",
    run(*[DOUBLED] * 8, *[UNION] * 20),
    run(*[{"$set": {f"f{number}_{field}": "$nhs_number" for field in range(10)}} for number in range(50)]),
    run(WIDE, {"$match": {"f1": "a"}}, {"$group": {"_id": "$f2", "all": {"$push": "$$ROOT"}}}, UNION),
    run(*[{"$lookup": {"from": "appointments", "pipeline": [DOUBLED], "as": f"l{n}"}} for n in range(40)]),
    run({"$match": {"nhs_number": {"$in": ["a"] * 10_000}}}),
    find({"$expr": {"$in": ["$nhs_number", ["a"] * 10_000]}}),
    {"update": "patients", "updates": [{"q": {}, "u": [{"$set": {"tags": "$tags"}}]}] * 10_000},
    {"insert": "patients", "documents": [{"nhs_number": "a", "address": {"postcode": "b"}}] * 10_000},
)
def test_large_honest_commands_take_a_small_part_of_the_budget(command: Command) -> None:
    assert visits_of(command) <= trees.MAX_VISITS // 4


def test_a_tree_that_is_combined_with_another_twice_is_walked_once() -> None:
    few = visits_of(run(*[DOUBLED] * 7, {"$set": {"x": [{"$cond": [1, "$a", "$b"]}] * 2}}))
    assert visits_of(run(*[DOUBLED] * 7, {"$set": {"x": [{"$cond": [1, "$a", "$b"]}] * 2000}})) == few


def test_a_pipeline_has_as_many_stages_as_a_server_takes_at_all_levels() -> None:
    match = {"$match": {"nhs_number": "a"}}
    most = walk.MAX_STAGES
    assert len(plan_of(run(*[match] * most)).edits) == most
    assert reason(run(*[match] * (most + 1))) is Reason.WORK
    inner = {"$unionWith": {"coll": "patients", "pipeline": [match] * (most // 2)}}
    assert reason(run(inner, inner)) is Reason.WORK
    assert plan_of(update([*[{"$set": {"nhs_number": "a"}}] * most])).edits
    assert reason(update([*[{"$set": {"nhs_number": "a"}}] * (most + 1)])) is Reason.WORK


@pytest.mark.plain_core(reason="replaces a constant of the core")
def test_views_and_attempts_share_the_budget_of_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = ViewCatalog(POLICY)
    for name in "vw":
        definition = {"pipeline": [{"$set": {name: "$nhs_number"}}, *[DOUBLED] * 6, *[UNION] * 5]}
        catalog.learn(f"clinic.{name}", View("patients", encode(definition)))
    assert not tree(catalog, "v").opaque
    monkeypatch.setattr(trees, "MAX_VISITS", catalog.work.visits * 3 // 2)
    assert tree(catalog, "w").opaque  # nobody follows it any further
    with raising(Refusal, Reason.WORK):
        visits_of(run(DOUBLED), catalog.work)
    catalog.clear()
    visits_of(run(DOUBLED), catalog.work)
    catalog.clear()
    assert catalog.work.visits == 0


def tree(catalog: ViewCatalog, name: str) -> PathNode:
    found = catalog.covered(f"clinic.{name}")
    assert found is not None
    return found


def test_a_user_without_a_role_is_refused_before_a_pipeline_is_followed() -> None:
    work = trees.Work()
    command = encode({**run(*[DOUBLED] * 9, *[UNION] * 100), "$db": "clinic"})
    with raising(Refusal, Reason.ROLE):
        plan_command(POLICY, command, 0, rights=Rights(lacks="a role"), work=work)
    assert work.visits == 0


# Commands of the right shape with one value of another type: each gets a plan or a refusal.
#
# Where a string is expected, a value of fewer bytes than a string has must not be cut as one: in a compiled
# core such a slice raises SystemError.


_PATIENTS = {"aggregate": "patients", "cursor": {}}
_JOIN = {"from": "appointments", "let": {"n": "$nhs_number"}, "as": "z"}
_STAGES: list[dict[str, Any]] = [
    {"$set": {"x": {"$map": {"input": "$tags", "as": "t", "in": "$$t"}}}},
    {"$set": {"x": {"$filter": {"input": "$tags", "as": "t", "cond": {"$eq": ["$$t", "a"]}, "limit": 1}}}},
    {"$set": {"x": {"$reduce": {"input": "$tags", "initialValue": "", "in": "$$this"}}}},
    {"$set": {"x": {"$getField": {"field": {"$literal": "nhs_number"}, "input": "$$ROOT"}}}},
    {"$set": {"x": {"$setField": {"field": "a", "input": "$$ROOT", "value": "$$REMOVE"}}}},
    {"$unwind": {"path": "$tags", "includeArrayIndex": "i", "preserveNullAndEmptyArrays": True}},
    {"$unset": ["nhs_number", "a"]},
    {"$fill": {"sortBy": {"a": 1}, "partitionBy": "$nhs_number", "output": {"x": {"method": "locf"}}}},
    {"$geoNear": {"near": {"type": "Point", "coordinates": [0, 0]}, "distanceField": "d", "key": "place"}},
    {"$lookup": {**_JOIN, "localField": "nhs_number", "foreignField": "patient_nhs"}},
    {"$lookup": {**_JOIN, "pipeline": [{"$match": {"$expr": {"$eq": ["$patient_nhs", "$$n"]}}}]}},
    {"$lookup": {**_JOIN, "from": {"db": "clinic", "coll": "appointments"}, "pipeline": []}},
    {"$out": {"db": "clinic", "coll": "patients"}},
    {"$merge": {"into": "patients", "on": ["_id"], "whenMatched": "replace", "whenNotMatched": "discard"}},
    {"$merge": {"into": {"db": "d", "coll": "c"}, "let": {"n": "a"}, "whenMatched": [{"$unset": "x"}]}},
    {"$changeStream": {"fullDocument": "updateLookup", "fullDocumentBeforeChange": "off"}},
]  # fmt: skip
_COMMANDS: list[dict[str, Any]] = [
    find(
        {"$expr": {"$eq": ["$nhs_number", "$$n"]}, "$comment": "c"},
        let={"n": "a"},
        projection={"tags": {"$elemMatch": {"$eq": "a"}}},
        hint="nhs_number_1",
        min={"nhs_number": "a"},
        max={"nhs_number": "a"},
        collation={"locale": "simple"},
    ),
    {
        "findAndModify": "patients",
        "query": {},
        "update": {"$set": {"contacts.$[c].phone": "a"}},
        "arrayFilters": [{"c.phone": "b"}],
    },
    {"explain": find({"nhs_number": "a"}), "verbosity": "queryPlanner"},
    {"getMore": 5, "collection": "patients"},
    {
        "createIndexes": "patients",
        "indexes": [{"key": {"a": "hashed", "nhs_number": 1}, "name": "n", "collation": {"locale": "en"}}],
    },
]  # fmt: skip


def commands() -> Iterator[tuple[str, Command]]:
    for family in MATRIX:
        for name in family.rules:
            yield f"{family.key} {name.decode()}", PROBES[family.key](name.decode())
    for number, stage in enumerate(_STAGES):
        yield f"{number} {next(iter(stage))}", {**_PATIENTS, "pipeline": [stage, {"$match": {"x": "a"}}]}
    for command in _COMMANDS:
        yield next(iter(command)), command


@pytest.mark.parametrize("command", [pytest.param(made, id=name) for name, made in commands()])
def test_a_value_of_another_type_gives_a_plan_or_a_refusal(command: Command) -> None:
    # the command's name comes first, and so do those of an operation inside
    whole = dict(command) if "$db" in command else {**command, "$db": "clinic"}
    outcomes = Counter(outcome(other) for other in retyped_within(whole))
    assert outcomes["refused"]


def test_most_shapes_have_a_way_through() -> None:
    assert sum(outcome({**command, "$db": "clinic"}) == "planned" for _, command in commands()) > 150


def outcome(command: Command) -> str:
    try:
        plan_command(POLICY, encode(command), 0)
    except Refusal:
        return "refused"
    return "planned"
