"""Commands of the right shape with one value of another type: each gets a plan or a refusal.

Where a string is expected, a value of fewer bytes than a string has must not be cut as one: in a compiled
core such a slice raises SystemError.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from bson import encode

from sealwire.policies.commands.planner import MATRIX, plan_command
from sealwire.policies.errors import Refusal
from tests.policies.commands.test_matrix import PROBES
from tests.policies.support import POLICY, Command
from tests.retyped import retyped_within

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
    {
        "find": "patients",
        "filter": {"$expr": {"$eq": ["$nhs_number", "$$n"]}, "$comment": "c"},
        "let": {"n": "a"},
        "projection": {"tags": {"$elemMatch": {"$eq": "a"}}},
        "hint": "nhs_number_1",
        "min": {"nhs_number": "a"},
        "max": {"nhs_number": "a"},
        "collation": {"locale": "simple"},
    },
    {
        "findAndModify": "patients",
        "query": {},
        "update": {"$set": {"contacts.$[c].phone": "a"}},
        "arrayFilters": [{"c.phone": "b"}],
    },
    {"explain": {"find": "patients", "filter": {"nhs_number": "a"}}, "verbosity": "queryPlanner"},
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
