"""Records put together field by field are the BSON that pymongo's codec writes."""

from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.server.observability.record_bytes import RecordBytes

# pymongo's codec puts `_id` first, wherever it stands
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name != "_id"
)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = TEXTS | NUMBERS | st.booleans() | st.lists(TEXTS, max_size=12) | st.dictionaries(NAMES, NUMBERS)


@given(st.dictionaries(NAMES, VALUES))
def test_fields_are_written_as_the_codec_writes_them(fields: dict[str, Any]) -> None:
    out = RecordBytes()
    for name, value in fields.items():
        out.field(name, value)
    assert out.finish() == bson.encode(fields)


@given(st.dictionaries(NAMES, NUMBERS), st.lists(TEXTS), TEXTS, NUMBERS)
def test_fields_of_known_types_are_too(
    counts: dict[str, int], texts: list[str], text: str, number: int
) -> None:
    out = RecordBytes()
    out.counts(b"a\0", counts)
    out.texts(b"b\0", texts)
    out.text(b"c\0", text)
    out.number(b"d\0", number)
    assert out.finish() == bson.encode({"a": counts, "b": texts, "c": text, "d": number})


def test_fields_of_one_record_can_be_put_into_another() -> None:
    first, second = RecordBytes(), RecordBytes()
    first.field("a", 1)
    second.field("b", "2")
    second.elements(first.body())
    assert bson.decode(second.finish()) == {"b": "2", "a": 1}


def test_what_utf_8_cannot_write_is_replaced() -> None:
    out = RecordBytes()
    out.field("a\udc80", "b\udc80")
    assert bson.decode(out.finish()) == {"a?": "b?"}


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, 1.5, None, {"a\0b": 1}, {1: 2}, b"abc"],
    ids=lambda value: type(value).__name__,
)
def test_what_a_record_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        RecordBytes().field("a", value)


def test_a_refusal_does_not_quote_the_value() -> None:
    with pytest.raises(ValueError, match="64 bits") as caught:
        RecordBytes().field("a", 2**70)
    assert str(2**70) not in str(caught.value)
