"""Whether a plain value satisfies a condition, exactly as MongoDB would say.

A condition is one operator of a filter with its operand. It is judged on one value: a value of an array is a
value of its own, as the server has it. Comparisons are within types ("type bracketing"): a string is never
less than a number.

Source: MongoDB's manual on comparison order, `$mod` and the bitwise operators.
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import Enum
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import INT, LONG, NUMERIC, Number, is_canonical, read_number, whole
from sealwire.policies.questions.collation import SIMPLE, collated
from sealwire.policies.questions.patterns import Pattern, Undecided
from sealwire.wire import kinds
from sealwire.wire.raw_bson import elements

Value = tuple[int, bytes]
"""BSON type, and the bytes of the value."""
Condition = Callable[[int, bytes], bool]
"""A test of a value, by its BSON type and bytes. Raises Undecided."""


class Asks(Enum):
    """What an operator of a filter asks of one value, if that can be judged here."""

    ORDER = "order"
    PATTERN = "pattern"
    REMAINDER = "remainder"
    BITS = "bits"
    EQUAL = "equal"
    """Asked for random classes, and under a collation: else ciphertext answers it."""
    ACROSS = "across"
    """An expression asks for the order, in which types come one after the other."""
    TYPE = "type"
    """Asked for random classes, as `SIZE`: other ciphertext has one type, and keeps arrays."""
    SIZE = "size"


MOST_EXACT: Final = 1 << 53
"""Whole numbers up to here are the same as doubles and as decimals."""
MAX_BITS: Final = 1024
_LEAST_LONG, _MOST_LONG = -(1 << 63), (1 << 63) - 1
_INTEGERS: Final = frozenset({kinds.INT, kinds.LONG})


def compared(operator: bytes, kind: int, operand: bytes, strength: int = SIMPLE) -> Condition:
    """`$gt`, `$gte`, `$lt` or `$lte`; strings with the strength of a collation.

    Raises Refusal(RANGE) for operands that are not ordered within a type; Refusal(COLLATION).
    Cost of the condition: O(bytes).
    """
    test = _TESTS[operator]
    if kind in NUMERIC:
        return _numbers(test, _finite(kind, operand))
    if strength and kind in TEXTS:
        limit = _collated_operand(operand, strength)
        return lambda other, value: other in TEXTS and test(_sign(collated_text(value, strength), limit))
    key = KEYS.get(kind)
    if key is None:
        raise Refusal(Reason.RANGE, rule="a range that ends at a value of this type")
    bracket = _brackets(kind)
    bound = key(operand)

    def holds(other: int, value: bytes) -> bool:
        return other in bracket and test(_sign(key(value), bound))

    return holds


def compared_across(operator: bytes, kind: int, operand: bytes, strength: int = SIMPLE) -> Condition:
    """The same in an expression: a value of another type comes before the operand, or after it.

    Raises Refusal(RANGE, COLLATION). The condition does so of null and of arrays as well.
    """
    within, test, bracket = compared(operator, kind, operand, strength), _TESTS[operator], BRACKETS[kind]

    def holds(other: int, value: bytes) -> bool:
        found = BRACKETS.get(other)
        if found is None:
            raise Undecided
        return within(other, value) if found == bracket else test(found - bracket)

    return holds


def matched(pattern: bytes, options: bytes) -> Condition:
    """`$regex`, or a pattern in the place of a value. Raises Refusal(PATTERN)."""
    found = Pattern(pattern, options)

    def holds(kind: int, value: bytes) -> bool:
        if kind == kinds.REGEX:
            raise Undecided  # the server compares patterns for equality
        return kind in TEXTS and found.matches(value[4:-1])

    return holds


def among(operands: Sequence[Value], strength: int = SIMPLE) -> Condition:
    """Equality with one of some values, or a match with a pattern among them.

    Raises Refusal(QUESTION) for null, for a document or an array, and for NaN; Refusal(PATTERN, COLLATION).
    """
    tests = [_equal(kind, operand, strength) for kind, operand in operands]
    return lambda kind, value: any(test(kind, value) for test in tests)


def _equal(kind: int, operand: bytes, strength: int) -> Condition:
    if kind == kinds.REGEX:
        pattern, options, _ = operand.split(b"\0")
        return matched(pattern, options)
    if kind in NUMERIC and not math.isnan(read_number(kind, operand)):
        return _numbers(lambda sign: sign == 0, _finite(kind, operand), skips=True)
    if kind not in KEYS:
        raise Refusal(Reason.QUESTION, rule="equality with null, NaN, an array, or a document")
    if strength and kind in TEXTS:
        wanted = _collated_operand(operand, strength)
        return lambda other, value: other in TEXTS and collated_text(value, strength) == wanted
    bracket = _brackets(kind)
    return lambda other, value: other in bracket and value == operand


def in_arrays(condition: Condition) -> Condition:
    """The same of values that may be arrays: some item satisfies it, as in MongoDB.

    Not for `typed` and `sized`, which are about an array too.
    """

    def holds(kind: int, value: bytes) -> bool:
        if kind != kinds.ARRAY:
            return condition(kind, value)
        return any(condition(*item) for item in items_of(value))

    return holds


def items_of(array: bytes) -> list[Value]:
    """The values in an array. Raises BsonError."""
    return [(item.kind, array[item.value : item.end]) for item in elements(array, 0)]


def modulo(divisor: Value, remainder: Value) -> Condition:
    """`$mod` with two numbers, which lose their fractions. Raises Refusal(SHAPE)."""
    by, rest = _long(*divisor), _long(*remainder)
    if not by:
        raise Refusal(Reason.SHAPE, rule="$mod by zero")

    def holds(kind: int, value: bytes) -> bool:
        if kind not in NUMERIC:
            return False
        number = read_number(kind, value)
        if not math.isfinite(number) or not _LEAST_LONG <= number <= _MOST_LONG:
            return False
        # C's remainder: it has the sign of what is divided
        left = abs(int(number)) % abs(by)
        return (left if number > 0 else -left) == rest

    return holds


def typed(types: frozenset[int]) -> Condition:
    """`$type`: the value is of one of these types, or some item of an array is."""

    def holds(kind: int, value: bytes) -> bool:
        return kind in types or (kind == kinds.ARRAY and any(item in types for item, _ in items_of(value)))

    return holds


def sized(length: int) -> Condition:
    """`$size`: the value is an array of so many items."""
    return lambda kind, value: kind == kinds.ARRAY and len(items_of(value)) == length


def bits(operator: bytes, positions: Sequence[int]) -> Condition:
    """`$bitsAllSet` and its kin, at these positions. Raises Refusal(SHAPE) for too many."""
    if len(positions) > MAX_BITS:
        raise Refusal(Reason.SHAPE, rule=f"more than {MAX_BITS} bits")
    wanted_all, wanted_set = _BITS[operator]

    def holds(kind: int, value: bytes) -> bool:
        if kind == kinds.BIN_DATA:
            found = (_is_set(value, position) is wanted_set for position in positions)
        else:
            number = _bits_of(kind, value)
            if number is None:
                return False
            found = (bool(number >> position & 1) is wanted_set for position in positions)
        return all(found) if wanted_all else any(found)

    return holds


# ------------------------------------------------------------------------------------------------ values


_TESTS: Final[dict[bytes, Callable[[int], bool]]] = {
    b"$gt": lambda sign: sign > 0,
    b"$gte": lambda sign: sign >= 0,
    b"$lt": lambda sign: sign < 0,
    b"$lte": lambda sign: sign <= 0,
}
_BITS: Final = {
    b"$bitsAllSet": (True, True),
    b"$bitsAllClear": (True, False),
    b"$bitsAnySet": (False, True),
    b"$bitsAnyClear": (False, False),
}
TEXTS: Final = frozenset({kinds.STRING, kinds.SYMBOL})


def _text(value: bytes) -> bytes:
    return value[4:-1]


def collated_text(value: bytes, strength: int) -> str:
    """The key by which a collation compares a string. Raises Undecided."""
    found = collated(_text(value), strength)
    if found is None:
        raise Undecided
    return found


def _collated_operand(operand: bytes, strength: int) -> str:
    found = collated(_text(operand), strength)
    if found is None:
        raise Refusal(Reason.COLLATION, rule="text that is not plain Latin")
    return found


def _signed(value: bytes) -> int:
    return int(LONG.unpack(value)[0])


def _unsigned(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _binary(value: bytes) -> tuple[int, int, bytes]:
    """The server orders binary data by length, then subtype, then bytes."""
    return len(value), value[4], value[5:]


KEYS: Final[dict[int, Callable[[bytes], bytes | int | tuple[int, int, bytes]]]] = {
    kinds.STRING: _text,
    kinds.SYMBOL: _text,
    kinds.DATE: _signed,
    kinds.TIMESTAMP: _unsigned,
    kinds.OBJECT_ID: bytes,
    kinds.BOOL: bytes,
    kinds.BIN_DATA: _binary,
}

BRACKETS: Final = {
    kinds.NULL: 0,
    **dict.fromkeys(NUMERIC, 1),
    **dict.fromkeys(TEXTS, 2),
    kinds.ARRAY: 4,
    kinds.BIN_DATA: 5,
    kinds.OBJECT_ID: 6,
    kinds.BOOL: 7,
    kinds.DATE: 8,
    kinds.TIMESTAMP: 9,
}
"""The order of the types. Documents, patterns and the like are not ordered here."""


def _brackets(kind: int) -> frozenset[int]:
    return TEXTS if kind in TEXTS else frozenset({kind})


def _sign(left: object, right: object) -> int:
    """Both are of one type: less than, equal to, or more than zero."""
    return int(left > right) - int(left < right)  # type: ignore[operator]


def _numbers(test: Callable[[int], bool], bound: Number, *, skips: bool = False) -> Condition:
    """`skips`: what is no number does not satisfy it, and is decided."""

    def holds(kind: int, value: bytes) -> bool:
        if kind not in NUMERIC or (skips and math.isnan(read_number(kind, value))):
            return False
        return test(_sign(*alike(finite_value(kind, value), bound)))

    return holds


def alike(left: Number, right: Number) -> tuple[Number, Number]:
    """Two numbers that compare as on the server.

    Raises Undecided for a decimal beside a double with a fraction: servers round one of them, and not alike.
    """
    if isinstance(left, Decimal) != isinstance(right, Decimal):
        double = right if isinstance(left, Decimal) else left
        is_exact = math.isinf(double) or whole(double, -MOST_EXACT, MOST_EXACT) is not None
        if isinstance(double, float) and not is_exact:
            raise Undecided
    return left, right


def _finite(kind: int, operand: bytes) -> Number:
    number = read_number(kind, operand)
    if math.isnan(number) or (kind == kinds.DECIMAL and not is_canonical(operand)):
        raise Refusal(Reason.RANGE, rule="a range that ends at no number")
    return number


def finite_value(kind: int, value: bytes) -> Number:
    """A stored number. Raises Undecided for one that is none: servers order it in two ways."""
    number = read_number(kind, value)
    if math.isnan(number):
        raise Undecided
    return number


def _long(kind: int, value: bytes) -> int:
    """A number without its fraction. Raises Refusal(SHAPE)."""
    number = read_number(kind, value) if kind in NUMERIC else math.nan
    if not math.isfinite(number) or not _LEAST_LONG <= number <= _MOST_LONG:
        raise Refusal(Reason.SHAPE, rule="$mod of what is not a whole number of 64 bits")
    return int(number)


def _is_set(binary: bytes, position: int) -> bool:
    """A bit of binary data, whose bytes begin after its length and subtype. Cost: O(1)."""
    place = 5 + (position >> 3)
    return place < len(binary) and bool(binary[place] >> (position & 7) & 1)


def _bits_of(kind: int, value: bytes) -> int | None:
    """The bits of a whole number of 64 bits; None for any other value.

    A negative number has its sign in all bits above, as in two's complement. Raises Undecided.
    """
    if kind in _INTEGERS:
        return int((INT if kind == kinds.INT else LONG).unpack(value)[0])
    if kind in NUMERIC:
        number = whole(read_number(kind, value), _LEAST_LONG, _MOST_LONG)
        if number is None and kind == kinds.DECIMAL:
            raise Undecided  # the server rounds it, or not
        return number
    return None
