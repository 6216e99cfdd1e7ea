"""What each mask shows of each type of value."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import decode, encode
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.roles.masks import FIXED, masked
from sealwire.policies.roles.role import Mask
from sealwire.wire import kinds
from sealwire.wire.raw_bson import elements
from tests.bson_types import BsonType


def shown(mask: Mask, value: Any) -> Any:
    data = encode({"v": value})
    (element,) = elements(data, 0)
    return as_python(*masked(mask, element.kind, data[element.value : element.end]))


def as_python(kind: int, value: bytes) -> Any:
    size = 4 + 1 + 2 + len(value) + 1
    return decode(size.to_bytes(4, "little") + bytes((kind,)) + b"v\0" + value + b"\0")["v"]


@pytest.mark.parametrize(
    ("mask", "value", "expected"),
    [
        (Mask.LAST4, "943 476 5919", "****5919"),
        (Mask.LAST4, "12345678", "****5678"),
        (Mask.LAST4, "1234567", FIXED),
        (Mask.LAST4, "", FIXED),
        (Mask.LAST4, 12345678, "****5678"),
        (Mask.LAST4, -12345678, "****5678"),
        (Mask.LAST4, Int64(-(2**63)), "****5808"),
        (Mask.LAST4, 1234567, FIXED),
        (Mask.LAST4, 12345678.0, FIXED),
        (Mask.LAST4, "ééééßßßß", "****ßßßß"),
        (Mask.YEAR, datetime(1950, 3, 1, tzinfo=UTC), "1950"),
        (Mask.YEAR, datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), "1969"),
        (Mask.YEAR, datetime(2000, 2, 29, tzinfo=UTC), "2000"),
        (Mask.YEAR, datetime(1, 1, 1, tzinfo=UTC), "0001"),
        (Mask.YEAR, "1950-03-01", "1950"),
        (Mask.YEAR, "1950-03-01T10:00:00Z", "1950"),
        (Mask.YEAR, "1950", FIXED),
        (Mask.YEAR, "943-47-6591", FIXED),
        (Mask.YEAR, 1950, FIXED),
        (Mask.OUTWARD, "SW1A 1AA", "SW1A ***"),
        (Mask.OUTWARD, "m11ae", "M1 ***"),
        (Mask.OUTWARD, "M1", FIXED),
        (Mask.OUTWARD, "9434765919", FIXED),
        (Mask.INITIALS, "Jane Maria Smith", "J.M.S. ***"),
        (Mask.INITIALS, "J S", FIXED),
        (Mask.INITIALS, "9434765919", FIXED),
        (Mask.INITIALS, "one two three four five six seven", FIXED),
        (Mask.INITIALS, "", FIXED),
        (Mask.FIXED, "Jane Maria Smith", FIXED),
        (Mask.FIXED, "SW1A 1AA", FIXED),
        (Mask.FIXED, 12345678, FIXED),
        (Mask.INITIALS, 12345678, FIXED),
        (Mask.OUTWARD, 12345678, FIXED),
    ],
)
def test_a_mask_shows_a_part_of_what_it_fits(mask: Mask, value: Any, expected: str) -> None:
    assert shown(mask, value) == expected


@pytest.mark.parametrize("millis", [-(2**63), 2**63 - 1, -62_135_596_800_001, 253_402_300_800_000])
def test_a_date_beyond_four_digits_has_no_year_that_is_shown(millis: int) -> None:
    assert as_python(*masked(Mask.YEAR, kinds.DATE, millis.to_bytes(8, "little", signed=True))) == FIXED


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)))
def test_the_year_is_that_of_the_calendar(day: datetime) -> None:
    assert shown(Mask.YEAR, day) == f"{day.year:04d}"


@pytest.mark.parametrize("bson_type", list(BsonType))
@pytest.mark.parametrize("mask", [*Mask])
def test_every_type_has_an_outcome_and_it_is_a_text(bson_type: BsonType, mask: Mask) -> None:
    size = 4 if bson_type is BsonType.INT else 8
    kind, value = masked(mask, bson_type.value, b"\x04\0\0\x00123\0"[:size])
    assert kind == (kinds.NULL if bson_type is BsonType.NULL else kinds.STRING)
    assert kind == kinds.NULL or isinstance(as_python(kind, value), str)


@given(st.text(max_size=40), st.sampled_from([*Mask]))
def test_no_text_is_shown_whole_or_by_its_length(text: str, mask: Mask) -> None:
    found = shown(mask, text)
    assert found != text or text in ("***",) or "*" in text
    assert len(found) <= 24
