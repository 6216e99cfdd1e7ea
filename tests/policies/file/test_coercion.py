"""Coercion: equal values of different types become one encoding, and nothing is lost on the way."""

import math
import struct
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128, Int64, encode
from bson.binary import Binary
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.file.coercion import coerce, is_negative_zero
from sealwire.policies.file.schema import ValueType
from sealwire.wire.raw_bson import elements
from tests.bson_types import BsonType
from tests.support.rows import rows

INT_MAX, LONG_MAX = 2**31 - 1, 2**63 - 1
NUMERIC = (ValueType.INT, ValueType.LONG, ValueType.DOUBLE)
FORMATS = {ValueType.INT: "<i", ValueType.LONG: "<q", ValueType.DOUBLE: "<d"}


def coerced(value: Any, declared: ValueType) -> bytes | None:
    """`coerce` of a Python value."""
    data = encode({"v": value})
    [element] = elements(data, 0)
    return coerce(element.kind, data[element.value : element.end], declared)


@pytest.mark.parametrize("declared", NUMERIC)
@rows(
    "value",
    5,
    Int64(5),
    5.0,
    Decimal128("5"),
    Decimal128("5.000"),
    Decimal128("0.5E+1"),
    Decimal128("500E-2"),
)
def test_equal_numbers_of_all_types_become_one_encoding(value: Any, declared: ValueType) -> None:
    assert coerced(value, declared) == struct.pack(FORMATS[declared], 5)


@pytest.mark.parametrize("declared", NUMERIC)
@rows(
    "value",
    0,
    Int64(0),
    0.0,
    -0.0,
    Decimal128("0"),
    Decimal128("-0"),
    Decimal128("0E+6111"),
    Decimal128("-0E-6176"),
)
def test_every_zero_becomes_the_one_zero(value: Any, declared: ValueType) -> None:
    assert coerced(value, declared) == struct.pack(FORMATS[declared], 0)


@rows(
    "value, declared, expected",
    (Int64(INT_MAX), ValueType.INT, INT_MAX),
    (float(INT_MAX), ValueType.INT, INT_MAX),
    (float(-INT_MAX - 1), ValueType.INT, -INT_MAX - 1),
    (Int64(-INT_MAX - 1), ValueType.INT, -INT_MAX - 1),
    (Decimal128(str(-LONG_MAX - 1)), ValueType.LONG, -LONG_MAX - 1),
    (Decimal128(str(LONG_MAX)), ValueType.LONG, LONG_MAX),
    (-(2.0**63), ValueType.LONG, -LONG_MAX - 1),
    (Int64(2**53), ValueType.DOUBLE, 2.0**53),
    (Int64(2**62), ValueType.DOUBLE, 2.0**62),
    (Decimal128("0.5"), ValueType.DOUBLE, 0.5),
    (math.inf, ValueType.DOUBLE, math.inf),
    (Decimal128("Infinity"), ValueType.DOUBLE, math.inf),
    (Decimal128("-Infinity"), ValueType.DOUBLE, -math.inf),
)
def test_the_edges_of_the_types_fit(value: Any, declared: ValueType, expected: float) -> None:
    assert coerced(value, declared) == struct.pack(FORMATS[declared], expected)


@rows(
    "value, declared",
    (Int64(INT_MAX + 1), ValueType.INT),
    (Int64(-INT_MAX - 2), ValueType.INT),
    (float(-INT_MAX - 2), ValueType.INT),
    (Decimal128(str(-LONG_MAX - 2)), ValueType.LONG),
    (-1.1 * 2.0**63, ValueType.LONG),
    (float(INT_MAX + 1), ValueType.INT),
    (2.0**63, ValueType.LONG),
    (Decimal128(str(LONG_MAX + 1)), ValueType.LONG),
    (Int64(2**53 + 1), ValueType.DOUBLE),
    (Int64(LONG_MAX), ValueType.DOUBLE),
    (Decimal128("0.1"), ValueType.DOUBLE),
    *((5.5, declared) for declared in (ValueType.INT, ValueType.LONG)),
    *((Decimal128("5.5"), declared) for declared in (ValueType.INT, ValueType.LONG)),
    *(
        (Decimal128(text), declared)
        for declared in NUMERIC
        for text in ("9E+6144", "-9E+6144", "1E-6176", "NaN", "-NaN", "sNaN", "1.5E+6000")
    ),
    *((math.nan, declared) for declared in NUMERIC),
    *((math.inf, declared) for declared in (ValueType.INT, ValueType.LONG)),
    *((Decimal128("Infinity"), declared) for declared in (ValueType.INT, ValueType.LONG)),
    *((value, declared) for declared in NUMERIC for value in ("5", True, b"5", [5], {"x": 5})),
)
def test_what_would_lose_something_has_no_equal(value: Any, declared: ValueType) -> None:
    assert coerced(value, declared) is None


@pytest.mark.parametrize("declared", [ValueType(kind) for kind in ValueType if kind not in NUMERIC])
def test_other_classes_take_their_own_type_and_no_number(declared: ValueType) -> None:
    own = {
        ValueType.STRING: b"\2\0\0\0a\0",
        ValueType.DATE: b"\1" * 8,
        ValueType.OBJECT_ID: b"\1" * 12,
        ValueType.BIN_DATA: b"\1\0\0\0\0x",
        ValueType.BOOL: b"\1",
    }[declared]
    assert coerce(declared.kind, own, declared) == own
    assert coerced(5, declared) is None
    assert coerced(5.0, declared) is None


@rows(
    "value, is_negative",
    *((-0.0, True), (Decimal128("-0"), True), (Decimal128("-0E+99"), True), (Decimal128("-0.00"), True)),
    *((0.0, False), (Decimal128("0"), False), (Decimal128("-1"), False), (-1.0, False), (0, False)),
    *((Int64(0), False), (-5e-324, False), (Decimal128("-Infinity"), False), (Decimal128("-NaN"), False)),
    (Decimal128("-1E-6176"), False),
)
def test_a_zero_with_a_sign_is_told_from_one_without(value: Any, is_negative: bool) -> None:
    data = encode({"v": value})
    (element,) = elements(data, 0)
    assert is_negative_zero(element.kind, data[element.value : element.end]) is is_negative


def test_a_symbol_is_a_string() -> None:
    assert coerce(BsonType.SYMBOL, b"\2\0\0\0a\0", ValueType.STRING) == b"\2\0\0\0a\0"
    assert coerce(BsonType.JAVASCRIPT, b"\2\0\0\0a\0", ValueType.STRING) is None


def test_a_binary_of_client_side_encryption_is_not_encrypted_again() -> None:
    assert coerced(Binary(b"x", 6), ValueType.BIN_DATA) is None
    assert coerced(Binary(b"x", 4), ValueType.BIN_DATA) is not None


@given(st.binary(min_size=16, max_size=16), st.sampled_from(NUMERIC))
def test_any_sixteen_bytes_of_a_decimal_are_coerced_or_not_without_an_exception(
    data: bytes, declared: ValueType
) -> None:
    found = coerce(BsonType.DECIMAL, data, declared)
    assert (
        found is None
        or Decimal(struct.unpack(FORMATS[declared], found)[0]) == Decimal128.from_bid(data).to_decimal()
    )


@given(
    st.one_of(
        st.integers(-(2**63), LONG_MAX).map(Int64), st.floats(allow_nan=False), st.integers(-9, 9).map(float)
    ),
    st.sampled_from(NUMERIC),
)
def test_a_coerced_number_is_equal_to_the_one_sent_and_has_one_encoding(
    value: float, declared: ValueType
) -> None:
    found = coerced(value, declared)
    if found is None:
        return
    [back] = struct.unpack(FORMATS[declared], found)
    assert back == value
    if abs(value) < 10**15 and value == int(value):
        assert coerced(Decimal128(str(int(value))), declared) == found
