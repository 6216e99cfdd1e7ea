"""The three ways in which the wire protocol compresses messages: snappy, zlib and zstd.

zlib is Python's. zstd is Python's from 3.14 on, and its backport before; snappy is cramjam's. Both are in the
extra `compression`. All three are asked for one thing that a peer cannot bend: never to write more than a
given length, however small the input is.
Source: OP_COMPRESSED (driver specifications), its table of compressor ids; RFC 1950; RFC 8878; snappy's
description of its raw format.
"""

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol, final

DEFAULT_ZLIB_LEVEL: Final = 1
"""The quickest: at a higher one a reply of 16 MB would keep all other sessions waiting for a second."""
ZLIB_LEVELS: Final = range(1, 10)

# What any decoder should offer (RFC 8878, 3.1.1.1.2); fast encoders use it whatever the content's length.
_LEAST_WINDOW_LOG: Final = 23
_ZSTD_LEVEL: Final = 1

# A copy of 64 bytes takes 3 bytes, and nothing else in the format grows as much.
_SNAPPY_GROWTH: Final = 32
_MAX_VARINT_BYTES: Final = 5


class Uninflatable(Exception):
    """Compressed data is broken, or not of the length that was announced. Says nothing of the content."""


class CompressorMissing(Exception):
    """A compressor's library is not installed."""

    hint = "pip install --require-hashes -r requirements/image.txt"


class Compressor(Protocol):
    """One of the three. All sessions of a process share it, for they run in one thread."""

    @property
    def name(self) -> str:
        """As in a handshake."""

    @property
    def number(self) -> int:
        """As in the header of a compressed message."""

    def inflate(self, data: bytes, size: int) -> bytes:
        """The content of `data`, `size` bytes. Raises Uninflatable when it is any other number of bytes.

        Cost: memory for what has come out so far, never for more than `size` and a fixed part.
        """

    def compress(self, data: bytes) -> bytes:
        """`data`, compressed. Cost: O(bytes), at once."""


@final
class Snappy:
    """Snappy's raw format, by cramjam."""

    name = "snappy"
    number = 1

    def __init__(self) -> None:
        """Raises CompressorMissing."""
        try:
            from cramjam import DecompressionError, snappy  # noqa: PLC0415 - an extra
        except ImportError:
            raise CompressorMissing("snappy needs cramjam") from None
        self._snappy = snappy
        self._broken = DecompressionError

    def inflate(self, data: bytes, size: int) -> bytes:
        """See Compressor. What is announced inside is compared before any room is made for it."""
        if _announced(data) != size or size > _SNAPPY_GROWTH * len(data):
            raise Uninflatable
        try:
            inflated = bytes(self._snappy.decompress_raw(data))
        except self._broken:
            raise Uninflatable from None
        if len(inflated) != size:
            raise Uninflatable
        return inflated

    def compress(self, data: bytes) -> bytes:
        """See Compressor."""
        return bytes(self._snappy.compress_raw(data))


def _announced(data: bytes) -> int:
    """The length that snappy's data begins with, as a varint of at most 32 bits; -1 where there is none."""
    size = 0
    for place, byte in enumerate(data[:_MAX_VARINT_BYTES]):
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return size
    return -1


@final
class Zlib:
    """RFC 1950, by Python's zlib."""

    name = "zlib"
    number = 2

    def __init__(self, level: int = DEFAULT_ZLIB_LEVEL) -> None:
        """`level` is one of ZLIB_LEVELS."""
        self._level = level

    def inflate(self, data: bytes, size: int) -> bytes:
        """See Compressor. One byte more than announced shows what is longer, and lets the end be seen."""
        inflater = zlib.decompressobj()
        try:
            inflated = inflater.decompress(data, size + 1)
        except zlib.error:
            raise Uninflatable from None
        if len(inflated) != size or not inflater.eof or inflater.unused_data:
            raise Uninflatable
        return inflated

    def compress(self, data: bytes) -> bytes:
        """See Compressor."""
        return zlib.compress(data, self._level)


@final
class Zstd:
    """RFC 8878, one frame, by Python's `compression.zstd` or its backport."""

    name = "zstd"
    number = 3

    def __init__(self) -> None:
        """Raises CompressorMissing."""
        try:
            if sys.version_info >= (3, 14):
                from compression import zstd  # noqa: PLC0415 - Python may be built without
            else:
                from backports import zstd  # noqa: PLC0415 - an extra
        except ImportError:
            raise CompressorMissing("zstd needs backports.zstd, or Python 3.14") from None
        self._zstd = zstd
        self._window = zstd.DecompressionParameter.window_log_max
        # Used again and again: to make one takes 50 us.
        self._writer = zstd.ZstdCompressor(_ZSTD_LEVEL)

    def inflate(self, data: bytes, size: int) -> bytes:
        """See Compressor. A frame may ask for a window of 128 MB: what the content needs is granted."""
        window_log = max(_LEAST_WINDOW_LOG, size.bit_length())
        inflater = self._zstd.ZstdDecompressor(options={self._window: window_log})
        try:
            inflated = inflater.decompress(data, size + 1)
        except self._zstd.ZstdError:
            raise Uninflatable from None
        if len(inflated) != size or not inflater.eof or inflater.unused_data:
            raise Uninflatable
        return inflated

    def compress(self, data: bytes) -> bytes:
        """See Compressor."""
        self._writer.set_pledged_input_size(len(data))
        return self._writer.compress(data, self._writer.FLUSH_FRAME)


_OPENERS: Final[Mapping[str, Callable[[int], Compressor]]] = {
    Snappy.name: lambda _: Snappy(),
    Zstd.name: lambda _: Zstd(),
    Zlib.name: Zlib,
}
"""The registry: the row of each opens it, with the level of zlib. Settings and labels name its rows."""
COMPRESSOR_NAMES: Final = tuple(_OPENERS)
"""All that the protocol has, but for the one that does nothing."""


def compressor_named(name: str, zlib_level: int = DEFAULT_ZLIB_LEVEL) -> Compressor:
    """One of COMPRESSOR_NAMES. Raises CompressorMissing."""
    return _OPENERS[name](zlib_level)
