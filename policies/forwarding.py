"""Expressions that take arrays and documents apart and put them together, and look for a value in an array.

A covered array is encrypted element by element, so an element, a slice or a longer array of it is of its
class. In random mode the array is one ciphertext, which these would not take for an array: refused there.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from sealwire.policies.arguments import Parents, first_name, named_parts, operator_name
from sealwire.policies.constants import match_constant
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.paths import bounded, is_transparent
from sealwire.policies.plan import Plan
from sealwire.policies.schema import NOTHING, Mode, PathNode, freeze
from sealwire.policies.trees import OPAQUE, Scope, either, merge
from sealwire.wire.raw_bson import BsonType, Element, elements

PlanExpression = Callable[[Plan, Element, Scope, Parents], PathNode]
"""`expressions.plan_expression`, which these go back to for their arguments."""

Forwarding = Callable[[PlanExpression, Plan, Element, Scope, Parents], PathNode]


def _array(node: PathNode, rule: str) -> PathNode:
    """`node`, which is known to be an array where plaintext is one. Raises Refusal(COMPUTE)."""
    if node.opaque or (node.leaf is not None and node.leaf.mode is Mode.RANDOM):
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    return node


def _plain(node: PathNode, rule: str) -> None:
    if node.covers:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)


def _arguments(plan: Plan, element: Element, parents: Parents) -> tuple[list[Element], Parents]:
    """The arguments of an operator, which may be one without brackets, and the lengths above them."""
    if element.kind != BsonType.ARRAY:
        return [element], parents
    return list(elements(plan.buf, element.value)), (*parents, element.value)


def _part_of_array(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    """`$arrayElemAt`, `$first`, `$last`, `$slice`, `$reverseArray`: an array first, then numbers."""
    rule = operator_name(element)
    arguments, parents = _arguments(plan, element, parents)
    nodes = [inner(plan, argument, scope, parents) for argument in arguments]
    if not nodes:
        raise Refusal(Reason.SHAPE, rule=rule)
    for number in nodes[1:]:
        _plain(number, rule)
    return _array(nodes[0], rule)


def _concat(inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    rule = operator_name(element)
    arguments, parents = _arguments(plan, element, parents)
    nodes = [_array(inner(plan, argument, scope, parents), rule) for argument in arguments]
    return merge(
        [
            node
            for argument, node in zip(arguments, nodes, strict=True)
            # nothing comes from these, so they do not make a mixture of it
            if argument.kind != BsonType.NULL and not _is_empty_array(plan, argument)
        ]
    )


def _is_empty_array(plan: Plan, argument: Element) -> bool:
    return argument.kind == BsonType.ARRAY and next(elements(plan.buf, argument.value), None) is None


def _over_elements(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    """`$map` and `$filter`: the variable is an element, whose covered paths are the array's."""
    rule = operator_name(element)
    body, known = (b"in", {b"input", b"as"}) if element.name == b"$map" else (b"cond", _FILTER)
    if element.kind != BsonType.OBJECT:
        raise Refusal(Reason.SHAPE, rule=rule)
    parts = named_parts(plan, element.value)
    parents = (*parents, element.value)
    if not {b"input", body} <= parts.keys() <= known | {body}:
        raise Refusal(Reason.SHAPE, rule=rule)
    name = _variable_name(plan, parts.get(b"as"), rule)
    array = _array(inner(plan, parts[b"input"], scope, parents), rule)
    bound = replace(scope, variables={**scope.variables, name: array})
    result = inner(plan, parts[body], bound, parents)
    if body == b"in":
        return result
    _plain(result, rule)
    if b"limit" in parts:
        _plain(inner(plan, parts[b"limit"], scope, parents), rule)
    return array


_FILTER = {b"input", b"as", b"limit"}


def _variable_name(plan: Plan, part: Element | None, rule: str) -> bytes:
    if part is None:
        return b"this"
    name = plan.buf[part.value + 4 : part.end - 1]
    if part.kind != BsonType.STRING or not (name[:1].islower() or name[:1] >= b"\x80"):
        raise Refusal(Reason.SHAPE, rule=rule)
    return name


def _in(inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """A covered field in a list of constants and fields, or a constant or a field in a covered array."""
    rule = operator_name(element)
    arguments, parents = _arguments(plan, element, parents)
    if len(arguments) != 2:
        raise Refusal(Reason.SHAPE, rule=rule)
    needle, array = arguments
    sought = inner(plan, needle, scope, parents)
    if array.kind != BsonType.ARRAY:
        _equal(plan, [(needle, sought), (array, inner(plan, array, scope, parents))], rule, parents)
        return NOTHING
    items = (*parents, array.value)
    found = [(item, inner(plan, item, scope, items)) for item in elements(plan.buf, array.value)]
    covered = next((node for _, node in [(needle, sought), *found] if node.covers), None)
    if covered is not None:
        _equal(plan, [(needle, sought)], rule, parents, covered)
        _equal(plan, found, rule, items, covered)
    return NOTHING


def _equal(
    plan: Plan,
    compared: list[tuple[Element, PathNode]],
    rule: str,
    parents: Parents,
    covered: PathNode | None = None,
) -> None:
    """All of them are of one deterministic class, or constants, which are covered. Raises Refusal."""
    if covered is None:
        covered = next((node for _, node in compared if node.covers), None)
    if covered is None:
        return
    if covered.leaf is None or covered.holds_random:
        reason = Reason.RANDOM_EQUALITY if covered.leaf else Reason.COMPUTE
        raise Refusal(reason, path=covered.path, rule=rule)
    plan.compares = True
    for argument, node in compared:
        if not node.covers:
            match_constant(plan, argument, covered, rule, parents)
        elif node.leaf != covered.leaf:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)


def _merge_objects(
    inner: PlanExpression, plan: Plan, element: Element, scope: Scope, parents: Parents
) -> PathNode:
    """Later documents win. Where it is not known which one has a field, it is of both kinds."""
    rule = operator_name(element)
    arguments, parents = _arguments(plan, element, parents)
    result: Mapping[bytes, PathNode] = {}
    names: set[bytes] | None = set()  # those that the result can have, while they are known
    path, is_numbered = "", False
    for argument in arguments:
        node = inner(plan, argument, scope, parents)
        if node.leaf is not None or node.opaque:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
        literal = _literal_names(plan, argument)
        result = _merged(result, names, node.children, literal)
        is_numbered = is_numbered or node.behind_number is not None
        is_numbered = is_numbered or any(map(is_transparent, (*node.children, *(literal or ()))))
        names = names | literal if names is not None and literal is not None else None
        path = path or node.path
    covered = {name: node for name, node in result.items() if node.covers}
    if covered and is_numbered:
        # in a path this number would be an index, and lead past the field
        return replace(OPAQUE, path=next(iter(covered.values())).path)
    return bounded(PathNode(path, freeze(covered))) if covered else NOTHING


def _merged(
    left: Mapping[bytes, PathNode],
    left_names: set[bytes] | None,
    right: Mapping[bytes, PathNode],
    right_names: set[bytes] | None,
) -> dict[bytes, PathNode]:
    """The fields of one document over those of another; names are None where any field may be there."""
    result: dict[bytes, PathNode] = {}
    for name in sorted(left.keys() | right.keys()):
        if left_names is not None and name not in left_names:
            result[name] = right.get(name, NOTHING)
        elif right_names is not None and name not in right_names:
            result[name] = left.get(name, NOTHING)
        else:
            result[name] = either(left.get(name, NOTHING), right.get(name, NOTHING))
    return result


def _literal_names(plan: Plan, argument: Element) -> set[bytes] | None:
    """The fields that a document written out has, null none; None where it is not written out."""
    if argument.kind == BsonType.NULL:
        return set()
    if argument.kind != BsonType.OBJECT or first_name(plan, argument.value).startswith(b"$"):
        return None
    return {field.name for field in elements(plan.buf, argument.value)}


FORWARDING: dict[bytes, Forwarding] = {
    b"$arrayElemAt": _part_of_array,
    b"$first": _part_of_array,
    b"$last": _part_of_array,
    b"$slice": _part_of_array,
    b"$reverseArray": _part_of_array,
    b"$concatArrays": _concat,
    b"$map": _over_elements,
    b"$filter": _over_elements,
    b"$in": _in,
    b"$mergeObjects": _merge_objects,
}
"""Operator to handler; each takes `plan_expression` first."""
