"""What may be stored in a deterministic class: only what is sound, and no zero of another sign."""

import struct
from typing import Any

import pytest
from bson import Decimal128, Int64, MinKey, ObjectId, Regex, encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.ranges import is_canonical, read_number
from sealwire.policies.planning.values import is_true, whole_number
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import Element, elements
from tests.policies.support import plan_of, reason, value_edits

ZEROS = [-0.0, Decimal128("-0"), Decimal128("-0E+3")]


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize(
    "command",
    [
        lambda zero: {"insert": "patients", "documents": [{"ratio": zero}]},
        lambda zero: {"insert": "patients", "documents": [{"ratio": [1.0, zero]}]},
        lambda zero: {"findAndModify": "patients", "update": {"$set": {"ratio": zero}}},
        lambda zero: {"findAndModify": "patients", "update": {"$push": {"ratio": zero}}},
        lambda zero: {
            "update": "patients",
            "updates": [{"q": {"ratio": zero}, "u": {"$set": {"x": 1}}, "upsert": True}],
        },
    ],
)
def test_a_negative_zero_is_not_stored(command: Any, zero: Any) -> None:
    assert reason({**command(zero), "$db": "clinic"}) is Reason.TYPE


@pytest.mark.parametrize("zero", [*ZEROS, 0, 0.0, Decimal128("0")])
def test_zeros_of_both_signs_are_compared_as_one(zero: Any) -> None:
    filters: list[Any] = [{"ratio": zero}, {"ratio": {"$in": [zero]}}, {"$expr": {"$eq": ["$ratio", zero]}}]
    for each in filters:
        found = plan_of({"find": "patients", "filter": each, "$db": "clinic"})
        assert [edit.value for edit in value_edits(found)] == [bytes(8)]
    update = {"q": {"ratio": zero}, "u": {"$pull": {"ratio": zero}}}
    found = plan_of({"update": "patients", "updates": [update], "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(8)] * 2


@pytest.mark.parametrize("zero", [0, 0.0, Decimal128("0")])
def test_a_zero_is_stored(zero: Any) -> None:
    found = plan_of({"insert": "patients", "documents": [{"ratio": zero}], "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(8)]


@pytest.mark.parametrize("zero", ZEROS)
def test_an_int_has_one_zero(zero: Any) -> None:
    """The other one would come back as the int 0, and the application has stored something else."""
    assert reason({"insert": "patients", "documents": [{"visits": zero}], "$db": "clinic"}) is Reason.TYPE
    found = plan_of({"find": "patients", "filter": {"visits": zero}, "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(4)]


FLAGGED = load_policy(
    b"version: 1\nclasses: {flag: {mode: deterministic, type: bool}}\n"
    b"collections: {clinic.patients: {smoker: flag}}\n",
    "policy.yaml",
)


@pytest.mark.parametrize(("value", "name"), [(True, b"smoker"), ([True], b"0")])
def test_a_flag_that_is_neither_true_nor_false_is_an_error(value: Any, name: bytes) -> None:
    """Statements in an array are looked through as a whole; this update is not."""
    body = {"findAndModify": "patients", "update": {"$set": {"smoker": value}}, "$db": "clinic"}
    message, sound = encode(body), b"\x08" + name + b"\0\1"
    assert sound in message
    assert len(plan_command(FLAGGED, message, 0).edits) == 1
    with pytest.raises(BsonError) as caught:
        plan_command(FLAGGED, message.replace(sound, sound[:-1] + b"\2"), 0)
    assert caught.value.reason is WireReason.BSON_VALUE


NOT_CANONICAL = [
    (10**34).to_bytes(15, "little") + b"\x30",  # a coefficient of 35 digits
    ((1 << 113) - 1 | 0x3040 << 112).to_bytes(16, "little"),
    b"\1" + bytes(14) + b"\x6c",  # the form for large coefficients
    bytes(15) + b"\xec",
]


def of(value: Any) -> tuple[bytes, Element]:
    buf = encode({"n": value})
    return buf, next(elements(buf, 0))


def truth(value: Any) -> bool:
    buf, element = of(value)
    return is_true(element.kind, buf[element.value : element.end])


@pytest.mark.parametrize(
    "value",
    [
        *(0, Int64(0), 0.0, -0.0, False, None),
        *(Decimal128("0"), Decimal128("-0"), Decimal128("0E+6000"), Decimal128("-0E-6176")),
    ],
)
def test_zeros_and_null_are_false(value: Any) -> None:
    assert not truth(value)


@pytest.mark.parametrize(
    "value",
    [
        *(1, -1, Int64(2**32), 5e-324, -5e-324, float("nan"), float("inf"), True),
        *(Decimal128("1E-6176"), Decimal128("NaN"), Decimal128("-Infinity")),
        *("", "x", {}, [], b"", ObjectId(), MinKey(), Regex("x")),
    ],
)
def test_other_values_are_true(value: Any) -> None:
    assert truth(value)


def test_undefined_is_false() -> None:
    assert not is_true(kinds.UNDEFINED, b"")


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        *((0, 0), (-7, -7), (Int64(2**63 - 1), 2**63 - 1), (Int64(-(2**63)), -(2**63))),
        *((3.0, 3), (-0.0, 0), (2.0**53, 2**53), (-(2.0**63), -(2**63))),
        *((Decimal128("3"), 3), (Decimal128("3.00"), 3), (Decimal128("3E+2"), 300), (Decimal128("-0"), 0)),
        (Decimal128("9223372036854775807"), 2**63 - 1),
        (Decimal128("-9223372036854775808"), -(2**63)),
    ],
)
def test_whole_numbers_of_every_type(value: Any, whole: int) -> None:
    assert whole_number(*of(value)) == whole


@pytest.mark.parametrize(
    "value",
    [
        *(0.5, float("nan"), float("inf"), -float("inf"), 2.0**63, 1e300, -1e19),
        *(Decimal128("-9223372036854775809"), -1.5 * 2.0**63),
        *(Decimal128("0.5"), Decimal128("NaN"), Decimal128("Infinity"), Decimal128("9223372036854775808")),
        *(Decimal128("1E+6000"), Decimal128("1E-6000"), "1", True, None, [1], {"n": 1}),
    ],
)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        whole_number(*of(value))
    assert caught.value.reason is Reason.SHAPE


@pytest.mark.parametrize("data", NOT_CANONICAL)
def test_decimals_that_are_not_canonical_decide_nothing(data: bytes) -> None:
    assert not is_canonical(data)
    assert read_number(kinds.DECIMAL, data) == 0
    with pytest.raises(Refusal):
        is_true(kinds.DECIMAL, data)
    with pytest.raises(Refusal):
        whole_number(*of(Decimal128.from_bid(data)))


@pytest.mark.parametrize("text", ["1E+1", "9" * 34, "9" * 34 + "E+6111", "1E-6175", "Infinity", "NaN"])
def test_a_decimal_of_34_digits_and_any_exponent_is_canonical(text: str) -> None:
    assert is_canonical(Decimal128(text).bid)


@given(st.decimals(places=6, min_value=-(10**20), max_value=10**20))
def test_what_writers_make_is_canonical(number: Any) -> None:
    assert is_canonical(Decimal128(number).bid)


@given(st.binary(min_size=16, max_size=16))
def test_any_decimal_is_read_or_refused(data: bytes) -> None:
    read_number(kinds.DECIMAL, data)
    try:
        found = whole_number(*of(Decimal128.from_bid(data)))
    except Refusal:
        return
    assert found == read_number(kinds.DECIMAL, data)


@given(st.floats())
def test_doubles_are_whole_where_they_are_integers_of_64_bits(number: float) -> None:
    plan, element = of(number)
    is_whole = number.is_integer() and -(2**63) <= number < 2**63
    try:
        found = whole_number(plan, element)
    except Refusal:
        assert not is_whole
    else:
        assert is_whole
        assert found == number
    assert is_true(kinds.DOUBLE, struct.pack("<d", number)) is (number != 0)
