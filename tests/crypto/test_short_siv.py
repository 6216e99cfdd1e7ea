"""AES-SIV of short values against the library and the reference.

Only a compiled core uses it, and is tested by `make test-compiled`; a plain one gives the same answers.
"""

import copy
import pickle

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import example, given
from hypothesis import strategies as st

from sealwire.crypto.short_siv import SHORT_BYTES, ShortSiv, SivKey
from tests.crypto import reference_siv

HEADER = bytes(range(13))
KEY = bytes(range(100, 164))
SHORT = ShortSiv(SivKey(KEY), HEADER)

keys = st.binary(min_size=64, max_size=64)
headers = st.binary(min_size=1, max_size=15)
values = st.binary(min_size=1, max_size=SHORT_BYTES)
around = st.binary(max_size=40)


@given(key=keys, header=headers, value=values)
def test_sealed_as_the_library_and_the_reference_do(key: bytes, header: bytes, value: bytes) -> None:
    sealed = ShortSiv(SivKey(key), header).seal(value)
    assert sealed == header + AESSIV(key).encrypt(value, [header])
    assert sealed == header + reference_siv.encrypt(key, value, [header])


@pytest.mark.parametrize("length", range(1, SHORT_BYTES + 1))
def test_every_length_comes_back(length: int) -> None:
    for value in (bytes(length), b"\xff" * length, bytes(range(length))):
        sealed = SHORT.seal(value)
        assert sealed == HEADER + AESSIV(KEY).encrypt(value, [HEADER])
        assert SHORT.open(sealed, len(HEADER), len(sealed)) == value


# With many keys: a block that is doubled has its highest bit set in half of them.
@pytest.mark.parametrize("number", range(64))
def test_many_keys(number: int) -> None:
    key = number.to_bytes(64, "big")
    short = ShortSiv(SivKey(key), HEADER)
    for length in (1, 15, 16, 17, 31, 32, 33, SHORT_BYTES):
        assert short.seal(bytes(length)) == HEADER + AESSIV(key).encrypt(bytes(length), [HEADER])


@given(value=values, before=around, after=around)
@example(value=b"x", before=b"", after=b"")
def test_opened_wherever_it_lies(value: bytes, before: bytes, after: bytes) -> None:
    body = SHORT.seal(value)[len(HEADER) :]
    assert SHORT.open(before + body + after, len(before), len(before) + len(body)) == value


@given(value=values, data=st.data())
def test_a_changed_bit_anywhere_does_not_open(value: bytes, data: st.DataObject) -> None:
    body = bytearray(SHORT.seal(value)[len(HEADER) :])
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(InvalidTag):
        SHORT.open(bytes(body), 0, len(body))


@given(value=st.binary(min_size=2, max_size=SHORT_BYTES - 1), more=st.binary(min_size=1, max_size=1))
def test_another_length_does_not_open(value: bytes, more: bytes) -> None:
    body = SHORT.seal(value)[len(HEADER) :]
    for altered in (body + more, body[:-1]):
        with pytest.raises(InvalidTag):
            SHORT.open(altered, 0, len(altered))


def test_another_header_or_key_does_not_open() -> None:
    sealed = SHORT.seal(b"value")
    for other in (ShortSiv(SivKey(KEY), HEADER[:-1]), ShortSiv(SivKey(KEY[::-1]), HEADER)):
        with pytest.raises(InvalidTag):
            other.open(sealed, len(HEADER), len(sealed))


@pytest.mark.parametrize("header", [b"", bytes(16)])
def test_only_headers_below_a_block(header: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        ShortSiv(SivKey(KEY), header)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        SivKey(KEY[:-2])


@pytest.mark.parametrize("secret", [SivKey(KEY), SHORT])
def test_no_copy_leaves_the_process(secret: object) -> None:
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(secret)
    assert KEY.hex() not in repr(secret)
