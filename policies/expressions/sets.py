"""Expressions that look for values in arrays, or compare arrays as sets.

A covered array is encrypted element by element, and equal elements have equal ciphertext. So these are exact
between fields of one deterministic class, and with constants, which are covered for that class.
"""

from collections.abc import Callable
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.arguments import Place, arguments_of, array_of, check_array
from sealwire.policies.expressions.constants import match_constant
from sealwire.policies.expressions.interpreter import infer, infer_number
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import operator_name
from sealwire.policies.planning.demands import demand_result
from sealwire.policies.planning.rules import Infer
from sealwire.policies.planning.values import note_equality
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

_Compared = list[tuple[Place, PathNode]]
"""What takes part in a comparison: where it stands, and what it yields."""


def _taking_part(walk: Walk, argument: Element, operator: Element) -> _Compared:
    """An array that is written out takes part with each of its items, anything else as what it yields."""
    if argument.kind != kinds.ARRAY:
        check_array(walk, argument, operator)
        return [((walk, argument), infer(walk, argument))]
    inner = walk.inside(argument.value)
    return [((inner, item), infer(inner, item)) for item in elements(walk.buf, argument.value)]


def _compare(compared: _Compared, operator: Element) -> PathNode:
    """All are of one deterministic class, or constants, which are covered. Raises Refusal.

    Returns the covered node, NOTHING when there is none.
    """
    nodes = [node for _, node in compared if node.covers]
    if not nodes:
        return NOTHING
    rule = operator_name(operator)
    # one that is absent tells nothing of the others
    covered = next((node for node in nodes if not node.absent), nodes[0])
    if covered.leaf is None or covered.holds_random:
        reason = Reason.RANDOM_EQUALITY if covered.leaf else Reason.COMPUTE
        raise Refusal(reason, path=covered.path, rule=rule)
    for (walk, argument), node in compared:
        note_equality(walk.draft, covered, rule)
        demand_result(walk.draft, covered)
        if not node.covers:
            match_constant(walk, argument, covered, rule)
        elif node.leaf != covered.leaf:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    return covered


def infer_membership(walk: Walk, operator: Element) -> PathNode:
    """`$in`: `[value, array]`."""
    sought, (place, array) = arguments_of(walk, operator)
    _compare([(sought, infer(*sought)), *_taking_part(place, array, operator)], operator)
    return NOTHING


def infer_index(walk: Walk, operator: Element) -> PathNode:
    """`$indexOfArray`: `[array, value, start, end]`."""
    (place, array), sought, *bounds = arguments_of(walk, operator)
    _compare([*_taking_part(place, array, operator), (sought, infer(*sought))], operator)
    for inner, bound in bounds:
        infer_number(inner, bound, operator)
    return NOTHING


def _compared_sets(walk: Walk, operator: Element) -> tuple[list[_Compared], PathNode]:
    """The arguments of a set operator, and the covered node that they share."""
    sets = [_taking_part(place, argument, operator) for place, argument in arguments_of(walk, operator)]
    covered = _compare([part for parts in sets for part in parts], operator)
    return sets, array_of(covered, operator)


def infer_comparison(walk: Walk, operator: Element) -> PathNode:
    """`$setEquals` and `$setIsSubset`."""
    _compared_sets(walk, operator)
    return NOTHING


def _of_class(is_known: Callable[[list[bool]], bool]) -> Infer:
    """What a set operator yields: of the class, if that follows from which sets hold nothing else."""

    def infer_set(walk: Walk, operator: Element) -> PathNode:
        sets, covered = _compared_sets(walk, operator)
        if covered.covers and not is_known([all(node.covers for _, node in parts) for parts in sets]):
            raise Refusal(Reason.COMPUTE, path=covered.path, rule=operator_name(operator))
        return covered

    return infer_set


infer_intersection: Final[Infer] = _of_class(any)
"""What all have."""
infer_difference: Final[Infer] = _of_class(lambda sets: sets[0])
"""What the first has: constants there would come out as they went in, some covered and some not."""
infer_union: Final[Infer] = _of_class(all)
"""What any of them has: no constants among them, for the same reason."""
