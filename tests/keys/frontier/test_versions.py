"""What a version of a class makes of a value, and the order in which plaintext moves."""

import struct
from datetime import UTC, datetime
from functools import cmp_to_key

import pytest
from bson import encode
from bson.objectid import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import binary
from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, position_of
from sealwire.keys.frontier.versions import (
    ClassVersion,
    StoredForm,
    pending_version_of,
    position_of_plaintext,
    version_of,
)
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.wire import kinds

NOW = datetime(2026, 11, 26, tzinfo=UTC)
CIPHER = ValueCipher(bytes(range(64)), 7, 2)


def string(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<i", len(content) + 1) + content + b"\0"


def test_a_key_stores_envelopes() -> None:
    envelope = CIPHER.encrypt_deterministically(kinds.STRING, string("a"))
    version = ClassVersion(CIPHER)
    assert version.stored(kinds.STRING, string("a")) == StoredForm(kinds.BIN_DATA, binary(envelope))
    assert version.position(kinds.STRING, string("a")) == position_of(envelope)


def test_plaintext_is_stored_as_it_is() -> None:
    version = ClassVersion(CIPHER, is_plaintext=True)
    assert version.stored(kinds.STRING, string("a")) == StoredForm(kinds.STRING, string("a"))
    assert version.position(kinds.STRING, string("a")) == position_of_plaintext(kinds.STRING, string("a"))


def bson_value(value: object) -> tuple[int, bytes]:
    document = encode({"": value})
    return document[4], document[6:-1]


@pytest.mark.parametrize(
    "values",
    [
        st.text(),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(2**31, 2**63 - 1),
        st.integers(-(2**63), -(2**31) - 1),
        st.floats(allow_nan=False).filter(lambda number: number != 0),
        st.binary(min_size=12, max_size=12).map(ObjectId),
        st.booleans(),
    ],
    ids=["string", "int", "long", "long below zero", "double", "objectId", "bool"],
)
def test_plaintext_stands_in_the_order_of_the_values(values: st.SearchStrategy[object]) -> None:
    @given(values, values)
    def in_order(one: object, other: object) -> None:
        (kind, first), (_, second) = bson_value(one), bson_value(other)
        low, high = position_of_plaintext(kind, first), position_of_plaintext(kind, second)
        ordered = (
            (one.encode(), other.encode())
            if isinstance(one, str) and isinstance(other, str)
            else (one, other)
        )
        assert (low < high) is (ordered[0] < ordered[1])  # type: ignore[operator]
        assert BEFORE_ALL < low < AFTER_ALL

    in_order()


def test_dates_stand_in_the_order_of_time() -> None:
    moments = [datetime(year, 1, 1, tzinfo=UTC) for year in (1, 1969, 1970, 2026, 9999)]
    places = [position_of_plaintext(*bson_value(moment)) for moment in moments]
    assert places == sorted(places)


@given(st.lists(st.tuples(st.binary(max_size=5), st.sampled_from([0, 4, 5, 128])), max_size=6))
def test_binaries_stand_by_length_then_subtype_then_bytes(values: list[tuple[bytes, int]]) -> None:
    def value(content: bytes, subtype: int) -> bytes:
        return struct.pack("<iB", len(content), subtype) + content

    def compared(one: tuple[bytes, int], other: tuple[bytes, int]) -> int:
        first, second = ((len(content), subtype, content) for content, subtype in (one, other))
        return (first > second) - (first < second)

    by_server = sorted(values, key=cmp_to_key(compared))
    by_place = sorted(values, key=lambda each: position_of_plaintext(kinds.BIN_DATA, value(*each)))
    assert by_place == by_server


def test_another_type_has_no_place() -> None:
    with pytest.raises(KeyError):
        position_of_plaintext(kinds.DECIMAL, bytes(16))


def test_a_keyring_says_which_version_is_plaintext() -> None:
    keyring = Keyring(
        [
            DataKey("in", 7, 1, KeyState.ACTIVE, NOW, bytes(range(64)), is_plaintext=True),
            DataKey("in", 7, 2, KeyState.PENDING, NOW, bytes(range(1, 65))),
            DataKey("out", 8, 1, KeyState.ACTIVE, NOW, bytes(range(2, 66))),
            DataKey("out", 8, 2, KeyState.PENDING, NOW, bytes(range(3, 67)), is_plaintext=True),
            DataKey("stays", 9, 1, KeyState.ACTIVE, NOW, bytes(range(4, 68))),
        ]
    )
    active = {name: version_of(keyring, name).is_plaintext for name in keyring.class_names}
    assert active == {"in": True, "out": False, "stays": False}
    pending = {name: pending_version_of(keyring, name) for name in keyring.class_names}
    assert {name: found.is_plaintext for name, found in pending.items() if found is not None} == {
        "in": False,
        "out": True,
    }
    assert keyring.plaintext_classes == ("in",)
    assert keyring.partly_plaintext == {"in", "out"}
    assert tuple(keyring.created) == ("out", "stays")
