"""Chunks to and from a store: bytes of any length in, whole chunks sealed and counted; and the way back."""

import hashlib
from typing import Self

from sealwire.sidecars.backup.sealed.chunks import TAG_BYTES, ChunkCipher
from sealwire.sidecars.backup.stores.store import ReadStream, Upload


class ChunkWriter:
    """Cuts what is written into chunks, seals them, and uploads them behind `header`."""

    def __init__(self, upload: Upload, header: bytes, cipher: ChunkCipher, chunk_bytes: int) -> None:
        self._upload = upload
        self._cipher = cipher
        self._chunk_bytes = chunk_bytes
        self._pending = bytearray()
        self._sha256 = hashlib.sha256()
        self.size = 0
        """Bytes uploaded."""
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

    @property
    def sha256(self) -> str:
        """The checksum of all bytes uploaded, in hexadecimal."""
        return self._sha256.hexdigest()

    def _put(self, data: bytes) -> None:
        self._sha256.update(data)
        self.size += len(data)
        self._upload.write(data)


class ChunkReader:
    """Opens the chunks that stand behind a header, one at a time; no byte leaves it unauthenticated."""

    def __init__(self, stream: "CountedStream", cipher: ChunkCipher, chunk_bytes: int, where: str) -> None:
        self._stream = stream
        self._cipher = cipher
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


class CountedStream:
    """A stored object while it is read: how long it is, and its checksum."""

    def __init__(self, stream: ReadStream) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.__exit__(*error)

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end of the object."""
        parts = []
        while size > 0 and (part := self._stream.read(size)):
            parts.append(part)
            size -= len(part)
        data = b"".join(parts)
        self._sha256.update(data)
        self.size += len(data)
        return data

    @property
    def sha256(self) -> str:
        """The checksum of all bytes read so far, in hexadecimal."""
        return self._sha256.hexdigest()
