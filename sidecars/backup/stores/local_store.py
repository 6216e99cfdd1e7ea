"""Backups in a directory, and which store an address is: a directory, or `s3://bucket/prefix`.

An upload is a hidden file under a lock, and gets its name by one rename. The lock on the file tells an upload
from a leftover: a process that dies lets go of it.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sealwire import from_lock
from sealwire.keys.errors import KeySettingError
from sealwire.keys.private_file import PRIVATE_MODE, flush_directory, replace_private
from sealwire.sidecars.backup.stores import store
from sealwire.sidecars.errors import BackupReason, CannotCreate, Missing, Unavailable, Unusable

_PARTIAL_SUFFIX = ".partial"
_DENIED = {
    errno.EACCES: "run as the user who owns the backups",
    errno.EPERM: "run as the user who owns the backups",
    errno.EROFS: "mount it for writing, or name another directory",
}


class LocalStore:
    """A directory. Files in it belong to this process's user and are readable by nobody else (0600)."""

    def __init__(self, directory: Path) -> None:
        """Raises Missing, Unavailable STORE_DENIED."""
        self._directory = directory
        with _translated(directory):
            if not stat.S_ISDIR(directory.stat().st_mode):
                hint = "name a directory, or s3://BUCKET"
                raise Missing(BackupReason.MISSING, f"{directory} is not a directory", hint)

    @property
    def address(self) -> str:
        return str(self._directory)

    def objects(self) -> Sequence[store.StoredObject]:
        found = []
        with _translated(self._directory), os.scandir(self._directory) as entries:
            for entry in entries:
                if store.is_backup_key(entry.name) and entry.is_file():
                    status = entry.stat()
                    modified = datetime.fromtimestamp(status.st_mtime, UTC)
                    found.append(store.StoredObject(entry.name, status.st_size, modified))
        return sorted(found, key=lambda item: item.key)

    def exists(self, key: str) -> bool:
        return os.path.lexists(self._directory / key)

    def begin(self, key: str) -> store.Upload:
        return LocalUpload(self._directory / key)

    def open(self, key: str) -> store.ReadStream:
        with _translated(self._directory / key):
            return LocalReadStream(self._directory / key)

    def replace_small(self, key: str, content: bytes) -> None:
        try:
            replace_private(self._directory / key, content)
        except KeySettingError as error:
            raise Unavailable(BackupReason.STORE_UNREACHABLE, str(error), error.hint) from None

    def delete(self, key: str) -> None:
        with _translated(self._directory / key):
            (self._directory / key).unlink()
            flush_directory(self._directory)

    def leftovers(self, before: datetime) -> Sequence[str]:
        with _translated(self._directory):
            partials = sorted(self._directory.glob(f".*{_PARTIAL_SUFFIX}"))
            return [path.name for path in partials if _is_leftover(path, before)]

    def remove_leftover(self, leftover: str) -> None:
        with _translated(self._directory):
            (self._directory / leftover).unlink(missing_ok=True)


class LocalReadStream:
    """An open file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb", buffering=0)
        self.close = self._file.close

    def read(self, size: int) -> bytes:
        with _translated(self._path):
            return self._file.read(size)


class LocalUpload:
    """A hidden file beside its future name, locked while it is written."""

    def __init__(self, target: Path) -> None:
        """Raises CannotCreate, Unavailable."""
        self._target = target
        self._partial = target.with_name(f".{target.name}{_PARTIAL_SUFFIX}")
        with _translated(self._partial):
            self._file = self._claim()

    def _claim(self) -> BinaryIO:
        descriptor = os.open(
            self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_MODE
        )
        file: BinaryIO = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            if not _lock(file.fileno()) or not _is_at(file.fileno(), self._partial):
                # Somebody writes it now, or has just given it its name.
                raise _exists(self._target, "is being written by another process")
            if os.path.lexists(self._target):
                self._partial.unlink()
                raise _exists(self._target, "exists already")
            os.fchmod(file.fileno(), PRIVATE_MODE)
            file.truncate()  # what a process that died left behind
        except BaseException:
            file.close()
            raise
        return file

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        with _translated(self._target):
            while view:
                view = view[self._file.write(view) :]

    def commit(self) -> None:
        with _translated(self._target):
            os.fsync(self._file.fileno())
            # No other Sealwire takes the name meanwhile: it would need the lock that we hold.
            if os.path.lexists(self._target):
                raise _exists(self._target, "exists already")
            self._partial.rename(self._target)
            flush_directory(self._target.parent)
            self._file.close()

    def abort(self) -> None:
        if self._file.closed:
            return
        with suppress(OSError):
            if _is_at(self._file.fileno(), self._partial):
                self._partial.unlink()
        with suppress(OSError):
            self._file.close()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _is_leftover(path: Path, before: datetime) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        old = os.fstat(descriptor).st_mtime < before.timestamp()
        return old and _lock(descriptor)
    finally:
        os.close(descriptor)


def _exists(path: Path, what: str) -> CannotCreate:
    return CannotCreate(BackupReason.EXISTS, f"{path} {what}", "choose another name, or wait for it")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what the system says into this room's errors."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        hint = "check the name, or create the directory"
        raise Missing(BackupReason.MISSING, f"{path} does not exist", hint) from None
    except OSError as error:
        if error.errno in store.NO_SPACE:
            hint = "free space, or prune; earlier backups are untouched"
            raise Unavailable(BackupReason.STORE_FULL, f"no space for {path}", hint) from None
        denied = error.errno in _DENIED
        reason = BackupReason.STORE_DENIED if denied else BackupReason.STORE_UNREACHABLE
        hint = _DENIED.get(error.errno or 0, "check the disk or the mount")
        raise Unavailable(reason, f"{path}: {error.strerror}", hint) from None


def open_new_store(address: str) -> store.Store:
    """As `open_store`, for who writes the first backup: makes a directory that nobody else looks into (0700).

    One that is there stays as it is. Raises Missing where there is none above it: that is a misspelt path, or
    a disk that is not mounted.
    """
    if "://" not in address:
        with _translated(Path(address)), suppress(FileExistsError):
            Path(address).mkdir(mode=0o700)
    return open_store(address)


def open_store(address: str) -> store.Store:
    """The store at `address`: a directory, or `s3://BUCKET[/PREFIX]` with the `s3` extra installed.

    Raises Unusable ADDRESS, EXTRA_MISSING; Missing for a directory that is not there.
    """
    if address.startswith("s3://"):
        try:
            from sealwire.sidecars.backup.stores.s3_store import S3Store  # noqa: PLC0415 - needs an extra
        except ModuleNotFoundError:
            text, hint = "boto3 is not installed", from_lock("image-full")
            raise Unusable(BackupReason.EXTRA_MISSING, text, hint) from None
        return S3Store(address)
    if "://" in address:
        # What was given is not shown: it may hold a password.
        text, hint = "the store's address is not understood", "write a directory or s3://BUCKET/PREFIX"
        raise Unusable(BackupReason.ADDRESS, text, hint)
    return LocalStore(Path(address))
