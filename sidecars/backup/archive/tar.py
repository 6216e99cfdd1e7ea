"""The tar of a backup: members with their checksums, the manifest last; and how a check reads it."""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import IO, Final, cast

from sealwire.sidecars.backup.archive.contents import Readable, cut_counted
from sealwire.sidecars.backup.archive.metadata import DATA
from sealwire.sidecars.backup.sealed.manifest import (
    MANIFEST_MEMBER,
    MAX_MANIFEST_BYTES,
    MAX_MEMBERS,
    Manifest,
    TarMember,
    parse,
    serialize,
)
from sealwire.sidecars.backup.sealed.payload import SealedReader, SealedWriter
from sealwire.sidecars.errors import BackupReason, Unsound

_FILE_MODE = 0o600
# More does not stay in the processor's cache, and takes twice as long.
_READ_BYTES = 1 << 18
_HINT = "restore another backup"
MAX_HEADERS_BYTES: Final = 1 << 17
"""The headers of one member, all together. tarfile keeps them, and whoever has a backup's public key can make
some; a path may have 4,096 bytes."""
_SKIPPED_BYTES: Final = 1 << 16


class TarWriter:
    """Members in the order in which they are added. tarfile makes the headers; nothing is buffered here.

    Format:  POSIX.1-2001 (pax), which every tar reads, with names and sizes of any length
    """

    def __init__(self, sink: SealedWriter, created: datetime) -> None:
        self._sink = sink
        self._created = int(created.timestamp())
        self._members: list[TarMember] = []

    def add(self, path: str, data: bytes, documents: int | None = None, namespace: str | None = None) -> None:
        """One file. Raises what the sink raises."""
        self._write(path, data)
        digest = hashlib.sha256(data).hexdigest()
        self._members.append(TarMember(path, len(data), digest, documents, namespace))

    def finish(self, manifest: Manifest) -> Manifest:
        """Add the manifest with the members that there are, end the tar, commit it; returns it."""
        complete = replace(manifest, members=tuple(self._members))
        self._write(MANIFEST_MEMBER, serialize(complete))
        end = 2 * tarfile.BLOCKSIZE
        self._sink.write(bytes(end + -(self._sink.tell() + end) % tarfile.RECORDSIZE))
        self._sink.commit(complete)
        return complete

    def _write(self, path: str, data: bytes) -> None:
        entry = tarfile.TarInfo(path)
        entry.size, entry.mtime, entry.mode = len(data), self._created, _FILE_MODE
        self._sink.write(entry.tobuf(tarfile.PAX_FORMAT))
        self._sink.write(data)
        self._sink.write(bytes(-len(data) % tarfile.BLOCKSIZE))


@dataclass(frozen=True, slots=True)
class Observed:
    """A file of the tar as it was read."""

    size: int
    sha256: str
    documents: int | None
    """How many BSON documents a `.bson` file is made of."""


class _Forward:
    """A stream as the file that tarfile asks for. It is only read forward, and little of it for headers."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._position = 0
        self.left: int | None = MAX_HEADERS_BYTES
        """How much may be read for headers; None while a member's content is."""

    def tell(self) -> int:
        """How much was read or skipped."""
        return self._position

    def seek(self, offset: int) -> int:
        """Skip what is before `offset`. Raises tarfile.StreamError for what has gone."""
        if offset < self._position:
            raise tarfile.StreamError("a stream cannot go back")
        while self._position < offset and self._take(min(offset - self._position, _SKIPPED_BYTES)):
            pass
        return self._position

    def read(self, size: int) -> bytes:
        """So many bytes, fewer only at the end. Raises tarfile.ReadError where headers have no end."""
        if self.left is not None:
            self.left -= size
            if self.left < 0:
                raise tarfile.ReadError("headers without end")
        pieces = []
        while size > 0 and (piece := self._take(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _take(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._position += len(piece)
        return piece


def members(stream: Readable) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Path and content of each member, None for what is no regular file. Raises tarfile.TarError.

    Cost: memory of MAX_HEADERS_BYTES, whatever the stream says
    """
    forward = _Forward(stream)
    with tarfile.open(fileobj=cast(IO[bytes], forward), mode="r:") as tar:
        while (entry := tar.next()) is not None:
            if entry.issparse():
                raise tarfile.ReadError("a sparse member: a few bytes stand for any number")
            # tarfile keeps every entry, for seeking back, and what is said for all of them
            tar.members, tar.pax_headers = [], {}  # type: ignore[attr-defined]
            forward.left = None
            yield entry.name, tar.extractfile(entry) if entry.isreg() else None
            forward.left = MAX_HEADERS_BYTES
    while stream.read(_SKIPPED_BYTES):
        pass  # what compressed it checks itself at its end


def read_archive(
    source: SealedReader, where: str, progress: Callable[[int], None]
) -> tuple[dict[str, Observed], Manifest]:
    """Every file of the tar by its path, and the manifest, which is the last one; nothing is kept.

    `progress` is told the bytes of each piece. Raises Unsound ARCHIVE, BSON, MANIFEST, and what reading
    raises.
    """
    files: dict[str, Observed] = {}
    manifest: Manifest | None = None
    damaged = Unsound(BackupReason.ARCHIVE, f"{where} does not hold the tar of a dump", _HINT)
    try:
        for path, file in members(source):
            if file is None or path in files or manifest is not None or len(files) >= MAX_MEMBERS:
                raise damaged
            if path == MANIFEST_MEMBER:
                manifest = parse(file.read(MAX_MANIFEST_BYTES + 1), f"{where}: {MANIFEST_MEMBER}")
            else:
                files[path] = _observe(file, path, progress)
    except tarfile.TarError:
        raise damaged from None
    if manifest is None:
        raise Unsound(BackupReason.MANIFEST, f"{where} has no manifest inside", _HINT)
    return files, manifest


def _observe(file: IO[bytes], path: str, progress: Callable[[int], None]) -> Observed:
    digest, size, documents = hashlib.sha256(), 0, 0
    is_bson = path.endswith(DATA)
    raw = ((data, 0) for data in iter(lambda: file.read(_READ_BYTES), b""))
    for data, count in cut_counted(file, _READ_BYTES) if is_bson else raw:
        digest.update(data)
        size += len(data)
        documents += count
        progress(len(data))
    return Observed(size, digest.hexdigest(), documents if is_bson else None)
