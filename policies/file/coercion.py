"""Bring a value to the one encoding that a deterministic class stores.

MongoDB holds 5, NumberLong(5) and 5.0 for equal; their ciphertexts are not. A class declares one type, and
what is written or compared is brought to it when that loses nothing.
"""

import math

from sealwire.policies.file.ranges import DOUBLE, INT, LONG, NUMERIC, Number, read_number, whole
from sealwire.policies.file.schema import ValueType
from sealwire.wire import kinds

_NEGATIVE_ZERO = DOUBLE.pack(-0.0)

_NUMERIC_CLASSES = frozenset({ValueType.INT, ValueType.LONG, ValueType.DOUBLE})
_LIMITS = {ValueType.INT: (-(2**31), 2**31 - 1), ValueType.LONG: (-(2**63), 2**63 - 1)}

# Binary subtype 6 belongs to client-side encryption: it is ciphertext already, under somebody else's key.
_CLIENT_ENCRYPTED_SUBTYPE = 6


def coerce(kind: int, value: bytes, declared: ValueType) -> bytes | None:
    """The bytes of `value` (BSON type `kind`) as `declared`, or None when no equal value of it exists.

    None means: cannot be stored in the class, and equals nothing stored in it. Cost: O(1).
    """
    if declared in _NUMERIC_CLASSES:
        return _coerce_number(kind, value, declared) if kind in NUMERIC else None
    if kind == kinds.SYMBOL and declared is ValueType.STRING:
        return value  # the deprecated symbol has a string's bytes and equals it
    if kind != declared.kind:
        return None
    if kind == kinds.BIN_DATA and value[4] == _CLIENT_ENCRYPTED_SUBTYPE:
        return None
    return value


def is_negative_zero(kind: int, value: bytes) -> bool:
    """Whether a number is -0.0, which equals 0.0 and is not the same. Cost: O(1)."""
    if kind == kinds.DOUBLE:
        return value == _NEGATIVE_ZERO
    return kind == kinds.DECIMAL and bool(value[15] & 0x80) and not read_number(kind, value)


def _coerce_number(kind: int, value: bytes, declared: ValueType) -> bytes | None:
    if kind == declared.kind and declared is not ValueType.DOUBLE:
        return value
    number = read_number(kind, value)
    if declared is ValueType.DOUBLE:
        return _to_double(number)
    integer = whole(number, *_LIMITS[declared])
    return None if integer is None else (INT if declared is ValueType.INT else LONG).pack(integer)


def _to_double(number: Number) -> bytes | None:
    """NaN has many encodings and is refused; -0.0 becomes the 0.0 that it equals, to be compared."""
    try:
        converted = float(number)
    except OverflowError:
        return None
    if math.isnan(converted) or converted != number:
        return None
    return DOUBLE.pack(converted if converted else 0.0)
