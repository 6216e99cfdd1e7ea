"""What commands demand of rights: for the nodes that planning meets."""

from typing import Any

import pytest

from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, ValueType
from sealwire.policies.planning.trees import OPAQUE
from sealwire.policies.planning.values import (
    demand_definition,
    demand_delete,
    demand_filter,
    demand_result,
    demand_role,
    demand_write,
)
from sealwire.policies.planning.walk import Draft
from sealwire.policies.roles.role import CLEAR, DENIED, ClassAccess, Rights

A, B = (FieldClass(name, Mode.DETERMINISTIC, ValueType.STRING) for name in "ab")
LEAF_A, LEAF_B = PathNode("x", leaf=A), PathNode("y", leaf=B)
BOTH = PathNode("", {b"x": LEAF_A, b"y": LEAF_B})
BEHIND = PathNode("z", behind_number=PathNode("z", {b"x": LEAF_A}))
ALL_OF_B = ClassAccess(DENIED, filters=True, writes=True)


def draft(rights: Rights | None) -> Draft:
    found = Draft(b"", TABLES)
    found.rights = rights
    return found


@pytest.mark.parametrize(
    "demand", [demand_filter, demand_result, demand_write, demand_delete, demand_definition]
)
def test_without_roles_nothing_is_demanded(demand: Any) -> None:
    demand(draft(None), OPAQUE)


@pytest.mark.parametrize("demand", [demand_filter, demand_write, demand_delete, demand_definition])
@pytest.mark.parametrize("node", [LEAF_A, BOTH, BEHIND, OPAQUE])
def test_every_class_at_and_below_a_node_counts(demand: Any, node: PathNode) -> None:
    with pytest.raises(Refusal) as caught:
        demand(draft(Rights(("r",), {"b": ALL_OF_B})), node)
    assert caught.value.reason is Reason.ROLE
    demand(draft(Rights(("r",), {"b": ALL_OF_B})), LEAF_B)


@pytest.mark.parametrize("demand", [demand_filter, demand_write, demand_delete, demand_definition])
def test_what_is_not_covered_needs_nothing(demand: Any) -> None:
    demand(draft(Rights(("r",))), PathNode("free"))


def test_the_result_of_a_comparison_needs_the_right_to_read_outside_of_filters() -> None:
    found = draft(Rights(("r",), {"a": ClassAccess(CLEAR), "b": ALL_OF_B}))
    demand_result(found, LEAF_A)
    with pytest.raises(Refusal) as caught:
        demand_result(found, BOTH)
    assert caught.value.reason is Reason.ROLE
    found.filters = 1
    demand_result(found, BOTH)


def test_who_may_delete_needs_no_right_to_write() -> None:
    demand_delete(draft(Rights(("r",), deletes=True)), BOTH)
    demand_definition(draft(Rights(("r",), deletes=True)), BOTH)
    with pytest.raises(Refusal):
        demand_write(draft(Rights(("r",), deletes=True)), BOTH)


def test_a_role_is_demanded_by_what_is_missing() -> None:
    demand_role(draft(None))
    demand_role(draft(Rights(("r",))))
    with pytest.raises(Refusal) as caught:
        demand_role(draft(Rights(lacks="a purpose")))
    assert caught.value.rule.endswith("without a purpose")


def test_a_node_that_stands_many_times_in_a_tree_is_looked_at_once() -> None:
    node = PathNode("", {b"x": LEAF_B})
    for _ in range(40):
        node = PathNode("", {b"l": node, b"r": node})
    demand_filter(draft(Rights(("r",), {"b": ALL_OF_B})), node)
