"""Read the tar of a backup from front to end and say what is in it, without keeping or restoring anything."""

import hashlib
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, cast

from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason
from sealwire.sidecars.backup.manifest import (
    MANIFEST_MEMBER,
    MAX_MANIFEST_BYTES,
    MAX_MEMBERS,
    Manifest,
    parse,
)
from sealwire.sidecars.backup.streams import TarSource

BSON_SUFFIX = ".bson"
_READ_BYTES = 1 << 20
_MIN_DOCUMENT_BYTES = 5
# The largest message of the wire protocol: no server has a document, or an oplog entry, that is longer.
_MAX_DOCUMENT_BYTES = 48_000_000
_LENGTH = struct.Struct("<i")
_HINT = "restore another backup"


@dataclass(frozen=True, slots=True)
class Observed:
    """A file of the tar as it was read."""

    size: int
    sha256: str
    documents: int | None
    """How many BSON documents a `.bson` file is made of."""


class BsonFraming:
    """Counts the documents of a stream of BSON by their lengths, each ended by its NUL."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._pending = b""
        self._left = 0
        """Bytes of the current document that have not come yet."""
        self.documents = 0

    def feed(self, data: bytes) -> None:
        """Raises BackupDamaged BSON."""
        data = self._pending + data
        start = 0
        while True:
            if self._left > len(data) - start:
                self._left -= len(data) - start
                self._pending = b""
                return
            if self._left:
                start += self._left
                self._end_document(data[start - 1])
            if len(data) - start < _LENGTH.size:
                self._pending = data[start:]
                return
            (length,) = _LENGTH.unpack_from(data, start)
            if not _MIN_DOCUMENT_BYTES <= length <= _MAX_DOCUMENT_BYTES:
                raise self._refusal()
            self._left = length

    def finish(self) -> None:
        """Raises BackupDamaged BSON when the stream ends within a document."""
        if self._left or self._pending:
            raise self._refusal()

    def _end_document(self, last_byte: int) -> None:
        if last_byte != 0:
            raise self._refusal()
        self._left = 0
        self.documents += 1

    def _refusal(self) -> BackupDamaged:
        return BackupDamaged(
            BackupReason.BSON, f"{self._where} is not BSON after {self.documents} documents", _HINT
        )


def read_archive(
    source: TarSource, where: str, progress: Callable[[int], None]
) -> tuple[dict[str, Observed], Manifest]:
    """Every file of the tar by its path, and the manifest, which is the last one.

    `progress` is told the bytes of each piece. Raises BackupDamaged ARCHIVE, BSON, MANIFEST, and what reading
    raises.
    """
    files: dict[str, Observed] = {}
    manifest: Manifest | None = None
    try:
        # tarfile asks a stream for nothing but read().
        with tarfile.open(fileobj=cast(IO[bytes], source), mode="r|", bufsize=_READ_BYTES) as tar:
            for info in tar:
                tar.members = []  # type: ignore[attr-defined]  # it would grow with the archive
                if (
                    not info.isreg()
                    or info.name in files
                    or manifest is not None
                    or len(files) >= MAX_MEMBERS
                ):
                    raise _damaged(where)
                file = tar.extractfile(info)
                if file is None:
                    raise _damaged(where)
                if info.name == MANIFEST_MEMBER:
                    manifest = parse(file.read(MAX_MANIFEST_BYTES + 1), f"{where}: {MANIFEST_MEMBER}")
                else:
                    files[info.name] = _observe(file, f"{where}: {info.name}", progress)
    except tarfile.TarError:
        raise _damaged(where) from None
    if manifest is None:
        raise BackupDamaged(BackupReason.MANIFEST, f"{where} has no manifest inside", _HINT)
    return files, manifest


def _observe(file: IO[bytes], where: str, progress: Callable[[int], None]) -> Observed:
    digest, size = hashlib.sha256(), 0
    framing = BsonFraming(where) if where.endswith(BSON_SUFFIX) else None
    while data := file.read(_READ_BYTES):
        digest.update(data)
        size += len(data)
        if framing is not None:
            framing.feed(data)
        progress(len(data))
    if framing is not None:
        framing.finish()
    return Observed(size, digest.hexdigest(), None if framing is None else framing.documents)


def _damaged(where: str) -> BackupDamaged:
    return BackupDamaged(BackupReason.ARCHIVE, f"{where} does not hold the tar of a dump", _HINT)
