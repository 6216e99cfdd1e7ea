"""The arguments of an expression operator: how they are read, and what is asked of them."""

from collections.abc import Callable

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.variables import cover_reference, written_out
from sealwire.policies.file.schema import Mode, PathNode
from sealwire.policies.planning.arguments import Parents, array_items, named_parts
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.signatures import check_names, signature_of
from sealwire.policies.planning.trees import Scope
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
    """Cover an argument that must be a whole number of 32 bits, or null. Raises Refusal(SHAPE, COMPUTE)."""
    refuse_covered(inner(plan, number, scope, parents), rule)
    written = _as_written(plan, number)
    if written is None or written.kind == kinds.NULL:
        return
    if not -_INT32 <= whole_number(plan, written) < _INT32:
        raise Refusal(Reason.SHAPE, rule=f"{rule} with a number out of range")


def check_array(plan: Plan, argument: Element, rule: str) -> None:
    """Refuse an argument that is written out and neither an array nor null. Raises Refusal(SHAPE)."""
    written = _as_written(plan, argument)
    if written is not None and written.kind not in (kinds.ARRAY, kinds.NULL):
        raise Refusal(Reason.SHAPE, rule=f"{rule} with another value than an array")


def _as_written(plan: Plan, argument: Element) -> Element | None:
    """A constant, without `$literal` around it; None for an expression, which may yield anything."""
    if argument.kind == kinds.STRING:
        return None if plan.buf[argument.value + 4] == ord("$") else argument
    if argument.kind != kinds.OBJECT:
        return argument
    first = next(elements(plan.buf, argument.value), argument)
    if first is argument or not first.name.startswith(b"$"):
        return argument
    return first if first.name == b"$literal" else None
