"""Read the tar of a backup from front to end and say what is in it, without keeping or restoring anything."""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from sealwire.sidecars.backup.archive.blocks import cut_counted
from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason
from sealwire.sidecars.backup.sealed.manifest import (
    MANIFEST_MEMBER,
    MAX_MANIFEST_BYTES,
    MAX_MEMBERS,
    Manifest,
    parse,
)
from sealwire.sidecars.backup.sealed.reader import SealedReader

BSON_SUFFIX = ".bson"
# More does not stay in the processor's cache, and takes twice as long.
_READ_BYTES = 1 << 18
_HINT = "restore another backup"


@dataclass(frozen=True, slots=True)
class Observed:
    """A file of the tar as it was read."""

    size: int
    sha256: str
    documents: int | None
    """How many BSON documents a `.bson` file is made of."""


def read_archive(
    source: SealedReader, where: str, progress: Callable[[int], None]
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
    digest, size, documents = hashlib.sha256(), 0, 0
    is_bson = where.endswith(BSON_SUFFIX)
    for data, count in cut_counted(file, _READ_BYTES) if is_bson else _raw(file):
        digest.update(data)
        size += len(data)
        documents += count
        progress(len(data))
    return Observed(size, digest.hexdigest(), documents if is_bson else None)


def _raw(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    while data := file.read(_READ_BYTES):
        yield data, 0


def _damaged(where: str) -> BackupDamaged:
    return BackupDamaged(BackupReason.ARCHIVE, f"{where} does not hold the tar of a dump", _HINT)
