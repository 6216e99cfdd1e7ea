"""Compressed messages, made and read without the code under test."""

import struct
import zlib
from typing import Final

import cramjam
from backports import zstd

SNAPPY: Final = 1
ZLIB: Final = 2
ZSTD: Final = 3
NUMBERS: Final = {"snappy": SNAPPY, "zlib": ZLIB, "zstd": ZSTD}


def deflated(data: bytes, number: int) -> bytes:
    """`data`, compressed by the compressor of this id."""
    if number == ZLIB:
        return zlib.compress(data, 9)
    return zstd.compress(data) if number == ZSTD else bytes(cramjam.snappy.compress_raw(data))


def inflated(data: bytes, number: int) -> bytes:
    """What `data` was."""
    if number == ZLIB:
        return zlib.decompress(data)
    return zstd.decompress(data) if number == ZSTD else bytes(cramjam.snappy.decompress_raw(data))


def packed(message: bytes, number: int, *, size: int | None = None, inner: int = 2013) -> bytes:
    """A whole message, compressed; the header may say another size and opcode."""
    request_id, response_to = struct.unpack_from("<ii", message, 4)
    said = len(message) - 16 if size is None else size
    return framed(
        struct.pack("<iiB", inner, said, number) + deflated(message[16:], number), request_id, response_to
    )


def framed(payload: bytes, request_id: int = 1, response_to: int = 0) -> bytes:
    """`payload` behind the header of a compressed message."""
    return struct.pack("<iiii", 16 + len(payload), request_id, response_to, 2012) + payload


def unpacked(message: bytes) -> bytes:
    """The message inside a compressed one; another one as it is."""
    _, request_id, response_to, op_code = struct.unpack_from("<iiii", message)
    if op_code != 2012:
        return message
    inner, size, number = struct.unpack_from("<iiB", message, 16)
    content = inflated(message[25:], number)
    assert len(content) == size
    return struct.pack("<iiii", 16 + size, request_id, response_to, inner) + content
