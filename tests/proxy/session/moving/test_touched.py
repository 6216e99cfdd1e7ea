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


def used(plan: Plan, walked: frozenset[str] = frozenset()) -> dict[str, frozenset[bytes] | None]:
    """What a command touches; along an index of the classes in `walked` it may lead."""
    return touched(plan, POLICY, MOVING, NAMED, lambda name, _: name in walked)


@pytest.mark.parametrize("command", ["find", "count", "delete", "update", "findAndModify"])
def test_a_command_that_walks_an_index_uses_any_value_of_a_class_that_moves_in_it(command: str) -> None:
    asked = plan(command, {"filter": {"x": "?"}})
    assert used(asked, frozenset({"b", "c"})) == {**NAMED, "b": None}  # `c` is elsewhere
    assert used(asked, frozenset({"a"})) == {"a": None}


def test_what_stores_only_walks_nothing() -> None:
    assert used(plan("insert", {"documents": []}), frozenset(MOVING)) == NAMED


def test_what_is_not_protected_touches_nothing() -> None:
    assert used(plan("aggregate", {}, protected=False)) == {}


@pytest.mark.parametrize("command", ["insert", "find", "count", "delete", "update", "findAndModify"])
def test_a_command_that_names_its_values_uses_these(command: str) -> None:
    assert used(plan(command, {"filter": {"x": "?"}})) == NAMED


@pytest.mark.parametrize("command", ["aggregate", "distinct", "bulkWrite", "explain", "mapReduce", "other"])
def test_any_other_command_uses_any_value_of_every_class(command: str) -> None:
    assert used(plan(command, {})) == dict.fromkeys(MOVING)


@pytest.mark.parametrize("name", ["$ne", "$somethingNew", "hint", "let"])
def test_an_operator_that_is_not_known_to_name_values_uses_any_of_its_collection(name: str) -> None:
    body: dict[str, object] = {"filter": {"x": {name: "?"}}}
    assert used(plan("find", body)) == {"a": None, "b": None}


def test_what_is_stored_is_not_read_for_operators() -> None:
    assert used(plan("insert", {"documents": [{"$ne": 1}]})) == NAMED


def test_a_name_that_is_no_collection_of_the_policy_may_be_a_view_of_any() -> None:
    assert used(plan("find", {}, "d.view")) == dict.fromkeys(MOVING)
