"""OP_COMPRESSED: read and written, and refused where anything about it is not as it should be."""

import struct
import sys
import tracemalloc
from contextlib import suppress

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from sealwire.wire.compressors import (
    COMPRESSOR_NAMES,
    ZLIB_LEVELS,
    Compressor,
    CompressorMissing,
    Uninflatable,
    Zlib,
    compressor_named,
)
from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.op_compressed import WORTHWHILE_BYTES, compress, compressor_of, inflate
from tests.compressed_messages import NUMBERS, deflated, framed, inflated, packed, unpacked
from tests.strategies import made_op_msg
from tests.support.reasons import raising
from tests.wire.corpus import document, element, string

ALL = tuple(compressor_named(name) for name in COMPRESSOR_NAMES)
LIMIT = 48_000_000
each = pytest.mark.parametrize("compressor", ALL, ids=lambda compressor: compressor.name)


def message_of(text: bytes, request_id: int = 7, response_to: int = 0) -> bytes:
    body = document(element(2, b"ping", string(text)))
    return made_op_msg(body, request_id=request_id, response_to=response_to).message


PING = message_of(b"x" * 400)


def opened(message: bytes, allowed: tuple[Compressor, ...] = ALL, limit: int = LIMIT) -> bytes:
    return inflate(message, compressor_of(message, allowed), limit)


@each
@given(text=st.binary(max_size=2000), ids=st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)))
def test_a_message_survives_the_round_trip(compressor: Compressor, text: bytes, ids: tuple[int, int]) -> None:
    message = message_of(text, *ids)
    assert opened(packed(message, compressor.number)) == message
    sent = compress(message, compressor)
    assert unpacked(sent) == message
    assert len(sent) <= len(message)
    assert sent is message or opened(sent) == message


def test_what_would_not_be_shorter_stays() -> None:
    short = message_of(b"x" * (WORTHWHILE_BYTES - 100))
    assert compress(short, ALL[0]) is short
    dense = message_of(bytes(range(1, 250)) + bytes(range(249, 0, -1)))
    assert compress(dense, ALL[0]) is dense


class Fixed:
    """Makes any content so many bytes."""

    name, number = "fixed", 2

    def __init__(self, size: int) -> None:
        self._size = size

    def inflate(self, data: bytes, size: int) -> bytes:
        raise AssertionError("nothing is inflated in these tests")

    def compress(self, data: bytes) -> bytes:
        return bytes(self._size)


@pytest.mark.parametrize(("saved", "is_sent"), [(1, True), (0, False), (-1, False)])
def test_one_byte_less_is_worth_it_and_the_same_is_not(saved: int, is_sent: bool) -> None:
    sent = compress(PING, Fixed(len(PING) - 25 - saved))
    assert (sent is not PING) is is_sent
    assert len(sent) == len(PING) - (saved if is_sent else 0)


PAYLOAD = packed(PING, NUMBERS["zlib"])[25:]


def made(inner: int = 2013, size: int = len(PING) - 16, number: int = 2, data: bytes = PAYLOAD) -> bytes:
    return framed(struct.pack("<iiB", inner, size, number) + data)


NESTED = packed(packed(PING, 2), 2, inner=2012)
BROKEN = {
    "no fields": (framed(b""), WireReason.MESSAGE_TRUNCATED),
    "no compressor": (framed(bytes(8)), WireReason.MESSAGE_TRUNCATED),
    "another opcode": (PING, WireReason.OPCODE),
    "another length": (made() + b"\0", WireReason.MESSAGE_LENGTH),
    "noop": (made(number=0, data=PING[16:]), WireReason.COMPRESSOR),
    "a compressor of the future": (made(number=4), WireReason.COMPRESSOR),
    "the last compressor": (made(number=255), WireReason.COMPRESSOR),
    "nested": (NESTED, WireReason.OPCODE),
    "an old query inside": (made(inner=2004), WireReason.OPCODE),
    "an old reply inside": (made(inner=1), WireReason.OPCODE),
    "a negative size": (made(size=-1), WireReason.COMPRESSED_SIZE),
    "the lowest size": (made(size=-(2**31)), WireReason.COMPRESSED_SIZE),
    "the highest size": (made(size=2**31 - 1), WireReason.COMPRESSED_SIZE),
    "one byte too long": (made(size=LIMIT - 15), WireReason.COMPRESSED_SIZE),
    "a size of nothing": (made(size=0), WireReason.COMPRESSED_DATA),
    "one byte less": (made(size=len(PING) - 17), WireReason.COMPRESSED_DATA),
    "one byte more": (made(size=len(PING) - 15), WireReason.COMPRESSED_DATA),
    "all that is allowed": (made(size=LIMIT - 16), WireReason.COMPRESSED_DATA),
    "no data": (made(data=b""), WireReason.COMPRESSED_DATA),
    "data cut off": (made(data=PAYLOAD[:-1]), WireReason.COMPRESSED_DATA),
    "bytes behind": (made(data=PAYLOAD + b"\0"), WireReason.COMPRESSED_DATA),
    "data of another compressor": (made(number=3), WireReason.COMPRESSED_DATA),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused(name: str) -> None:
    message, reason = BROKEN[name]
    with raising(ProtocolError, reason):
        opened(message)


def test_only_what_was_agreed_is_inflated() -> None:
    for compressor in ALL:
        others = tuple(other for other in ALL if other is not compressor)
        with raising(ProtocolError, WireReason.COMPRESSOR):
            opened(packed(PING, compressor.number), others)


def test_the_limit_counts_the_header() -> None:
    assert opened(packed(PING, 2), limit=len(PING)) == PING
    with raising(ProtocolError, WireReason.COMPRESSED_SIZE):
        opened(packed(PING, 2), limit=len(PING) - 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(ProtocolError):
        assert opened(framed(data))[12:16] == PING[12:16]


# Compressors: what comes out has the announced length, and no peer can make it more.


COMPRESSORS = [compressor_named(name) for name in COMPRESSOR_NAMES]
each_compressor = pytest.mark.parametrize("compressor", COMPRESSORS, ids=lambda compressor: compressor.name)


def test_the_numbers_are_those_of_the_protocol() -> None:
    assert {compressor.name: compressor.number for compressor in COMPRESSORS} == NUMBERS


@each_compressor
@given(data=st.binary(max_size=5000) | st.binary(max_size=40).map(lambda data: data * 1000))
def test_all_read_what_others_write(compressor: Compressor, data: bytes) -> None:
    assert compressor.inflate(deflated(data, compressor.number), len(data)) == data
    assert inflated(compressor.compress(data), compressor.number) == data


@each_compressor
@given(data=st.binary(min_size=1, max_size=3000), off=st.integers(-3000, 3000).filter(bool))
def test_another_length_is_refused(compressor: Compressor, data: bytes, off: int) -> None:
    with pytest.raises(Uninflatable):
        compressor.inflate(deflated(data, compressor.number), max(len(data) + off, 0))


@each_compressor
@given(data=st.binary(max_size=3000), cut=st.integers(1, 3000))
def test_a_cut_end_is_refused(compressor: Compressor, data: bytes, cut: int) -> None:
    whole = deflated(data, compressor.number)
    with pytest.raises(Uninflatable):
        compressor.inflate(whole[: max(len(whole) - cut, 0)], len(data))


@each_compressor
@given(data=st.binary(max_size=300), more=st.binary(min_size=1, max_size=20))
def test_bytes_behind_the_end_are_refused(compressor: Compressor, data: bytes, more: bytes) -> None:
    with pytest.raises(Uninflatable):
        compressor.inflate(deflated(data, compressor.number) + more, len(data))


@each_compressor
@given(data=st.binary(max_size=3000), size=st.integers(0, 100_000))
def test_nothing_else_escapes(compressor: Compressor, data: bytes, size: int) -> None:
    with suppress(Uninflatable):
        assert len(compressor.inflate(data, size)) == size


@each_compressor
@pytest.mark.parametrize("said", [0, 1, 1000, 60_000])
def test_a_bomb_is_refused_before_memory_grows(compressor: Compressor, said: int) -> None:
    bomb = deflated(bytes(20_000_000), compressor.number)
    tracemalloc.start()
    try:
        with pytest.raises(Uninflatable):
            compressor.inflate(bomb, said)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(bomb) + 400_000


@each_compressor
def test_a_length_that_cannot_come_out_makes_no_room(compressor: Compressor) -> None:
    said = 47_000_000
    # snappy's own announcement says the same
    small = (
        bytes.fromhex("c0d9b416") + b"\xfe\1\0" * 10
        if compressor.name == "snappy"
        else deflated(b"x", compressor.number)
    )
    tracemalloc.start()
    try:
        with pytest.raises(Uninflatable):
            compressor.inflate(small, said)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 400_000


def test_a_window_beyond_the_content_is_refused() -> None:
    options = {
        int(zstd.CompressionParameter.window_log): 27,
        int(zstd.CompressionParameter.content_size_flag): 0,
    }
    writer = zstd.ZstdCompressor(options=options)
    data = writer.compress(b"x" * 500) + writer.flush()
    with pytest.raises(Uninflatable):
        compressor_named("zstd").inflate(data, 500)


@pytest.mark.parametrize("level", [ZLIB_LEVELS[0], ZLIB_LEVELS[-1]])
def test_zlib_has_levels(level: int) -> None:
    data = b"a text that repeats itself; " * 50 + bytes(range(256)) * 3
    assert inflated(Zlib(level).compress(data), NUMBERS["zlib"]) == data


@pytest.mark.parametrize(("name", "module"), [("snappy", "cramjam"), ("zstd", "backports")])
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    if name == "zstd" and sys.version_info >= (3, 14):
        pytest.skip("Python has it")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CompressorMissing):
        compressor_named(name)
