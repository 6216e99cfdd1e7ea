"""Read a number of any BSON type, so that numbers of different types can be compared."""

import math
import struct
from decimal import Decimal

from bson.decimal128 import Decimal128

from sealwire.wire import kinds

_double = struct.Struct("<d")
_int = struct.Struct("<i")
_long = struct.Struct("<q")

Number = int | float | Decimal

NUMERIC = frozenset({kinds.INT, kinds.LONG, kinds.DOUBLE, kinds.DECIMAL})


def read_number(kind: int, value: bytes) -> Number:
    """A number of any BSON type; decimals that are infinite or not a number come as floats. Cost: O(1)."""
    if kind == kinds.INT:
        return int(_int.unpack(value)[0])
    if kind == kinds.LONG:
        return int(_long.unpack(value)[0])
    if kind == kinds.DOUBLE:
        return float(_double.unpack(value)[0])
    number = Decimal128.from_bid(value).to_decimal()
    if number.is_finite():
        return number
    return math.nan if number.is_nan() else float(number)
