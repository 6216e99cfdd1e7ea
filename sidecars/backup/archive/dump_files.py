"""The files of a dump one after another, wherever they are: in a backup, a tar, a tar.gz or a directory."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from sealwire.sidecars.backup.archive.blocks import Readable
from sealwire.sidecars.backup.archive.names import METADATA
from sealwire.sidecars.backup.errors import BackupDamaged, BackupMissing, BackupReason, BackupSettingError
from sealwire.sidecars.backup.sealed.key_slots import Identity
from sealwire.sidecars.backup.sealed.reader import SealedReader, begin_reading, open_backup
from sealwire.sidecars.backup.stores.store import Store

_BUFFER_BYTES = 1 << 20
_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class DumpFile:
    """One file; its stream is read before the next file is asked for."""

    path: str
    stream: Readable


class DumpFiles(Protocol):
    """A dump that can be walked several times, each time from its beginning."""

    sealed: bool
    """Whether it is a backup of ours: authenticated, all metadata before any document."""
    identity: str
    """Tells it from every other dump, for the journal of a restore."""

    def walk(self) -> Iterator[DumpFile]:
        """Every regular file. Raises BackupDamaged, StoreUnavailable."""


class SealedFiles:
    """A backup. `open_tar` opens it anew for each walk, and what it returns is authenticated."""

    sealed = True

    def __init__(self, open_tar: Callable[[], SealedReader], identity: str) -> None:
        self._open_tar = open_tar
        self.identity = identity

    def walk(self) -> Iterator[DumpFile]:
        """A walk to the end has seen the authenticated end of the file too."""
        with self._open_tar() as source:
            # tarfile asks only for read(), whatever its type says
            yield from _members(cast("IO[bytes]", source))
            source.finish()


class TarFiles:
    """A tar of a dump's directory, compressed with gzip or not."""

    sealed = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.identity = _identity(path)

    def walk(self) -> Iterator[DumpFile]:
        with _read_errors(self._path), self._path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if compressed:
                with gzip.open(raw) as stream:
                    yield from _members(cast("IO[bytes]", stream))
            else:
                yield from _members(raw)


class DirectoryFiles:
    """The directory that mongodump writes; symbolic links in it are not followed."""

    sealed = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.identity = _identity(path)

    def walk(self) -> Iterator[DumpFile]:
        with _read_errors(self._path):
            files = [
                path for path in sorted(self._path.rglob("*")) if path.is_file() and not path.is_symlink()
            ]
            # stable, so that parts stay in their order
            files.sort(key=lambda path: METADATA not in path.name)
            for path in files:
                with path.open("rb") as stream:
                    yield DumpFile(path.relative_to(self._path).as_posix(), stream)


def open_sealed(store: Store, name: str, identities: Sequence[Identity]) -> SealedFiles:
    """The backup `name`, opened with one of `identities`. Raises as `open_backup` does."""
    backup = begin_reading(store, name, identities)
    backup.stream.__exit__(None, None, None)
    identity = hashlib.sha256(backup.header.header.backup_id).hexdigest()
    return SealedFiles(lambda: open_backup(store, name, identities), identity)


def open_plain(path: Path) -> DumpFiles:
    """A dump that is not encrypted, as mongodump or `tar` wrote it.

    Raises:  BackupMissing MISSING; BackupSettingError ADDRESS for what is neither directory nor tar
    """
    if path.is_dir():
        return DirectoryFiles(path)
    if not path.exists():
        raise BackupMissing(BackupReason.MISSING, f"{path} does not exist", "check the path")
    if path.name.endswith(_TAR_ENDINGS):
        return TarFiles(path)
    raise BackupSettingError(
        BackupReason.ADDRESS,
        f"{path} is neither a directory nor a .tar or .tar.gz",
        "for `mongodump --archive`, use mongorestore",
    )


def ungzipped(stream: Readable) -> Readable:
    """What `mongodump --gzip` wrote, read as if it had not."""
    return gzip.GzipFile(fileobj=cast("IO[bytes]", stream), mode="rb")


def _members(stream: IO[bytes]) -> Iterator[DumpFile]:
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER_BYTES) as tar:
            while (entry := tar.next()) is not None:
                # tarfile keeps every entry, for seeking back, which a stream cannot
                tar.members.clear()  # type: ignore[attr-defined]
                content = tar.extractfile(entry) if entry.isfile() else None
                if content is not None:
                    yield DumpFile(entry.name.removeprefix("./"), content)
    except tarfile.TarError:
        raise BackupDamaged(
            BackupReason.ARCHIVE, "the dump is no tar, or is cut short", "use another backup"
        ) from None


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise BackupDamaged(
            BackupReason.COMPRESSION, f"{path} is cut short or damaged", "use another dump"
        ) from None
    except OSError as error:
        raise BackupMissing(
            BackupReason.MISSING, f"{path} cannot be read: {error.strerror}", "check the path and its mode"
        ) from None


def _identity(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise BackupMissing(
            BackupReason.MISSING, f"{path} cannot be read: {error.strerror}", "check the path and its mode"
        ) from None
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
