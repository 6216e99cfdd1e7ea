"""Numbers that decide what a command does: flags, counts, places, directions.

They mean what the server takes them for, or are refused.
"""

from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import NUMERIC, is_canonical, read_number, whole
from sealwire.policies.planning.arguments import operator_name
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element

FLAGS: Final = NUMERIC | {kinds.BOOL}
"""Types of which a projection takes any value for a flag."""

_FALSE: Final = frozenset({kinds.NULL, kinds.UNDEFINED})
_INTEGERS: Final = frozenset({kinds.INT, kinds.LONG})


def is_true(kind: int, value: bytes) -> bool:
    """Whether the server takes a value for true, where it takes any type for a truth value.

    A number is false when it is zero: -0.0 and a decimal zero of any exponent are, and NaN is not. null and
    undefined are false; a value of any other type is true. Raises Refusal(SHAPE) for a decimal that is not
    canonical. Cost: O(1). Source: `BSONElement::trueValue`.
    """
    if kind == kinds.BOOL or kind in _INTEGERS:
        return any(value)
    if kind not in NUMERIC:
        return kind not in _FALSE
    if kind == kinds.DECIMAL and not is_canonical(value):
        raise Refusal(Reason.SHAPE, rule="a decimal that is not canonical")
    return bool(read_number(kind, value))


def is_given(buf: bytes, argument: Element | None) -> bool:
    """Whether an argument is there and says something: not null, zero or false. Raises Refusal(SHAPE)."""
    return argument is not None and is_true(argument.kind, buf[argument.value : argument.end])


def whole_number(buf: bytes, element: Element) -> int:
    """The whole number that `element` is, in whatever type it comes. Cost: O(1).

    Raises Refusal(SHAPE) for every other value: a fraction, an infinity, NaN, what exceeds 64 bits (the
    server would cut some of these to size), a decimal that is not canonical, a value that is no number.
    """
    kind, value = element.kind, buf[element.value : element.end]
    if kind in NUMERIC and (kind != kinds.DECIMAL or is_canonical(value)):
        number = whole(read_number(kind, value), -(2**63), 2**63 - 1)
        if number is not None:
            return number
    raise Refusal(Reason.SHAPE, rule=f"{operator_name(element)} that is not a whole number")
