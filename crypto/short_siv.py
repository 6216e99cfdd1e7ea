"""AES-256-SIV of short values, with everything made once that does not depend on the value.

In use only in builds that ask for it, SEALWIRE_SHORT_SIV=1, and not if a process has SEALWIRE_SHORT_SIV=0 in
its environment (ADR 21). `sealwire --version` says so. docs/format/short-values.md argues for it.

Most covered values are numbers, dates, codes and names: one to three blocks of AES. There the library's
AES-SIV spends nearly all of its time on setting up what is the same for every value of one header. This
module keeps that and does what RFC 5297 arranges around the blocks; each block is the library's AES.

    S2V, one part of associated data   D = dbl(CMAC(0)) ^ CMAC(header), once for each header
        n < 16     T = dbl(D) ^ pad(value)       CMAC of one whole block: ^ K1
        n >= 16    T = value xorend D            CMAC: ^ K1 on a whole last block, else pad and ^ K2
    So what is combined with the value's last block, and with the one before, depends on n alone: two tables.
    CTR            from the tag with two bits cleared, which leaves room for 2**31 blocks without a carry

Nothing branches on, or is looked up by, a value or a key: only lengths decide, and those everyone can see.
Only bit operations are done with librt's fixed-width integers, and one addition that cannot overflow.
Source: RFC 5297 sections 2.4 to 2.7; RFC 4493 section 2.3.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NoReturn, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from librt.strings import BytesWriter, read_i64_be, read_i64_le, write_i64_be, write_i64_le

from sealwire.crypto.envelope import SIV_BYTES
from sealwire.crypto.unpicklable import refuse_to_serialise

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_extensions import i64

BLOCK_BYTES: Final = 16

SHORT_BYTES: Final = 4 * BLOCK_BYTES
"""Up to here this is faster than the library: a block more costs a call here, and next to nothing there."""

IS_IN_USE: Final = not __file__.endswith(".py") and os.environ.get("SEALWIRE_SHORT_SIV") != "0"
"""Whether values are sealed and opened by it: if this module is compiled, as SEALWIRE_SHORT_SIV=1 asks of a
build, and the environment does not turn it off. A plain one is slower than the library."""

_BITS: Final = 128
_ALL: Final = (1 << _BITS) - 1
_ZEROS: Final = bytes(BLOCK_BYTES)
# By how many bytes of a block are used: those, and no others.
_MASKS: Final = b"".join(b"\xff" * used + bytes(BLOCK_BYTES - used) for used in range(BLOCK_BYTES + 1))
# The second half of the first counter block, big-endian: bits 31 and 63 cleared (RFC 5297 section 2.5).
_COUNTER_MASK: Final = 0x7FFF_FFFF_7FFF_FFFF


@final
class SivKey:
    """The two AES keys of one AES-SIV key, and the subkeys of CMAC.

    Not for two threads at once: the library refuses that. The event loop has one.
    """

    __slots__ = ("counter", "mac", "of_last_partial", "of_last_whole")

    def __init__(self, key: bytes) -> None:
        """`key`: 64 bytes. Raises ValueError for a length that is not that of two AES keys."""
        half = len(key) // 2
        self.mac: Callable[[bytes], bytes] = _aes(key[:half])
        self.counter: Callable[[bytes], bytes] = _aes(key[half:])
        self.of_last_whole = _double(self.block_mac(0))
        self.of_last_partial = _double(self.of_last_whole)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_to_serialise(self)

    def block_mac(self, block: int) -> int:
        """One block under the first key."""
        return int.from_bytes(self.mac(block.to_bytes(BLOCK_BYTES, "big")), "big")


@final
class ShortSiv:
    """AES-256-SIV of values of 1 to SHORT_BYTES bytes with one part of associated data, always the same."""

    __slots__ = ("_before_last", "_counter", "_header", "_last", "_mac")

    def __init__(self, key: SivKey, header: bytes) -> None:
        """`header`: the associated data, 1 to 15 bytes. Raises ValueError for another length."""
        if not 0 < len(header) < BLOCK_BYTES:
            raise ValueError(f"a header of 1 to {BLOCK_BYTES - 1} bytes")
        self._header = header
        self._mac = key.mac
        self._counter = key.counter
        zero = key.block_mac(key.of_last_whole)
        padded = int.from_bytes(header, "big") << _unused_bits(len(header)) | _padding(len(header))
        d = _double(zero) ^ key.block_mac(padded ^ key.of_last_partial)
        self._last = _whitening_of_last(key, d)
        self._before_last = b"".join(_to_block(d >> 8 * used if used else 0) for used in range(BLOCK_BYTES))

    def __repr__(self) -> str:
        return "ShortSiv()"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_to_serialise(self)

    def seal(self, value: bytes) -> bytes:
        """Header, tag and ciphertext of `value`, which has 1 to SHORT_BYTES bytes.

        Cost: a block of AES twice for each 16 bytes
        """
        length = len(value)
        padded = value + _ZEROS
        tag = self._tag(padded, length)
        out = BytesWriter()
        out.write(self._header)
        out.write(tag)
        _write_combined(out, padded, 0, self._keystream(tag, 0, length))
        out.truncate(len(self._header) + SIV_BYTES + length)
        return out.getvalue()

    def open(self, buf: bytes, start: int, end: int) -> bytes:
        """The value whose tag lies at `start` and whose ciphertext ends at `end`.

        Shape:   1 to SHORT_BYTES bytes of ciphertext
        Raises:  InvalidTag
        Cost:    a block of AES twice for each 16 bytes
        """
        at = start + SIV_BYTES
        length = end - at
        stream = self._keystream(buf, start, length)
        out = BytesWriter()
        if at + len(stream) <= len(buf):
            _write_combined(out, buf, at, stream)
        else:
            _write_combined(out, buf[at:end] + _ZEROS, 0, stream)
        padded = out.getvalue()
        tag = self._tag(padded, length)
        left = read_i64_le(tag, 0) ^ read_i64_le(buf, start)
        right = read_i64_le(tag, 8) ^ read_i64_le(buf, start + 8)
        if left | right != 0:
            raise InvalidTag
        return padded[:length]

    def _tag(self, padded: bytes, length: int) -> bytes:
        """S2V of the first `length` bytes of `padded`, which goes on to the end of the block at least."""
        used = length % BLOCK_BYTES
        last = (length - 1) // BLOCK_BYTES * BLOCK_BYTES
        left, right = read_i64_le(_ZEROS, 0), read_i64_le(_ZEROS, 0)
        for at in range(0, last, BLOCK_BYTES):
            left ^= read_i64_le(padded, at)
            right ^= read_i64_le(padded, at + 8)
            if at + BLOCK_BYTES == last:
                left ^= read_i64_le(self._before_last, used * BLOCK_BYTES)
                right ^= read_i64_le(self._before_last, used * BLOCK_BYTES + 8)
            chain = self._mac(_pair(left, right))
            left, right = read_i64_le(chain, 0), read_i64_le(chain, 8)
        mask = (length - last) * BLOCK_BYTES
        white = length * BLOCK_BYTES if last == 0 else (BLOCK_BYTES + used) * BLOCK_BYTES
        left ^= (read_i64_le(padded, last) & read_i64_le(_MASKS, mask)) ^ read_i64_le(self._last, white)
        mask, white = mask + 8, white + 8
        right ^= (read_i64_le(padded, last + 8) & read_i64_le(_MASKS, mask)) ^ read_i64_le(self._last, white)
        return self._mac(_pair(left, right))

    def _keystream(self, buf: bytes, start: int, length: int) -> bytes:
        """What `length` bytes are combined with, up to a whole block, for the tag at `start`."""
        left = read_i64_be(buf, start)
        right = read_i64_be(buf, start + 8) & _COUNTER_MASK
        counters = BytesWriter()
        for _ in range(0, length, BLOCK_BYTES):
            write_i64_be(counters, left)
            write_i64_be(counters, right)
            right += 1
        return self._counter(counters.getvalue())


def _write_combined(out: BytesWriter, buf: bytes, start: int, stream: bytes) -> None:
    """Write as many bytes as `stream` has, whole blocks: those of `buf` from `start` on, combined with it."""
    for at in range(0, len(stream), 8):
        write_i64_le(out, read_i64_le(buf, start + at) ^ read_i64_le(stream, at))


def _pair(left: i64, right: i64) -> bytes:
    block = BytesWriter()
    write_i64_le(block, left)
    write_i64_le(block, right)
    return block.getvalue()


def _aes(key: bytes) -> Callable[[bytes], bytes]:
    """One block, or some, under `key`: each for itself, as CMAC and counters are built from it."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305 - blocks never repeat here


def _whitening_of_last(key: SivKey, d: int) -> bytes:
    """Blocks to combine with the last one: for 0 to 16 bytes, then for what is left of longer values."""
    blocks = [0]
    blocks += [_double(d) ^ _padding(used) ^ key.of_last_whole for used in range(1, BLOCK_BYTES)]
    blocks += [d ^ key.of_last_whole]
    blocks += [
        (d << _unused_bits(used) & _ALL) ^ _padding(used) ^ key.of_last_partial
        for used in range(1, BLOCK_BYTES)
    ]
    return b"".join(_to_block(block) for block in blocks)


def _double(block: int) -> int:
    """Multiply by x in GF(2**128), without a branch: the block comes from a key. RFC 5297 section 2.3."""
    return (block << 1 & _ALL) ^ 0x87 * (block >> _BITS - 1)


def _padding(used: int) -> int:
    """The bit that ends a block of `used` bytes, 0 to 15."""
    return 1 << _unused_bits(used) - 1


def _unused_bits(used: int) -> int:
    return _BITS - 8 * used


def _to_block(block: int) -> bytes:
    return block.to_bytes(BLOCK_BYTES, "big")
