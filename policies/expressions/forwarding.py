"""Expressions that take arrays and documents apart and put them together.

A covered array is encrypted element by element, so an element, a slice or a longer array of it is of its
class. In random mode the array is one ciphertext, which these would not take for an array: refused there.
"""

from collections.abc import Mapping
from dataclasses import replace

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.operands import (
    Forwarding,
    PlanExpression,
    arguments_of,
    array_of,
    plan_number,
    refuse_covered,
)
from sealwire.policies.expressions.variables import binding, is_variable_name
from sealwire.policies.file.paths import bounded, is_transparent
from sealwire.policies.file.schema import NOTHING, PathNode, freeze
from sealwire.policies.planning.arguments import Parents, first_name, named_parts, operator_name
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.rules import Rule, family, passed, refused
from sealwire.policies.planning.trees import OPAQUE, Scope, either, merge
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes


def _part_of_array(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    """`$arrayElemAt`, `$first`, `$last`, `$slice`, `$reverseArray`: an array first, then numbers."""
    rule = operator_name(element)
    (array, *numbers), parents = arguments_of(plan, element, parents)
    node = inner(plan, array, scope, parents)
    for number in numbers:
        plan_number(inner, plan, number, scope, parents, rule)
    return array_of(node, rule)


def _first_few(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    """`{n, input}`."""
    rule = operator_name(element)
    parts = named_parts(plan, element.value)
    parents = (*parents, element.value)
    plan_number(inner, plan, parts[b"n"], scope, parents, rule)
    return array_of(inner(plan, parts[b"input"], scope, parents), rule)


def _concat(inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    rule = operator_name(element)
    arguments, parents = arguments_of(plan, element, parents)
    nodes = [array_of(inner(plan, argument, scope, parents), rule) for argument in arguments]
    return merge(
        [
            node
            for argument, node in zip(arguments, nodes, strict=True)
            # nothing comes from these, so they do not make a mixture of it
            if argument.kind != kinds.NULL and not _is_empty_array(plan, argument)
        ]
    )


def _is_empty_array(plan: Plan, argument: Element) -> bool:
    return argument.kind == kinds.ARRAY and next(elements(plan.buf, argument.value), None) is None


def _over_elements(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    """`$map` and `$filter`: the variable is an element, whose covered paths are the array's."""
    rule = operator_name(element)
    parts = named_parts(plan, element.value)
    parents = (*parents, element.value)
    name = _variable_name(plan, parts.get(b"as"), rule)
    array = array_of(inner(plan, parts[b"input"], scope, parents), rule)
    with binding(scope, {name: array}):
        result = inner(plan, parts[b"in" if element.name == b"$map" else b"cond"], scope, parents)
    if element.name == b"$map":
        return result
    refuse_covered(result, rule)
    if b"limit" in parts:
        plan_number(inner, plan, parts[b"limit"], scope, parents, rule)
    return array


def _variable_name(plan: Plan, part: Element | None, rule: str) -> bytes:
    if part is None:
        return b"this"
    name = string_bytes(plan.buf, part)
    if not is_variable_name(name):
        raise Refusal(Reason.SHAPE, rule=rule)
    return name


def _reduce(inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """`{input, initialValue, in}`: nothing covered, so its variables have names of their own and no class."""
    rule = operator_name(element)
    parts = named_parts(plan, element.value)
    parents = (*parents, element.value)
    for name in (b"input", b"initialValue"):
        refuse_covered(inner(plan, parts[name], scope, parents), rule)
    with binding(scope, {b"this": NOTHING, b"value": NOTHING}):
        refuse_covered(inner(plan, parts[b"in"], scope, parents), rule)
    return NOTHING


def _merge_objects(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    """Later documents win. Where it is not known which one has a field, it is of both kinds."""
    rule = operator_name(element)
    arguments, parents = arguments_of(plan, element, parents)
    result: dict[bytes, PathNode] = {}
    names: set[bytes] | None = set()  # those that the result can have, while they are known
    unsettled: set[bytes] = set()
    path, is_numbered = "", False
    for argument in arguments:
        node = inner(plan, argument, scope, parents)
        if node.leaf is not None or node.opaque:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
        literal = _literal_names(plan, argument)
        _put_over(result, unsettled, names, node.children, literal)
        is_numbered = is_numbered or node.behind_number is not None
        is_numbered = is_numbered or any(map(is_transparent, (*node.children, *(literal or ()))))
        if names is None or literal is None:
            names = None
        else:
            names |= literal
        path = path or node.path
    covered = {name: node for name, node in result.items() if node.covers}
    if covered and is_numbered:
        # in a path this number would be an index, and lead past the field
        return replace(OPAQUE, path=next(iter(covered.values())).path)
    return bounded(PathNode(path, freeze(covered))) if covered else NOTHING


def _put_over(
    result: dict[bytes, PathNode],
    unsettled: set[bytes],
    names: set[bytes] | None,
    right: Mapping[bytes, PathNode],
    right_names: set[bytes] | None,
) -> None:
    """Put a document's fields over those of `result`; the names are None where any field may be there.

    What a document of unknown fields may have changed, another one may change without a difference. So only
    `unsettled` fields are looked at again. Cost: O(its fields and these), over many documents linear.
    """
    for name in sorted(right.keys() | unsettled if right_names is None else right_names):
        if names is not None and name not in names:
            result[name] = right.get(name, NOTHING)
        else:
            result[name] = either(result.get(name, NOTHING), right.get(name, NOTHING))
    if right_names is None:
        unsettled.clear()
        unsettled.update(right)
    else:
        unsettled.update(right_names)


def _literal_names(plan: Plan, argument: Element) -> set[bytes] | None:
    """The fields that a document written out has, null none; None where it is not written out."""
    if argument.kind == kinds.NULL:
        return set()
    if argument.kind != kinds.OBJECT or first_name(plan, argument.value).startswith(b"$"):
        return None
    return {field.name for field in elements(plan.buf, argument.value)}


_NOTE = "deterministic classes"

FORWARDING: dict[bytes, Rule[Forwarding]] = {
    **family("$arrayElemAt $first $last $slice $reverseArray", passed(_part_of_array, _NOTE)),
    **family("$firstN $lastN", passed(_first_few, _NOTE)),
    b"$concatArrays": passed(_concat, _NOTE),
    **family("$map $filter", passed(_over_elements, f"{_NOTE}; what is inside is an expression")),
    b"$reduce": refused(_reduce, Reason.COMPUTE),
    b"$mergeObjects": passed(_merge_objects, "documents with covered fields"),
}
"""Each handler takes `plan_expression` first."""
