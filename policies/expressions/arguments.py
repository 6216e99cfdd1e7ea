"""The arguments of an expression operator: where they stand, and which are written out."""

from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import has_dot
from sealwire.policies.file.quantities import NUMERIC
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.arguments import check_nested, named_parts, operator_name
from sealwire.policies.planning.values import whole_number
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes

Place = tuple[Walk, Element]
"""An argument, and the walk at the place where it stands."""

_DOLLAR: Final = ord("$")


def arguments_of(walk: Walk, operator: Element) -> list[Place]:
    """The arguments of an operator, which may be one without brackets."""
    if operator.kind != kinds.ARRAY:
        return [(walk, operator)]
    inner = walk.inside(operator.value)
    return [(inner, item) for item in elements(walk.buf, operator.value)]


def written(walk: Walk, argument: Element) -> Place | None:
    """A constant, without `$literal` around it; None for what the server computes.

    Raises Refusal(SHAPE), BsonError. Cost: O(bytes) of a constant; else O(bytes) before the first operator,
    so that operators inside each other are not read again at each level.
    """
    if argument.kind == kinds.OBJECT:
        inside = list(elements(walk.buf, argument.value))
        if len(inside) == 1 and inside[0].name == b"$literal":
            check_nested(walk.buf, argument)
            return walk.inside(argument.value), inside[0]
    if not _is_written(walk.buf, argument, 0):
        return None
    check_nested(walk.buf, argument)
    return walk, argument


def _is_written(buf: bytes, element: Element, depth: int) -> bool:
    if depth > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    if element.kind == kinds.STRING:
        return buf[element.value + 4] != _DOLLAR
    if element.kind == kinds.ARRAY:
        return all(_is_written(buf, item, depth + 1) for item in elements(buf, element.value))
    if element.kind == kinds.OBJECT:
        return all(
            not name.startswith(b"$") and not has_dot(name) and _is_written(buf, item, depth + 1)
            for name, item in named_parts(buf, element.value).items()
        )
    return True


def known_value(walk: Walk, argument: Element) -> Element | None:
    """The value whose type is that of an argument, which `$literal` may hold; None for what is computed.

    A document or an array that is written out is known by its type alone. Cost: O(1).
    """
    if argument.kind == kinds.STRING:
        return None if walk.buf[argument.value + 4] == _DOLLAR else argument
    if argument.kind != kinds.OBJECT:
        return argument
    first = next(elements(walk.buf, argument.value), None)
    if first is None or not first.name.startswith(b"$"):
        return argument
    return first if first.name == b"$literal" else None


def converts_plainly(walk: Walk, operator: Element) -> bool:
    """Whether a `$convert` is to a type that is written out and not binary."""
    to = named_parts(walk.buf, operator.value).get(b"to") if operator.kind == kinds.OBJECT else None
    target = None if to is None else known_value(walk, to)
    if target is None:
        return False
    if target.kind == kinds.STRING:
        return string_bytes(walk.buf, target) != b"binData"
    return target.kind in NUMERIC and whole_number(walk.buf, target) != kinds.BIN_DATA


def is_null(walk: Walk, argument: Element) -> bool:
    """Whether an argument is null, as it stands or in `$literal`."""
    value = known_value(walk, argument)
    return value is not None and value.kind == kinds.NULL


def is_of_every_class(buf: bytes, element: Element) -> bool:
    """Whether an expression yields what is stored in clear whatever the class: null, no value at all, or [].

    It sees what is written out: `null`, `[]`, `"$$REMOVE"`. Cost: O(1).
    """
    if element.kind == kinds.STRING:
        return string_bytes(buf, element) == b"$$REMOVE"
    if element.kind == kinds.ARRAY:
        return next(elements(buf, element.value), None) is None
    return element.kind == kinds.NULL


def array_of(node: PathNode, operator: Element) -> PathNode:
    """`node`, which is known to be an array where plaintext is one. Raises Refusal(COMPUTE)."""
    if node.is_random and not node.absent:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=operator_name(operator))
    return node


def refuse_covered(node: PathNode, operator: Element) -> None:
    """Raises Refusal(COMPUTE) for an argument whose value is needed."""
    if node.covers:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=operator_name(operator))


def check_array(walk: Walk, argument: Element, operator: Element) -> None:
    """Refuse an argument that is written out and neither an array nor null. Raises Refusal(SHAPE)."""
    value = known_value(walk, argument)
    if value is not None and value.kind not in (kinds.ARRAY, kinds.NULL):
        raise Refusal(Reason.SHAPE, rule=f"{operator_name(operator)} with another value than an array")
