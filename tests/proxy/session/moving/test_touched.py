"""What counts as naming one's values. The table of commands is in `test_lasting`; here, that it is closed."""

import pytest
from bson import encode

from sealwire.policies.file.loader import load_policy
from sealwire.policies.planning.plan import Plan
from sealwire.proxy.session.moving.touched import touched

POLICY = load_policy(
    b"""
version: 1
classes:
  a: {mode: deterministic, type: string}
  b: {mode: deterministic, type: string}
  c: {mode: deterministic, type: string}
collections:
  d.one: {x: a, y: b}
  d.two: {x: c}
""",
    "policy.yaml",
)
NAMED = {"a": frozenset({b"p"})}
MOVING = ("a", "b", "c")


def plan(command: str, body: dict[str, object], namespace: str = "d.one", *, protected: bool = True) -> Plan:
    return Plan(encode(body), {}, command, namespace, protected, protected, [], [], 0)


def test_what_is_not_protected_touches_nothing() -> None:
    assert touched(plan("aggregate", {}, protected=False), POLICY, MOVING, NAMED) == {}


@pytest.mark.parametrize("command", ["insert", "find", "count", "delete", "update", "findAndModify"])
def test_a_command_that_names_its_values_uses_these(command: str) -> None:
    assert touched(plan(command, {"filter": {"x": "?"}}), POLICY, MOVING, NAMED) == NAMED


@pytest.mark.parametrize("command", ["aggregate", "distinct", "bulkWrite", "explain", "mapReduce", "other"])
def test_any_other_command_uses_any_value_of_every_class(command: str) -> None:
    assert touched(plan(command, {}), POLICY, MOVING, NAMED) == dict.fromkeys(MOVING)


@pytest.mark.parametrize("name", ["$ne", "$somethingNew", "hint", "let"])
def test_an_operator_that_is_not_known_to_name_values_uses_any_of_its_collection(name: str) -> None:
    body: dict[str, object] = {"filter": {"x": {name: "?"}}}
    assert touched(plan("find", body), POLICY, MOVING, NAMED) == {"a": None, "b": None}


def test_what_is_stored_is_not_read_for_operators() -> None:
    assert touched(plan("insert", {"documents": [{"$ne": 1}]}), POLICY, MOVING, NAMED) == NAMED


def test_a_name_that_is_no_collection_of_the_policy_may_be_a_view_of_any() -> None:
    assert touched(plan("find", {}, "d.view"), POLICY, MOVING, NAMED) == dict.fromkeys(MOVING)
