"""Expressions that take arrays apart and put them together.

A covered array is encrypted element by element, so an element, a slice or a longer array of it is of its
class. In random mode the array is one ciphertext, which these would not take for an array: refused there.
"""

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.arguments import (
    Place,
    arguments_of,
    array_of,
    is_of_every_class,
    refuse_covered,
)
from sealwire.policies.expressions.constants import is_variable_name
from sealwire.policies.expressions.interpreter import PENDING, infer, infer_number, results_of
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import array_items, operator_name
from sealwire.policies.planning.trees import merge
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, string_bytes


def part_results(walk: Walk, operator: Element) -> list[Place]:
    """`$arrayElemAt`, `$first`, `$last`, `$slice`, `$reverseArray`: an array first, then numbers."""
    array, *numbers = arguments_of(walk, operator)
    for place, number in numbers:
        infer_number(place, number, operator)
    return [array]


def few_results(walk: Walk, operator: Element) -> list[Place]:
    """`$firstN` and `$lastN`: `{n, input}`."""
    inner, parts = walk.parts(operator)
    infer_number(inner, parts[b"n"], operator)
    return [(inner, parts[b"input"])]


def infer_part(walk: Walk, operator: Element) -> PathNode:
    """Elements of the one array that is a result."""
    ((place, array),) = results_of(walk, operator)
    return array_of(infer(place, array), operator)


def infer_concatenation(walk: Walk, operator: Element) -> PathNode:
    """`$concatArrays`: the elements of all arrays. Nothing comes from those that have none."""
    nodes = [
        array_of(infer(place, array), operator)
        for place, array in arguments_of(walk, operator)
        if not _adds_nothing(place, array)
    ]
    return merge(nodes, walk.draft.work)


def _adds_nothing(walk: Walk, array: Element) -> bool:
    """Whether an argument is null or empty, or what a `$reduce` has gathered so far."""
    if is_of_every_class(walk.buf, array):
        return True
    text = string_bytes(walk.buf, array)
    return text == b"$$value" and walk.variable(b"value") is PENDING


def infer_mapped(walk: Walk, operator: Element) -> PathNode:
    """`$map`: the variable is an element, whose covered paths are the array's."""
    _, parts, inner = _over_elements(walk, operator)
    return infer(inner, parts[b"in"])


def infer_filtered(walk: Walk, operator: Element) -> PathNode:
    """`$filter`: some of the elements, by a condition on each."""
    array, parts, inner = _over_elements(walk, operator)
    refuse_covered(infer(inner, parts[b"cond"]), operator)
    if b"limit" in parts:
        infer_number(inner, parts[b"limit"], operator)
    return array


def _over_elements(walk: Walk, operator: Element) -> tuple[PathNode, dict[bytes, Element], Walk]:
    """The array, all arguments, and the walk in which the variable that `as` names is an element."""
    inner, parts = walk.parts(operator)
    array = array_of(infer(inner, parts[b"input"]), operator)
    name = string_bytes(walk.buf, parts[b"as"]) if b"as" in parts else b"this"
    if not is_variable_name(name):
        raise Refusal(Reason.SHAPE, rule=operator_name(operator))
    return array, parts, inner.binding({name: array})


def infer_reduced(walk: Walk, operator: Element) -> PathNode:
    """`$reduce`: in `in`, `$$this` is an element and `$$value` what was gathered so far.

    Over covered elements it may gather arrays of them: from nothing, by `$concatArrays` of `$$value`.
    """
    inner, parts = walk.parts(operator)
    array = array_of(infer(inner, parts[b"input"]), operator)
    if array.covers and is_of_every_class(walk.buf, parts[b"initialValue"]):
        return infer(inner.binding({b"this": array, b"value": PENDING}), parts[b"in"])
    refuse_covered(array, operator)
    refuse_covered(infer(inner, parts[b"initialValue"]), operator)
    refuse_covered(infer(inner.binding({b"this": NOTHING, b"value": NOTHING}), parts[b"in"]), operator)
    return NOTHING


def infer_zipped(walk: Walk, operator: Element) -> PathNode:
    """`$zip`: arrays of one element of each input. Beside covered ones no default fills what is too short.

    The server takes a list of inputs that is written out, and a flag that is no expression.
    """
    inner, parts = walk.parts(operator)
    if b"useLongestLength" in parts and parts[b"useLongestLength"].kind != kinds.BOOL:
        raise Refusal(Reason.SHAPE, rule="useLongestLength of $zip")
    among = inner.inside(parts[b"inputs"].value)
    inputs = array_items(walk.buf, parts[b"inputs"])
    nodes = [array_of(infer(among, array), operator) for array in inputs]
    if b"defaults" in parts:
        filling = infer(inner, parts[b"defaults"])
        for node in (filling, *nodes):
            refuse_covered(node, operator)
    return merge(nodes, walk.draft.work)


def infer_shape(walk: Walk, operator: Element) -> PathNode:
    """`$size` and `$isArray` of one field: a covered array keeps its shape in deterministic mode."""
    array_of(infer(walk, operator), operator)
    return NOTHING
