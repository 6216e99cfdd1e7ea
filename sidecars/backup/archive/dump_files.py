"""The files of a dump one after another, wherever they are: in a backup, a tar, a tar.gz or a directory."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from sealwire.audit.signing import VerificationKey
from sealwire.sidecars.backup.archive.blocks import Readable
from sealwire.sidecars.backup.archive.metadata import METADATA
from sealwire.sidecars.backup.archive.tar import members
from sealwire.sidecars.backup.errors import BackupDamaged, BackupMissing, BackupReason, BackupSettingError
from sealwire.sidecars.backup.sealed.key_slots import Identity
from sealwire.sidecars.backup.sealed.reader import SealedReader, begin_reading, open_backup
from sealwire.sidecars.backup.sealed.signature import BackupOrigin
from sealwire.sidecars.backup.stores.store import Store

_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class DumpFile:
    """One file; its stream is read before the next file is asked for."""

    path: str
    stream: Readable


@dataclass(frozen=True, slots=True)
class DumpFiles:
    """A dump that can be walked several times, each time from its beginning."""

    identity: str
    """Tells it from every other dump, for the journal of a restore."""
    walk: Callable[[], Iterator[DumpFile]]
    """Every regular file. Raises BackupDamaged, BackupMissing, StoreUnavailable."""
    sealed: bool = False
    """Whether it is a backup of ours: authenticated, all metadata before any document."""
    origin: BackupOrigin | None = None
    """Who can have written a sealed backup; a plain dump says nothing of that."""


def open_sealed(
    store: Store, name: str, identities: Sequence[Identity], signed_by: Sequence[VerificationKey] = ()
) -> DumpFiles:
    """The backup `name`, opened anew for each walk. Raises as `open_backup` does."""
    backup = begin_reading(store, name, identities, signed_by)
    backup.stream.close()
    identity = hashlib.sha256(backup.header.backup_id).hexdigest()

    def walk() -> Iterator[DumpFile]:
        return walk_sealed(open_backup(store, name, identities, signed_by))

    return DumpFiles(identity, walk, sealed=True, origin=backup.origin)


def open_plain(path: Path) -> DumpFiles:
    """A dump that is not encrypted, as mongodump or `tar` wrote it: a directory, a tar, a tar.gz.

    Raises:  BackupMissing MISSING; BackupSettingError ADDRESS for what is neither directory nor tar
    """
    if not path.exists():
        raise BackupMissing(BackupReason.MISSING, f"{path} does not exist", "check the path")
    if not path.is_dir() and not path.name.endswith(_TAR_ENDINGS):
        text = f"{path} is neither a directory nor a .tar or .tar.gz"
        raise BackupSettingError(BackupReason.ADDRESS, text, "for `mongodump --archive`, use mongorestore")
    with _read_errors(path):
        status = path.stat()
        identity = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    return DumpFiles(identity, partial(_walk_directory if path.is_dir() else _walk_tar, path))


def walk_sealed(source: SealedReader) -> Iterator[DumpFile]:
    """The files of a backup. A walk to the end has seen the authenticated end of the file too."""
    with source:
        yield from _members(source)
        source.finish()


def _walk_tar(path: Path) -> Iterator[DumpFile]:
    with _read_errors(path), path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if compressed:
            with gzip.open(raw) as stream:
                yield from _members(stream)
        else:
            yield from _members(raw)


def _walk_directory(path: Path) -> Iterator[DumpFile]:
    """What mongodump wrote; symbolic links in it are not followed."""
    with _read_errors(path):
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and not file.is_symlink()]
        # stable, so that parts stay in their order
        files.sort(key=lambda file: METADATA not in file.name)
        for file in files:
            with file.open("rb") as stream:
                yield DumpFile(file.relative_to(path).as_posix(), stream)


def ungzipped(stream: Readable) -> Readable:
    """What `mongodump --gzip` wrote, read as if it had not."""
    return gzip.GzipFile(fileobj=cast("IO[bytes]", stream), mode="rb")


def _members(stream: Readable) -> Iterator[DumpFile]:
    try:
        for path, content in members(stream):
            if content is not None:
                yield DumpFile(path.removeprefix("./"), content)
    except tarfile.TarError:
        text = "the dump is no tar, or is cut short"
        raise BackupDamaged(BackupReason.ARCHIVE, text, "use another backup") from None


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile):
        text = f"{path} is cut short or damaged"
        raise BackupDamaged(BackupReason.COMPRESSION, text, "use another dump") from None
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}"
        raise BackupMissing(BackupReason.MISSING, text, "check the path and its mode") from None
