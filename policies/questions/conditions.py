"""Judge plain values by conditions and put them in order, exactly as MongoDB does.

A condition is one operator of a filter with its operand. It is judged on one value: a value of an array is a
value of its own, as the server has it. Comparisons are within types ("type bracketing"): a string is never
less than a number.

Source: MongoDB's manual on comparison order, `$mod` and the bitwise operators.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from heapq import nlargest, nsmallest
from typing import Final, final

from mypy_extensions import mypyc_attr

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


@final
@mypyc_attr(acyclic=True)  # see wire.raw_bson.Element; a named tuple took 3,100 instructions more
class HeldValue:
    """A value that the server holds, or an array of such values, to sort by one of them."""

    __slots__ = ("stored", "value")

    def __init__(self, value: Value, stored: Value) -> None:
        self.value: Final = value
        self.stored: Final = stored
        """As it is stored: the envelope, or the value itself."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeldValue) and self.stored == other.stored and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.stored)

    def __repr__(self) -> str:
        return "HeldValue()"


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


# ---------------------------------------------------------------------------- the order of stored values
#
# As MongoDB sorts them, and the first of them that a sorted command needs. A command sorts by the ranks of
# values instead of the values. Equal values of several types, or in several forms, share one rank, so that
# the other keys of the sort decide between their documents.


MAX_RANKS: Final = 10_000
"""Values that one command sorts by. It has each of them twice, so it takes some 2 MB."""

_FEW: Final = 10
"""If less than one value in so many is wanted, the others are not sorted."""

DISTURBED: Final = b"Sealwire: documents that the command sorts were changed meanwhile"
"""The rank that is no number, behind all others: the server's error quotes it."""

_NUMBERS: Final = BRACKETS[kinds.LONG]

OrderKey = tuple[int, object]
"""Type and value: compares as MongoDB sorts, with the keys of other values."""
_NULL: Final[OrderKey] = BRACKETS[kinds.NULL], 0
_EMPTY: Final[OrderKey] = _NULL[0] - 1, 0
"""An empty array stands before null."""


@dataclass(frozen=True, slots=True)
class SortOrder:
    """That a field's values are asked for to sort by them."""

    is_descending: bool
    enough: int | None
    """How many documents with the first values are enough; None where all are wanted."""
    among: tuple[int, int] | None
    """Where in the message the stages lie that documents pass before; None where all documents count."""
    strength: int = SIMPLE
    """How strong the collation of the command is."""
    takes_arrays: bool = False
    """Whether an array has the place of one of its values, as in a `$sort`."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The ranks of the first values, which are listed in the order of the reply."""

    numbers: tuple[int, ...]
    """The rank of each value: equal values share one."""
    nulls: int | None
    """The rank of null and of missing values; None where they are not wanted."""
    is_cut: bool
    """Whether there are more values."""


def order_key(value: Value, strength: int = SIMPLE) -> OrderKey:
    """Where a stored value stands. Raises Undecided for what servers order in several ways."""
    kind, data = value
    if kind == kinds.NULL:
        return _NULL
    if kind in NUMERIC:
        return _NUMBERS, finite_value(kind, data)
    key = KEYS.get(kind)
    if key is None:
        raise Undecided
    return BRACKETS[kind], collated_text(data, strength) if strength and kind in TEXTS else key(data)


def array_key(array: bytes, order: SortOrder) -> OrderKey:
    """Where an array stands: where its least value does, or its greatest if it descends. Raises Undecided."""
    keys = [order_key(item, order.strength) for item in items_of(array)]
    _check_numbers(keys)
    return (max if order.is_descending else min)(keys, default=_EMPTY)


def first_ranks(
    values: Sequence[tuple[OrderKey, int]], nulls: int | None, order: SortOrder
) -> tuple[Ranks, list[int]]:
    """The ranks that a sorted command needs, and the places of the values that have them.

    Each value comes with a number of documents that it has at least; `nulls` have none. None: all have one.
    Raises Undecided; Refusal(QUESTION) for too many ranks.
    Cost: O(values log values), with few of them wanted O(values).
    """
    keys = [key for key, _ in values]
    _check_numbers(keys)
    counted = values if nulls is None else [*values, (_NULL, nulls)]
    places = _in_order([key for key, _ in counted], order)
    groups: list[list[int]] = []
    before: OrderKey | None = None
    for place in places:
        key = counted[place][0]
        if key != before:
            groups.append([])
        groups[-1].append(place)
        before = key
    counts = [sum(counted[place][1] for place in group) for group in groups]
    wanted = _wanted(counts, order.enough)
    if wanted > MAX_RANKS:
        raise Refusal(Reason.QUESTION, rule=f"a sort by more than {MAX_RANKS} values")
    ranked = {place: rank for rank, group in enumerate(groups[:wanted]) for place in group}
    is_cut = len(ranked) < len(counted)
    null_rank = ranked.pop(len(values), None)
    return Ranks(tuple(ranked.values()), null_rank, is_cut), list(ranked)


def _in_order(keys: list[OrderKey], order: SortOrder) -> list[int]:
    """The places of keys in their order, or of those that may be wanted.

    Null may have no document, each other value has one: so one more than `enough` are taken, and equals.
    """
    first = nlargest if order.is_descending else nsmallest
    if order.enough is None or order.enough >= len(keys) // _FEW:
        among = list(range(len(keys)))
    else:
        last = first(order.enough + 1, keys)[-1]
        is_descending = order.is_descending
        among = [at for at, key in enumerate(keys) if key == last or (key > last) is is_descending]
    return sorted(among, key=keys.__getitem__, reverse=order.is_descending)


def _wanted(counts: Sequence[int], enough: int | None) -> int:
    """How many ranks have so many documents."""
    if enough is None:
        return len(counts)
    documents = 0
    for rank, count in enumerate(counts):
        if documents >= enough:
            return rank
        documents += count
    return len(counts)


def _check_numbers(keys: Sequence[OrderKey]) -> None:
    """Raises Undecided for decimals beside doubles with a fraction: servers round one of them."""
    numbers = [number for bracket, number in keys if bracket == _NUMBERS]
    decimal = next((each for each in numbers if isinstance(each, Decimal)), None)
    if decimal is not None:
        for each in numbers:
            if isinstance(each, float):
                alike(decimal, each)
