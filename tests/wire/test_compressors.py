"""Compressors: what comes out has the announced length, and no peer can make it more."""

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
from tests.compressed_messages import NUMBERS, deflated, inflated

ALL = [compressor_named(name) for name in COMPRESSOR_NAMES]
each = pytest.mark.parametrize("compressor", ALL, ids=lambda compressor: compressor.name)


def test_the_numbers_are_those_of_the_protocol() -> None:
    assert {compressor.name: compressor.number for compressor in ALL} == NUMBERS


@each
@given(data=st.binary(max_size=5000) | st.binary(max_size=40).map(lambda data: data * 1000))
def test_all_read_what_others_write(compressor: Compressor, data: bytes) -> None:
    assert compressor.inflate(deflated(data, compressor.number), len(data)) == data
    assert inflated(compressor.compress(data), compressor.number) == data


@each
@given(data=st.binary(min_size=1, max_size=3000), off=st.integers(-3000, 3000).filter(bool))
def test_another_length_is_refused(compressor: Compressor, data: bytes, off: int) -> None:
    with pytest.raises(Uninflatable):
        compressor.inflate(deflated(data, compressor.number), max(len(data) + off, 0))


@each
@given(data=st.binary(max_size=3000), cut=st.integers(1, 3000))
def test_a_cut_end_is_refused(compressor: Compressor, data: bytes, cut: int) -> None:
    whole = deflated(data, compressor.number)
    with pytest.raises(Uninflatable):
        compressor.inflate(whole[: max(len(whole) - cut, 0)], len(data))


@each
@given(data=st.binary(max_size=300), more=st.binary(min_size=1, max_size=20))
def test_bytes_behind_the_end_are_refused(compressor: Compressor, data: bytes, more: bytes) -> None:
    with pytest.raises(Uninflatable):
        compressor.inflate(deflated(data, compressor.number) + more, len(data))


@each
@given(data=st.binary(max_size=3000), size=st.integers(0, 100_000))
def test_nothing_else_escapes(compressor: Compressor, data: bytes, size: int) -> None:
    with suppress(Uninflatable):
        assert len(compressor.inflate(data, size)) == size


@each
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


@each
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
