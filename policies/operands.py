"""The arguments of an expression operator: how they are read, and what is asked of them."""

from collections.abc import Callable

from sealwire.policies.arguments import Parents
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.plan import Plan
from sealwire.policies.schema import Mode, PathNode
from sealwire.policies.trees import Scope
from sealwire.policies.variables import cover_reference, written_out
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

PlanExpression = Callable[[Plan, Element, Scope, Parents], PathNode]
"""`expressions.plan_expression`, which operators go back to for their arguments."""

Forwarding = Callable[[PlanExpression, Plan, Element, Scope, Parents], PathNode]
"""An operator's handler that takes it first."""


def arguments_of(plan: Plan, element: Element, parents: Parents) -> tuple[list[Element], Parents]:
    """The arguments of an operator, which may be one without brackets, and the lengths above them."""
    if element.kind != kinds.ARRAY:
        return [element], parents
    return list(elements(plan.buf, element.value)), (*parents, element.value)


def array_of(node: PathNode, rule: str) -> PathNode:
    """`node`, which is known to be an array where plaintext is one. Raises Refusal(COMPUTE)."""
    is_whole = node.opaque or (node.leaf is not None and node.leaf.mode is Mode.RANDOM)
    if is_whole and not node.absent:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    return node


def refuse_covered(node: PathNode, rule: str) -> None:
    """Raises Refusal(COMPUTE) for an argument whose value is needed."""
    if node.covers:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)


def match_constant(plan: Plan, constant: Element, node: PathNode, rule: str, parents: Parents) -> None:
    """Cover a constant that covered values are compared with, here or where `let` has it. Raises Refusal."""
    if not cover_reference(plan, constant, node, stores=False):
        constant, parents = written_out(plan, constant, node, rule, parents)
        plan.match(constant, node, parents)
