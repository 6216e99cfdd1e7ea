"""Read a number of any BSON type, so that numbers of different types can be compared."""

import math
import struct
from decimal import Decimal
from typing import Final

from bson.decimal128 import Decimal128

from sealwire.wire import kinds

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
