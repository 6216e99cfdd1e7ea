"""AES-256-SIV of short values, one or many at a time; what does not depend on the value is made once.

In use only in builds that ask for it, SEALWIRE_SHORT_SIV=1, and not if a process has SEALWIRE_SHORT_SIV=0 in
its environment (ADR 21). `sealwire --version` says so. docs/format/short-values.md argues for it.

Most covered values are numbers, dates, codes and names: one to three blocks of AES. There the library's
AES-SIV spends nearly all of its time on setting up what is the same for every value of one header. This
module keeps that and does what RFC 5297 arranges around the blocks; each block is the library's AES.
A call of the library takes longer than a block. So blocks of many values of one header are done together:
all counters in one call, and in CMAC, whose blocks depend on each other within a value, all those that are
as far from the ends of their values. A value of 400 takes 74 ns to open and 113 to seal.

One value has methods of its own, `seal_one` and `open_one`: for a batch of one the lists and buffers of a
batch took 250 ns more than the 540 to 580 of the value. Both ways have the same tables, last block, counters
and comparison; only the order in which blocks are done differs.

    values     |aaaa aaaa a   |bb      |cccc cccc   |     each in whole blocks, one behind the other
    call 1     |aaaa          |        |            |     two blocks before the end
    call 2     |     aaaa     |        |cccc        |     one before the end, with its own value's chain
    call 3     |          a   |bb      |     cccc   |     the end: all tags

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
_FILLS: Final = [bytes(unused) for unused in range(BLOCK_BYTES)]
_WORD_BYTES: Final = 8
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

    def seal_one(self, value: bytes) -> bytes:
        """Header, tag and ciphertext of `value`, which has 1 to SHORT_BYTES bytes: what `seal` gives for it.

        Cost: a block of AES twice for each 16 bytes; one call more than it has blocks
        """
        length: i64 = len(value)
        padded = value + _ZEROS
        tag = self._tag_of_one(padded, length)
        out = BytesWriter()
        out.write(self._header)
        out.write(tag)
        _write_combined(out, padded, 0, self._keystream_of_one(tag, 0, length))
        out.truncate(len(self._header) + SIV_BYTES + length)
        return out.getvalue()

    def open_one(self, buf: bytes, start: int, end: int) -> bytes:
        """The value whose tag begins at `start` in `buf` and whose ciphertext ends at `end`.

        Shape:   1 to SHORT_BYTES bytes of ciphertext
        Raises:  InvalidTag
        Cost:    as `seal_one`
        """
        at: i64 = start + SIV_BYTES
        length: i64 = end - at
        stream = self._keystream_of_one(buf, start, length)
        out = BytesWriter()
        if at + len(stream) <= len(buf):
            _write_combined(out, buf, at, stream)
        else:
            _write_combined(out, buf[at:end] + _ZEROS, 0, stream)
        padded = out.getvalue()
        _compare(self._tag_of_one(padded, length), buf, start)
        return padded[:length]

    def _tag_of_one(self, padded: bytes, length: i64) -> bytes:
        """S2V of the first `length` bytes of `padded`, which goes on to the end of the block at least."""
        left: i64 = 0
        right: i64 = 0
        last = _padded(length) - BLOCK_BYTES
        at: i64 = 0
        while at < last:
            left ^= read_i64_le(padded, at)
            right ^= read_i64_le(padded, at + 8)
            at += BLOCK_BYTES
            if at == last:
                white = length % BLOCK_BYTES * BLOCK_BYTES
                left ^= read_i64_le(self._before_last, white)
                right ^= read_i64_le(self._before_last, white + 8)
            block = BytesWriter()
            write_i64_le(block, left)
            write_i64_le(block, right)
            chain = self._mac(block.getvalue())
            left, right = read_i64_le(chain, 0), read_i64_le(chain, 8)
        out = BytesWriter()
        self._write_last(out, padded, 0, length, left, right)
        return self._mac(out.getvalue())

    def _keystream_of_one(self, buf: bytes, tag: i64, length: i64) -> bytes:
        """What `length` bytes are combined with, in whole blocks, for the tag that begins at `tag`."""
        counters = BytesWriter()
        _write_counters(counters, buf, tag, length)
        return self._counter(counters.getvalue())

    def seal(self, values: list[bytes]) -> list[bytes]:
        """Header, tag and ciphertext of each of `values`, which have 1 to SHORT_BYTES bytes.

        Cost: a block of AES twice for each 16 bytes; one call more than the longest value has blocks
        """
        plain, lengths = BytesWriter(), BytesWriter()
        for value in values:
            length: i64 = len(value)
            plain.write(value)
            plain.write(_FILLS[-length % BLOCK_BYTES])
            write_i64_le(lengths, length)
        padded, sizes = plain.getvalue(), lengths.getvalue()
        tags = self._tags(padded, sizes)
        stream = self._keystream(tags, sizes)
        out = BytesWriter()  # one: a writer for each value takes 310 of 8,400 instructions more
        at: i64 = 0
        for size in range(0, len(sizes), _WORD_BYTES):
            length = read_i64_le(sizes, size)
            out.write(self._header)
            _write_block(out, tags, size * (BLOCK_BYTES // _WORD_BYTES))
            end = at + _padded(length)
            unused = end - at - length
            while at < end:
                write_i64_le(out, read_i64_le(padded, at) ^ read_i64_le(stream, at))
                at += _WORD_BYTES
            out.truncate(len(out) - unused)
        joined = out.getvalue()
        sealed: list[bytes] = []
        begin = 0
        for value in values:
            finish = begin + len(self._header) + SIV_BYTES + len(value)
            sealed.append(joined[begin:finish])
            begin = finish
        return sealed

    def open(self, buf: bytes, places: bytes) -> list[bytes]:
        """The values at `places` in `buf`: for each, where its tag begins, and how long its ciphertext is.

        Shape:   pairs of 64-bit integers, little-endian; 1 to SHORT_BYTES bytes of ciphertext behind the tag
        Raises:  InvalidTag if any of them is not authentic; then none is returned
        Cost:    as `seal`
        """
        tags, sizes, ciphertext = _gathered(buf, places)
        padded = _combined(ciphertext, self._keystream(tags, sizes))
        _compare(self._tags(padded, sizes), tags, 0)
        opened: list[bytes] = []
        at: i64 = 0
        for size in range(0, len(sizes), _WORD_BYTES):
            length = read_i64_le(sizes, size)
            opened.append(padded[at : at + length])
            at += _padded(length)
        return opened

    def _tags(self, padded: bytes, sizes: bytes) -> bytes:
        """S2V of values that follow each other in `padded`, each in whole blocks.

        Blocks of one value depend on each other, those of different values do not. So the blocks that are as
        far from the ends of their values are done together, and the last ones are ready together.
        """
        chain = b""
        for behind in range(_most_blocks(sizes) - 1, 0, -1):
            chain = self._mac(self._before_the_end(padded, sizes, chain, behind))
        return self._mac(self._at_the_end(padded, sizes, chain))

    def _before_the_end(self, padded: bytes, sizes: bytes, chain: bytes, behind: i64) -> bytes:
        """The blocks with `behind` more behind them, as AES takes them; `chain`: of the blocks before."""
        out = BytesWriter()
        before_last = self._before_last
        start: i64 = 0
        chained: i64 = 0
        for size in range(0, len(sizes), _WORD_BYTES):
            length = read_i64_le(sizes, size)
            end = start + _padded(length)
            at = end - (behind + 1) * BLOCK_BYTES
            if at >= start:
                left, right = read_i64_le(padded, at), read_i64_le(padded, at + 8)
                if at > start:
                    left ^= read_i64_le(chain, chained)
                    right ^= read_i64_le(chain, chained + 8)
                    chained += BLOCK_BYTES
                if behind == 1:
                    white = length % BLOCK_BYTES * BLOCK_BYTES
                    left ^= read_i64_le(before_last, white)
                    right ^= read_i64_le(before_last, white + 8)
                write_i64_le(out, left)
                write_i64_le(out, right)
            start = end
        return out.getvalue()

    def _at_the_end(self, padded: bytes, sizes: bytes, chain: bytes) -> bytes:
        """The last block of each value, as AES takes it; `chain`: of the blocks before them."""
        out = BytesWriter()
        start: i64 = 0
        chained: i64 = 0
        for size in range(0, len(sizes), _WORD_BYTES):
            length = read_i64_le(sizes, size)
            left: i64 = 0
            right: i64 = 0
            if length > BLOCK_BYTES:
                left, right = read_i64_le(chain, chained), read_i64_le(chain, chained + 8)
                chained += BLOCK_BYTES
            self._write_last(out, padded, start, length, left, right)
            start += _padded(length)
        return out.getvalue()

    def _write_last(
        self, out: BytesWriter, padded: bytes, start: i64, length: i64, left: i64, right: i64
    ) -> None:
        """The last block of the value at `start`, as AES takes it; `left`, `right`: the chain, or 0."""
        before = _padded(length) - BLOCK_BYTES
        at = start + before
        mask = (length - before) * BLOCK_BYTES
        white = mask if before == 0 else (BLOCK_BYTES + length % BLOCK_BYTES) * BLOCK_BYTES
        left ^= (read_i64_le(padded, at) & read_i64_le(_MASKS, mask)) ^ read_i64_le(self._last, white)
        at, mask, white = at + 8, mask + 8, white + 8
        right ^= (read_i64_le(padded, at) & read_i64_le(_MASKS, mask)) ^ read_i64_le(self._last, white)
        write_i64_le(out, left)
        write_i64_le(out, right)

    def _keystream(self, tags: bytes, sizes: bytes) -> bytes:
        """The key stream for values of these lengths, in whole blocks; that of a value begins at its tag."""
        counters = BytesWriter()
        for size in range(0, len(sizes), _WORD_BYTES):
            _write_counters(counters, tags, size * (BLOCK_BYTES // _WORD_BYTES), read_i64_le(sizes, size))
        return self._counter(counters.getvalue())


def _write_counters(out: BytesWriter, buf: bytes, tag: i64, length: i64) -> None:
    """The counter blocks for `length` bytes and the tag that begins at `tag` in `buf`."""
    left = read_i64_be(buf, tag)
    right = read_i64_be(buf, tag + 8) & _COUNTER_MASK
    end = right + _padded(length) // BLOCK_BYTES
    while right < end:
        write_i64_be(out, left)
        write_i64_be(out, right)
        right += 1


def _gathered(buf: bytes, places: bytes) -> tuple[bytes, bytes, bytes]:
    """Tags, lengths, and ciphertexts in whole blocks, which end with anything, one behind the other."""
    tags, lengths, ciphertext = BytesWriter(), BytesWriter(), BytesWriter()
    for place in range(0, len(places), 2 * _WORD_BYTES):
        tag, length = read_i64_le(places, place), read_i64_le(places, place + _WORD_BYTES)
        _write_block(tags, buf, tag)
        write_i64_le(lengths, length)
        source, at = buf, tag + SIV_BYTES
        end = at + _padded(length)
        if end > len(buf):
            source, at, end = buf[at:] + _ZEROS, 0, end - at
        while at < end:
            _write_block(ciphertext, source, at)
            at += BLOCK_BYTES
    return tags.getvalue(), lengths.getvalue(), ciphertext.getvalue()


def _compare(tags: bytes, buf: bytes, start: i64) -> None:
    """Raises InvalidTag if `tags` differ anywhere from what begins at `start`. All of them are looked at."""
    differences = read_i64_le(_ZEROS, 0)
    for at in range(0, len(tags), _WORD_BYTES):
        differences |= read_i64_le(tags, at) ^ read_i64_le(buf, start + at)
    if differences != 0:
        raise InvalidTag


def _combined(left: bytes, right: bytes) -> bytes:
    """Both, whole blocks of the same number, by exclusive or."""
    out = BytesWriter()
    _write_combined(out, left, 0, right)
    return out.getvalue()


def _write_combined(out: BytesWriter, buf: bytes, start: i64, stream: bytes) -> None:
    """As many bytes as `stream` has, whole blocks: those of `buf` from `start` on, combined with it."""
    for at in range(0, len(stream), _WORD_BYTES):
        write_i64_le(out, read_i64_le(buf, start + at) ^ read_i64_le(stream, at))


def _most_blocks(sizes: bytes) -> i64:
    most = read_i64_le(_ZEROS, 0)
    for size in range(0, len(sizes), _WORD_BYTES):
        length = read_i64_le(sizes, size)
        most = length if length > most else most
    return _padded(most) // BLOCK_BYTES


def _padded(length: i64) -> i64:
    """So many bytes have the whole blocks that hold `length` bytes."""
    return (length + (BLOCK_BYTES - 1)) // BLOCK_BYTES * BLOCK_BYTES


def _write_block(out: BytesWriter, buf: bytes, at: i64) -> None:
    write_i64_le(out, read_i64_le(buf, at))
    write_i64_le(out, read_i64_le(buf, at + 8))


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
