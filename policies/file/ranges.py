"""Ranges over ciphertext: a class whose values lie on a finite grid, and a range as the list of its values.

Ciphertext has no order, so a range is answered by equality: the grid's values between the bounds are listed
and looked up with `$in`. That is exact as long as every stored value lies on the grid (writes off it are
refused) and a path leads to one value: with two conditions on an array, MongoDB lets different elements
satisfy them. So a class with a range holds single values only.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from typing import Final

from bson.decimal128 import Decimal128

from sealwire.wire import kinds

# ----------------------------------------------------- numbers of any BSON type, so that they can be compared

DOUBLE: Final = struct.Struct("<d")
INT: Final = struct.Struct("<i")
LONG: Final = struct.Struct("<q")

Number = int | float | Decimal

NUMERIC = frozenset({kinds.INT, kinds.LONG, kinds.DOUBLE, kinds.DECIMAL})

# A decimal of the usual form: the coefficient in the low 113 bits, below it in the format's limit.
_COEFFICIENT_BITS: Final = (1 << 113) - 1
_MOST_DIGITS: Final = 10**34 - 1


def read_number(kind: int, value: bytes) -> Number:
    """A number of any BSON type; decimals that are infinite or not a number come as floats. Cost: O(1)."""
    if kind == kinds.INT:
        return int(INT.unpack(value)[0])
    if kind == kinds.LONG:
        return int(LONG.unpack(value)[0])
    if kind == kinds.DOUBLE:
        return float(DOUBLE.unpack(value)[0])
    if not is_canonical(value):
        return 0  # as IEEE 754 has it, and the server's library with it
    number = Decimal128.from_bid(value).to_decimal()
    if number.is_finite():
        return number
    return math.nan if number.is_nan() else float(number)


def whole(number: Number, low: int, high: int) -> int | None:
    """A number as an integer between these bounds; None when it is none. Cost: O(1)."""
    # bounds first: int() of a decimal with a huge exponent would build all its digits
    if not math.isfinite(number) or not low <= number <= high or int(number) != number:
        return None
    return int(number)


def is_canonical(value: bytes) -> bool:
    """Whether a decimal's 16 bytes are an encoding that a writer may use; every other one counts as zero.

    Source: IEEE 754-2008, 3.5.2: a coefficient of more than 34 digits is not canonical, and the form for
    large coefficients (its first two bits set) has in 128 bits only such. Cost: O(1).
    """
    if value[15] & 0x60 == 0x60:
        return value[15] & 0x78 == 0x78  # infinity or not a number
    return int.from_bytes(value, "little") & _COEFFICIENT_BITS <= _MOST_DIGITS


# ------------------------------------------------- the grid of a class, and a range as the list of its values

# A decade of days is 3,653 values and 180 kB of filter. A century is still a filter that servers take.
DEFAULT_MAX_VALUES = 40_000
MAX_MAX_VALUES = 200_000

_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)
_FIRST_DAY = (date.min - _EPOCH).days
_LAST_DAY = (date.max - _EPOCH).days

# null equals missing fields too; MinKey and MaxKey compare with values of every type; a pattern the server
# rejects here, and a range that matches nothing would match everything below $not
_NOT_FOLLOWED = frozenset({kinds.NULL, kinds.UNDEFINED, kinds.MIN_KEY, kinds.MAX_KEY, kinds.REGEX})

Condition = tuple[bytes, int, bytes]
"""Operator, BSON type and value bytes of its operand."""


class Unit(Enum):
    """Distance between neighbours on the grid."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"
    ONE = "one"
    """The unit of integers."""


_GRIDS: Final[dict[Unit, str]] = {
    Unit.DAY: "one value for each day: midnight UTC",
    Unit.MONTH: "one value for each month: midnight UTC of its first day",
    Unit.YEAR: "one value for each year: midnight UTC of 1 January",
    Unit.ONE: "whole numbers",
}


@dataclass(frozen=True, slots=True)
class RangeDomain:
    """All values that a class may hold: every step of `unit` from `low` to `high`, both included.

    Positions count steps: days since 1970-01-01, months or years since year 0, or the integer itself. Stored
    integers are a date's milliseconds, or the integer itself.
    """

    unit: Unit
    low: int
    high: int
    max_values: int
    """Most values that one range may be turned into."""

    @property
    def grid(self) -> str:
        """Where values lie, in words."""
        return _GRIDS[self.unit]

    def holds(self, stored: int) -> bool:
        """Whether a stored integer lies on the grid, between its ends."""
        return self._is_at(self._floor(stored), stored)

    def _is_at(self, position: int, stored: int) -> bool:
        return self.low <= position <= self.high and self._stored(position) == stored

    def _floor(self, stored: int) -> int:
        """The last position at or before a stored integer; one that lies beyond an end may stay there."""
        if self.unit is Unit.ONE:
            return stored
        days = stored // _DAY_MS
        if self.unit is Unit.DAY:
            return days
        if _FIRST_DAY <= days <= _LAST_DAY:
            return position_of(self.unit, _EPOCH + timedelta(days=days))
        return self.low - 1 if days < _FIRST_DAY else self.high

    def _stored(self, position: int) -> int:
        if self.unit is Unit.ONE:
            return position
        if self.unit is Unit.DAY:
            return position * _DAY_MS
        year, month = (position, 0) if self.unit is Unit.YEAR else divmod(position, 12)
        return (date(year, month + 1, 1) - _EPOCH).days * _DAY_MS

    def values(self, kind: int, positions: range) -> list[bytes]:
        """The value bytes at `positions`, as a class of BSON type `kind` stores them."""
        pack = INT.pack if kind == kinds.INT else LONG.pack
        return [pack(self._stored(position)) for position in positions]

    def between(self, operator: bytes, bound: Number) -> tuple[int, int]:
        """Least and greatest position that `$gt`, `$gte`, `$lt` or `$lte` with this bound allows."""
        floor, exact = self._split(bound)
        if operator == b"$gt":
            return floor + 1, self.high
        if operator == b"$gte":
            return (floor if exact else floor + 1), self.high
        if operator == b"$lt":
            return self.low, (floor - 1 if exact else floor)
        return self.low, floor

    def _split(self, bound: Number) -> tuple[int, bool]:
        """The last position at or before `bound`, and whether its value is `bound` itself."""
        if isinstance(bound, int):
            floor = self._floor(bound)
            return floor, self._is_at(floor, bound)
        if not self.low <= bound < self.high + 1:
            return (self.low - 1 if bound < self.low else self.high), False
        floor = math.floor(bound)
        return floor, floor == bound


def position_of(unit: Unit, day: date) -> int:
    """The grid position of a day; for months and years that of the one it lies in."""
    if unit is Unit.YEAR:
        return day.year
    return day.year * 12 + day.month - 1 if unit is Unit.MONTH else (day - _EPOCH).days


def read_stored(kind: int, value: bytes) -> int:
    """The stored integer of a value of the class's own type: a date's milliseconds, or the integer."""
    stored: int = (INT if kind == kinds.INT else LONG).unpack(value)[0]
    return stored


def find_positions(domain: RangeDomain, own_kind: int, conditions: Sequence[Condition]) -> range | None:
    """The positions that satisfy all of the conditions; None when an operand is of a kind not followed.

    An operand of another type than the class's compares with no stored value: MongoDB compares within types.
    Cost: O(conditions).
    """
    low, high = domain.low, domain.high
    for operator, kind, value in conditions:
        if kind in _NOT_FOLLOWED:
            return None
        bound = _bound(own_kind, kind, value)
        if bound is None:
            return range(0)
        least, most = domain.between(operator, bound)
        low, high = max(low, least), min(high, most)
    return range(low, high + 1)


def _bound(own_kind: int, kind: int, value: bytes) -> Number | None:
    """The operand as a number that compares with stored ones; None when it compares with none."""
    if own_kind == kinds.DATE:
        return read_stored(kind, value) if kind == kinds.DATE else None
    if kind not in NUMERIC:
        return None
    number = read_number(kind, value)
    return None if isinstance(number, float) and math.isnan(number) else number
