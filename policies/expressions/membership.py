"""Expressions that look for values in arrays, or compare arrays as sets.

A covered array is encrypted element by element, and equal elements have equal ciphertext. So these are exact
between fields of one deterministic class, and with constants, which are covered for that class.
"""

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.operands import (
    Forwarding,
    PlanExpression,
    arguments_of,
    array_of,
    check_array,
    match_constant,
    plan_number,
)
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import Parents, operator_name
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.rules import Rule, encrypted, family, passed
from sealwire.policies.planning.trees import Scope
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

_Compared = list[tuple[Element, PathNode, Parents]]
"""What takes part in a comparison: where it stands, what it yields, and the lengths above it."""


def _taking_part(
    inner: PlanExpression, plan: Plan, argument: Element, scope: Scope, parents: Parents, rule: str
) -> _Compared:
    """An array that is written out takes part with each of its items, anything else as what it yields."""
    if argument.kind != kinds.ARRAY:
        check_array(plan, argument, rule)
        return [(argument, inner(plan, argument, scope, parents), parents)]
    above = (*parents, argument.value)
    return [(item, inner(plan, item, scope, above), above) for item in elements(plan.buf, argument.value)]


def _compare(plan: Plan, compared: _Compared, rule: str) -> PathNode:
    """All are of one deterministic class, or constants, which are covered. Raises Refusal.

    Returns the covered node, NOTHING when there is none.
    """
    nodes = [node for _, node, _ in compared if node.covers]
    if not nodes:
        return NOTHING
    # one that is absent tells nothing of the others
    covered = next((node for node in nodes if not node.absent), nodes[0])
    if covered.leaf is None or covered.holds_random:
        reason = Reason.RANDOM_EQUALITY if covered.leaf else Reason.COMPUTE
        raise Refusal(reason, path=covered.path, rule=rule)
    plan.compares = True
    for argument, node, parents in compared:
        if not node.covers:
            match_constant(plan, argument, covered, rule, parents)
        elif node.leaf != covered.leaf:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    return covered


def _in(inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """`[value, array]`."""
    rule = operator_name(element)
    (sought, array), parents = arguments_of(plan, element, parents)
    compared = [(sought, inner(plan, sought, scope, parents), parents)]
    _compare(plan, compared + _taking_part(inner, plan, array, scope, parents, rule), rule)
    return NOTHING


def _index_of(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    """`[array, value, start, end]`."""
    rule = operator_name(element)
    (array, sought, *bounds), parents = arguments_of(plan, element, parents)
    compared = _taking_part(inner, plan, array, scope, parents, rule)
    compared.append((sought, inner(plan, sought, scope, parents), parents))
    _compare(plan, compared, rule)
    for bound in bounds:
        plan_number(inner, plan, bound, scope, parents, rule)
    return NOTHING


def _compared_sets(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> tuple[list[_Compared], PathNode]:
    """The arguments of a set operator, and the covered node that they share."""
    rule = operator_name(element)
    arguments, parents = arguments_of(plan, element, parents)
    sets = [_taking_part(inner, plan, argument, scope, parents, rule) for argument in arguments]
    covered = _compare(plan, [part for parts in sets for part in parts], rule)
    if covered.covers:
        array_of(covered, rule)
    return sets, covered


def _compare_sets(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    _compared_sets(inner, plan, element, scope, parents)
    return NOTHING


def _intersection(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    """What all have: so it is of the class, if one of them has nothing else."""
    sets, covered = _compared_sets(inner, plan, element, scope, parents)
    if covered.covers and not any(all(node.covers for _, node, _ in parts) for parts in sets):
        raise Refusal(Reason.COMPUTE, path=covered.path, rule=operator_name(element))
    return covered


def _difference(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    """What the first has: constants there would come out as they went in, some covered and some not."""
    sets, covered = _compared_sets(inner, plan, element, scope, parents)
    if covered.covers and not all(node.covers for _, node, _ in sets[0]):
        raise Refusal(Reason.COMPUTE, path=covered.path, rule=operator_name(element))
    return covered


def _union(inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """What any of them has: no constants among them, for the same reason."""
    sets, covered = _compared_sets(inner, plan, element, scope, parents)
    if covered.covers and not all(node.covers for parts in sets for _, node, _ in parts):
        raise Refusal(Reason.COMPUTE, path=covered.path, rule=operator_name(element))
    return covered


_NOTE = "constants and fields of one deterministic class"

MEMBERSHIP: dict[bytes, Rule[Forwarding]] = {
    b"$in": encrypted(_in, _NOTE),
    b"$indexOfArray": encrypted(_index_of, _NOTE),
    **family("$setEquals $setIsSubset", encrypted(_compare_sets, _NOTE)),
    b"$setIntersection": encrypted(_intersection, _NOTE),
    b"$setDifference": encrypted(_difference, "of a covered array"),
    b"$setUnion": passed(_union, "fields of one deterministic class"),
}
"""Each handler takes `plan_expression` first."""
