"""The arguments of an expression operator: how they are read, and what is asked of them."""

from collections.abc import Callable

from sealwire.policies.arguments import Parents, array_items, first_name, named_parts
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.numbers import NUMERIC, read_number
from sealwire.policies.plan import Plan
from sealwire.policies.schema import Mode, PathNode
from sealwire.policies.signatures import check_names, signature_of
from sealwire.policies.trees import Scope
from sealwire.policies.variables import cover_reference, written_out
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

_BRANCH = signature_of("{case then}").named
_INT32 = 2**31

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
    if node.opaque or (node.leaf is not None and node.leaf.mode is Mode.RANDOM):
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


def condition_parts(plan: Plan, operator: Element) -> tuple[Element, Element, Element]:
    """Condition, value and other value of a `$cond` whose signature has been checked."""
    if operator.kind == kinds.ARRAY:
        condition, then, other = elements(plan.buf, operator.value)
        return condition, then, other
    parts = named_parts(plan, operator.value)
    return parts[b"if"], parts[b"then"], parts[b"else"]


def branches_of(
    plan: Plan, operator: Element, parents: Parents
) -> tuple[list[tuple[Element, Element, Parents]], Element | None]:
    """Case, value and the lengths above them for each branch of a `$switch`, and the default if it has one.

    The signature of `$switch` itself has been checked. Raises Refusal(SHAPE) for what is no branch.
    """
    parts = named_parts(plan, operator.value)
    listed = parts[b"branches"]
    inner = (*parents, operator.value, listed.value)
    branches: list[tuple[Element, Element, Parents]] = []
    for item in array_items(plan, listed):
        branch = check_names(plan, item, *_BRANCH)
        branches.append((branch[b"case"], branch[b"then"], (*inner, item.value)))
    return branches, parts.get(b"default")


def plan_number(
    inner: PlanExpression, plan: Plan, number: Element, scope: Scope, parents: Parents, rule: str
) -> None:
    """Cover an argument that must be a whole number. Raises Refusal(SHAPE, COMPUTE)."""
    refuse_covered(inner(plan, number, scope, parents), rule)
    if not _may_be(plan, number, _is_whole):
        raise Refusal(Reason.SHAPE, rule=f"{rule} with another value than a whole number")


def check_array(plan: Plan, argument: Element, rule: str) -> None:
    """Refuse an argument that is written out and is no array. Raises Refusal(SHAPE)."""
    if not _may_be(plan, argument, _is_array):
        raise Refusal(Reason.SHAPE, rule=f"{rule} with another value than an array")


def _may_be(plan: Plan, argument: Element, is_right: Callable[[Plan, Element], bool]) -> bool:
    """Whether an argument is right, or is null or an expression, which may turn out so."""
    if argument.kind == kinds.STRING:
        return plan.buf[argument.value + 4] == ord("$")
    if argument.kind == kinds.NULL:
        return True
    if argument.kind == kinds.OBJECT:
        name = first_name(plan, argument.value)
        if name != b"$literal":
            return name.startswith(b"$")
        literal = next(elements(plan.buf, argument.value))
        return literal.kind == kinds.NULL or is_right(plan, literal)
    return is_right(plan, argument)


def _is_whole(plan: Plan, element: Element) -> bool:
    """Whether it is a number that MongoDB takes for an int32, of whatever type."""
    if element.kind not in NUMERIC:
        return False
    number = read_number(element.kind, plan.buf[element.value : element.end])
    # the bounds first: a decimal may have thousands of digits
    return -_INT32 <= number < _INT32 and number == int(number)


def _is_array(plan: Plan, element: Element) -> bool:
    del plan
    return element.kind == kinds.ARRAY
