"""AES-SIV of short values against the library and the reference.

Only a compiled core uses it, and is tested by `make test-compiled`; a plain one gives the same answers.
"""

import copy
import json
import pickle
import random
from pathlib import Path
from typing import cast

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import example, given
from hypothesis import strategies as st

from sealwire import core_is_compiled, short_siv_is_in_use
from sealwire.crypto.cipher import _checked
from sealwire.crypto.errors import SelfTestFailed
from sealwire.crypto.short_siv import SHORT_BYTES, ShortSiv, SivKey
from tests.crypto import reference_siv

HEADER = bytes(range(13))
KEY = bytes(range(100, 164))
SHORT = ShortSiv(SivKey(KEY), HEADER)
WYCHEPROOF = json.loads((Path(__file__).parent / "vectors" / "wycheproof-aes-siv.json").read_bytes())["tests"]
CASES = 1_000_000
KEYS = CASES // SHORT_BYTES
"""Each of them with one value of each length."""
# NIST SP 800-38B, D.3: AES-256, its subkeys, and the message of which the examples are beginnings.
NIST_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
NIST_MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
NIST_TAGS = {
    0: 0x028962F61B7BF89EFC6B551F4667D983,
    16: 0x28A7023F452E8F82BD4BF28D8C37C35C,
    40: 0xAAF3D8F1DE5640C232F5B169B9C911E6,
    64: 0xE1992190549F6ED5696A2C056C315410,
}
# Below a block, at its end, above it, at the end of the second, in the third, and the longest.
SHAPES = (1, 15, 16, 17, 32, 47, SHORT_BYTES)

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


def test_a_plain_core_does_not_use_it() -> None:
    assert core_is_compiled() or not short_siv_is_in_use()


@pytest.mark.parametrize("case", WYCHEPROOF, ids=lambda case: case["tcId"])
def test_wycheproof(case: dict[str, str]) -> None:
    key, header, value, sealed = (bytes.fromhex(case[name]) for name in ("key", "aad", "msg", "ct"))
    short = ShortSiv(SivKey(key), header)
    assert short.seal(value) == header + sealed
    assert short.open(sealed, 0, len(sealed)) == value
    for bit in range(8 * len(sealed)):
        altered = int.from_bytes(sealed, "big") ^ 1 << bit
        with pytest.raises(InvalidTag):
            short.open(altered.to_bytes(len(sealed), "big"), 0, len(sealed))


def test_the_subkeys_are_those_of_nist() -> None:
    key = SivKey(NIST_KEY + bytes(32))
    assert key.block_mac(0) == 0xE568F68194CF76D6174D4CC04310A854
    assert key.of_last_whole == 0xCAD1ED03299EEDAC2E9A99808621502F
    assert key.of_last_partial == 0x95A3DA06533DDB585D3533010C42A0D9


@pytest.mark.parametrize("length", NIST_TAGS)
def test_the_subkeys_make_the_tags_of_nist(length: int) -> None:
    key = SivKey(NIST_KEY + bytes(32))
    message = NIST_MESSAGE[:length]
    blocks = [message[at : at + 16] for at in range(0, length, 16)] or [b""]
    chain = 0
    for block in blocks[:-1]:
        chain = key.block_mac(chain ^ int.from_bytes(block, "big"))
    is_whole = len(blocks[-1]) == 16
    last = blocks[-1] if is_whole else (blocks[-1] + b"\x80").ljust(16, b"\0")
    white = key.of_last_whole if is_whole else key.of_last_partial
    assert key.block_mac(chain ^ int.from_bytes(last, "big") ^ white) == NIST_TAGS[length]


def test_the_first_block_of_counter_mode_is_that_of_nist() -> None:
    counter = SivKey(bytes(32) + NIST_KEY).counter  # NIST SP 800-38A, F.5.5
    assert counter(bytes(range(0xF0, 0x100))).hex() == "0bdf7df1591716335e9a8b15c860c502"


# In the core that uses it this takes some seconds, in a plain one half a minute.
@pytest.mark.parametrize("seed", [pytest.param(21, marks=() if short_siv_is_in_use() else pytest.mark.slow)])
def test_a_million_values_are_sealed_as_by_the_library(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(KEYS):
        key, header = source.randbytes(64), source.randbytes(source.randint(1, 15))
        short, library = ShortSiv(SivKey(key), header), AESSIV(key)
        for length in range(1, SHORT_BYTES + 1):
            value = source.randbytes(length)
            sealed = short.seal(value)
            assert sealed == header + library.encrypt(value, [header])
            assert short.open(sealed, len(header), len(sealed)) == value


class FaultAt:
    """Short AES-SIV that is wrong for one length."""

    def __init__(self, length: int, *, sealing: bool) -> None:
        self._short = ShortSiv(SivKey(KEY), HEADER)
        self._length = length
        self._sealing = sealing

    def seal(self, value: bytes) -> bytes:
        sealed = self._short.seal(value)
        return sealed[:-1] + b"?" if self._sealing and len(value) == self._length else sealed

    def open(self, buf: bytes, start: int, end: int) -> bytes:
        value = self._short.open(buf, start, end)
        return value + b"?" if not self._sealing and len(value) == self._length else value


@pytest.mark.plain_core(reason="puts a faulty object in the place of a final class")
@pytest.mark.parametrize("sealing", [True, False])
@pytest.mark.parametrize("length", SHAPES)
def test_a_fault_at_one_length_is_found_before_it_is_used(length: int, *, sealing: bool) -> None:
    with pytest.raises(SelfTestFailed):
        _checked(cast(ShortSiv, FaultAt(length, sealing=sealing)), AESSIV(KEY), HEADER)


def test_what_is_sound_is_used() -> None:
    assert _checked(SHORT, AESSIV(KEY), HEADER) is SHORT
