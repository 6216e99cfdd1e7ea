"""The tar of a backup: members with their checksums, the manifest last; and how a check reads it."""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import IO, cast

from sealwire.sidecars.backup.archive.blocks import Readable, cut_counted
from sealwire.sidecars.backup.archive.names import DATA
from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason
from sealwire.sidecars.backup.sealed.manifest import (
    MANIFEST_MEMBER,
    MAX_MANIFEST_BYTES,
    MAX_MEMBERS,
    Manifest,
    Member,
    parse,
    serialize,
)
from sealwire.sidecars.backup.sealed.reader import SealedReader
from sealwire.sidecars.backup.sealed.writer import SealedWriter

_FILE_MODE = 0o600
# More does not stay in the processor's cache, and takes twice as long.
_READ_BYTES = 1 << 18
_HINT = "restore another backup"


class TarWriter:
    """Members in the order in which they are added. tarfile makes the headers; nothing is buffered here.

    Format:  POSIX.1-2001 (pax), which every tar reads, with names and sizes of any length
    """

    def __init__(self, sink: SealedWriter, created: datetime) -> None:
        self._sink = sink
        self._created = int(created.timestamp())
        self._members: list[Member] = []

    def add(self, path: str, data: bytes, documents: int | None = None, namespace: str | None = None) -> None:
        """One file. Raises what the sink raises."""
        self._write(path, data)
        digest = hashlib.sha256(data).hexdigest()
        self._members.append(Member(path, len(data), digest, documents, namespace))

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


def members(stream: Readable, buffer_bytes: int) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Path and content of each member, None for what is no regular file. Raises tarfile.TarError."""
    # tarfile asks a stream for nothing but read(), whatever its type says
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", bufsize=buffer_bytes) as tar:
        for entry in tar:
            # tarfile keeps every entry, for seeking back, which a stream cannot
            tar.members = []  # type: ignore[attr-defined]
            yield entry.name, tar.extractfile(entry) if entry.isreg() else None


def read_archive(
    source: SealedReader, where: str, progress: Callable[[int], None]
) -> tuple[dict[str, Observed], Manifest]:
    """Every file of the tar by its path, and the manifest, which is the last one; nothing is kept.

    `progress` is told the bytes of each piece. Raises BackupDamaged ARCHIVE, BSON, MANIFEST, and what reading
    raises.
    """
    files: dict[str, Observed] = {}
    manifest: Manifest | None = None
    damaged = BackupDamaged(BackupReason.ARCHIVE, f"{where} does not hold the tar of a dump", _HINT)
    try:
        for path, file in members(source, _READ_BYTES):
            if file is None or path in files or manifest is not None or len(files) >= MAX_MEMBERS:
                raise damaged
            if path == MANIFEST_MEMBER:
                manifest = parse(file.read(MAX_MANIFEST_BYTES + 1), f"{where}: {MANIFEST_MEMBER}")
            else:
                files[path] = _observe(file, path, progress)
    except tarfile.TarError:
        raise damaged from None
    if manifest is None:
        raise BackupDamaged(BackupReason.MANIFEST, f"{where} has no manifest inside", _HINT)
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
