"""Chunks to and from a store: bytes of any length in, whole chunks sealed and counted; and the way back.

What the chunks hold is ordinary gzip, by Intel's ISA-L through python-isal (ADR 12).
"""

import hashlib
from typing import Any, BinaryIO, cast

from isal import igzip_threaded

from sealwire.sidecars.backup.sealed.chunks import TAG_BYTES, ChunkCipher
from sealwire.sidecars.backup.stores.store import ReadStream, Upload

# ISA-L's levels are 0 to 3. On dumps of encrypted collections, 3 saves 1 % more and takes twice as long.
_GZIP_LEVEL = 2
_BLOCK_BYTES = 1 << 20


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
        """Take all of `data`. Memory: one chunk. Raises StoreUnavailable, BackupDamaged TOO_LARGE."""
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

        Raises BackupDamaged TRUNCATED, ALTERED, TOO_LARGE; StoreUnavailable.
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
