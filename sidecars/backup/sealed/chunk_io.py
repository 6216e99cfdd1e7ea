"""Chunks to and from a store: bytes of any length in, whole chunks sealed and counted; and the way back.

What the chunks hold is ordinary gzip, by Intel's ISA-L through python-isal (ADR 12).
"""

import hashlib
from typing import Any, BinaryIO, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from isal import igzip_threaded

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.sidecars.backup.stores.store import ReadStream, Upload
from sealwire.sidecars.errors import BackupReason, Unsound

# ISA-L's levels are 0 to 3. On dumps of encrypted collections, 3 saves 1 % more and takes twice as long.
_GZIP_LEVEL = 2
_BLOCK_BYTES = 1 << 20


# STREAM over AES-256-GCM: a byte stream as chunks that open only whole, in order, and up to the real end.
#
# STREAM of Hoang, Reyhanitabar, Rogaway and Vizar (Online Authenticated-Encryption and its Nonce-Reuse
# Misuse-Resistance, CRYPTO 2015, section 7): chunk i is sealed under the nonce (i, is it the last?), so
# none can be moved, dropped, repeated or appended, and an end that was cut off is noticed. No I/O here.
#
#     nonce, 12 B = 11 B counter from 0, big-endian | 1 B: 0, and 1 for the last chunk
#     chunk = AES-256-GCM ciphertext | 16 B tag

TAG_BYTES = 16
# With chunks of 1 MiB: 16 TiB, 2**40 blocks under one key. GCM's bound on telling it from a random function
# is then about 2**80 / 2**129; a larger backup is refused instead of weakened.
MAX_CHUNKS = 1 << 24


class ChunkCipher(Unpicklable):
    """Seals or opens the chunks of one backup, each once and in order. `key` belongs to this stream alone."""

    __slots__ = ("_aead", "_counter", "_ended")

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes, never used with another stream."""
        if len(key) != 32:
            raise ValueError("AES-256 takes a key of 32 bytes")
        self._aead = AESGCM(key)
        self._counter = 0
        self._ended = False

    def seal(self, plaintext: bytes | memoryview, *, last: bool) -> bytes:
        """The next chunk. Raises Unsound TOO_LARGE; ValueError after the last one."""
        sealed = self._aead.encrypt(self._nonce(last=last), plaintext, None)
        self._advance(last=last)
        return sealed

    def open(self, sealed: bytes, *, last: bool, where: str) -> bytes:
        """The next chunk's plaintext. Raises Unsound TRUNCATED, ALTERED, TOO_LARGE.

        `last` is what the file says: whether anything stands behind this chunk.
        """
        try:
            plaintext = self._aead.decrypt(self._nonce(last=last), sealed, None)
        except InvalidTag:
            raise self._refusal(sealed, last=last, where=where) from None
        self._advance(last=last)
        return plaintext

    def _refusal(self, sealed: bytes, *, last: bool, where: str) -> Unsound:
        hint = "restore another backup, and find out what happened to this one"
        if last and self._is_inner(sealed):
            text = f"{where} was cut off in chunk {self._counter}"
            return Unsound(BackupReason.TRUNCATED, text, hint)
        text = f"{where} was altered or cut off in chunk {self._counter}"
        return Unsound(BackupReason.ALTERED, text, hint)

    def _is_inner(self, sealed: bytes) -> bool:
        """Whether `sealed` is a genuine chunk that others stood behind: a cut at the border of two."""
        try:
            self._aead.decrypt(self._nonce(last=False), sealed, None)
        except InvalidTag:
            return False
        return True

    def _nonce(self, *, last: bool) -> bytes:
        if self._ended:
            raise ValueError("the last chunk was processed already")
        if self._counter >= MAX_CHUNKS:
            text = f"a backup has at most {MAX_CHUNKS} chunks"
            raise Unsound(BackupReason.TOO_LARGE, text, "back up databases in several files")
        return self._counter.to_bytes(11, "big") + bytes((last,))

    def _advance(self, *, last: bool) -> None:
        self._counter += 1
        self._ended = last


class Counted:
    """Bytes that pass: how many there were, and their checksum."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.size = 0

    def _count(self, data: bytes) -> bytes:
        self._sha256.update(data)
        self.size += len(data)
        return data

    @property
    def sha256(self) -> str:
        """The checksum of all bytes so far, in hexadecimal."""
        return self._sha256.hexdigest()


class ChunkWriter(Counted):
    """Cuts what is written into chunks, seals them, and uploads them behind `header`."""

    def __init__(self, upload: Upload, header: bytes, key: bytes, chunk_bytes: int) -> None:
        """`key`: as `ChunkCipher` takes it."""
        super().__init__()
        self._upload = upload
        self._cipher = ChunkCipher(key)
        self._chunk_bytes = chunk_bytes
        self._pending = bytearray()
        self._put(header)

    def write(self, data: bytes, /) -> int:
        """Take all of `data`. Memory: one chunk. Raises Unavailable, Unsound TOO_LARGE."""
        self._pending += data
        # One byte more than a chunk has to be there: only `finish` knows which chunk is the last.
        while len(self._pending) > self._chunk_bytes:
            self._put(self._cipher.seal(bytes(self._pending[: self._chunk_bytes]), last=False))
            del self._pending[: self._chunk_bytes]
        return len(data)

    def flush(self) -> None:
        """Does nothing: a chunk is sealed when it is full."""

    def finish(self) -> None:
        """Seal the last chunk, which may be short or empty."""
        self._put(self._cipher.seal(bytes(self._pending), last=True))
        self._pending.clear()

    def _put(self, data: bytes) -> None:
        self._upload.write(self._count(data))


class ChunkReader:
    """Opens the chunks that stand behind a header, one at a time; no byte leaves it unauthenticated."""

    def __init__(self, stream: "CountedStream", key: bytes, chunk_bytes: int, where: str) -> None:
        """`key`: as `ChunkCipher` takes it."""
        self._stream = stream
        self._cipher = ChunkCipher(key)
        self._sealed_bytes = chunk_bytes + TAG_BYTES
        self._where = where
        self._ahead = b""
        self._plaintext = memoryview(b"")
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, up to one chunk; b"" after the authenticated end only.

        Raises Unsound TRUNCATED, ALTERED, TOO_LARGE; Unavailable.
        """
        while not self._plaintext and not self._ended:
            self._plaintext = memoryview(self._next_chunk())
        taken = len(self._plaintext) if size < 0 else size
        data, self._plaintext = bytes(self._plaintext[:taken]), self._plaintext[taken:]
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        """The same as `read`, for decompressors that bring their own buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next_chunk(self) -> bytes:
        # The first byte of the next chunk says that this one is not the last.
        sealed = self._ahead + self._stream.read_exactly(self._sealed_bytes + 1 - len(self._ahead))
        last = len(sealed) <= self._sealed_bytes
        self._ahead = sealed[self._sealed_bytes :]
        plaintext = self._cipher.open(sealed[: self._sealed_bytes], last=last, where=self._where)
        self._ended = last
        return plaintext


class CountedStream(Counted):
    """A stored object while it is read: how long it is, and its checksum."""

    def __init__(self, stream: ReadStream) -> None:
        super().__init__()
        self._stream = stream
        self.close = stream.close

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end of the object."""
        parts = []
        while size > 0 and (part := self._stream.read(size)):
            parts.append(part)
            size -= len(part)
        return self._count(b"".join(parts))


class Gunzipped:
    """The bytes inside gzip. One thread opens chunks and decompresses while another uses what came out."""

    def __init__(self, chunks: ChunkReader) -> None:
        """Closing it leaves `chunks` open. Memory: a few blocks."""
        self._opened = _threaded(chunks, "rb")

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; b"" at the end.

        Raises what `chunks` raises, of the read that would have needed the bytes; EOFError, zlib.error,
        OSError where there is no gzip.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK_BYTES), b""))
        data = self._opened.read(size)
        if not data and size and not self._is_at_end():
            # The library waits 10 ms for its thread, and takes a thread that has ended for the end. One that
            # was slow may have left its last block between these two looks: it lies there now.
            data = self._opened.read(size)
            if not data and not self._is_at_end():
                raise EOFError
        return data

    def close(self) -> None:
        """Stop, wherever it is."""
        self._opened.close()

    def _is_at_end(self) -> bool:
        return bool(cast(Any, self._opened).raw.eof)


def gzipped(chunks: ChunkWriter) -> BinaryIO:
    """Takes what is to be compressed into chunks. Memory: a few blocks.

    One thread compresses and seals while another reads the server. What `chunks` raises comes out of a later
    write, or of close. Closing it leaves `chunks` open.
    """
    return _threaded(chunks, "wb")


def _threaded(stream: ChunkWriter | ChunkReader, mode: str) -> BinaryIO:
    opened = igzip_threaded.open(  # type: ignore[no-untyped-call]
        stream, mode, compresslevel=_GZIP_LEVEL, threads=1, block_size=_BLOCK_BYTES
    )
    return cast(BinaryIO, opened)
