"""The arguments of an expression operator: how they are read, and what is asked of them."""

from collections.abc import Callable

from sealwire.policies.arguments import Parents
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.plan import Plan
from sealwire.policies.schema import Mode, PathNode
from sealwire.policies.trees import Scope
from sealwire.wire.raw_bson import BsonType, Element, elements

PlanExpression = Callable[[Plan, Element, Scope, Parents], PathNode]
"""`expressions.plan_expression`, which operators go back to for their arguments."""

Forwarding = Callable[[PlanExpression, Plan, Element, Scope, Parents], PathNode]
"""An operator's handler that takes it first."""


def arguments_of(plan: Plan, element: Element, parents: Parents) -> tuple[list[Element], Parents]:
    """The arguments of an operator, which may be one without brackets, and the lengths above them."""
    if element.kind != BsonType.ARRAY:
        return [element], parents
    return list(elements(plan.buf, element.value)), (*parents, element.value)


def array_of(node: PathNode, rule: str) -> PathNode:
    """`node`, which is known to be an array where plaintext is one. Raises Refusal(COMPUTE)."""
    if node.opaque or (node.leaf is not None and node.leaf.mode is Mode.RANDOM):
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    return node


def refuse_covered(node: PathNode, rule: str) -> None:
    """Raises Refusal(COMPUTE) for an argument whose value is needed."""
    if node.covers:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)


def match_constant(plan: Plan, constant: Element, node: PathNode, rule: str, parents: Parents) -> None:
    """Cover the constant that a covered field is compared with. Raises Refusal for anything computed."""
    if constant.kind == BsonType.STRING and plan.buf[constant.value + 4] == ord("$"):
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    if constant.kind == BsonType.OBJECT:
        fields = list(elements(plan.buf, constant.value))
        if len(fields) != 1 or fields[0].name != b"$literal" or fields[0].kind == BsonType.OBJECT:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
        constant, parents = fields[0], (*parents, constant.value)
    if constant.kind == BsonType.ARRAY:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    plan.match(constant, node, parents)
