"""Files that hold secrets: read only when nobody else can, written whole or not at all.

A write goes to a temporary file in the same directory, is flushed to disk, and takes the old file's place by
rename; then the directory is flushed. After a crash the old file or the new one is there, never a part.
Checks are made on the open descriptor, not on the path, so that the file checked is the file read. Symbolic
links are followed: orchestrators mount secrets that way.
"""

import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sealwire.keys import errors

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read_private(path: Path, max_bytes: int) -> bytes:
    """The content of `path`, which only its owner may read, and whose owner is this user or root.

    Raises:  KeySettingError FILE_MISSING
             UnsafeFile FILE_KIND, FILE_OWNER, FILE_PERMISSIONS, FILE_UNREADABLE
             DamagedFile FILE_TOO_LARGE, before anything is allocated
    """
    return _read_checked(path, max_bytes, _OTHERS)


def read_trusted(path: Path, max_bytes: int) -> bytes:
    """The content of `path`, which anyone may read, but only this user or root can write or replace.

    For what is no secret and must be genuine, such as a public key. Raises as `read_private` does.
    """
    return _read_checked(path, max_bytes, _OTHERS_WRITE)


def _read_checked(path: Path, max_bytes: int, forbidden: int) -> bytes:
    try:
        # Non-blocking, so that a FIFO planted at the path is refused below and not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        _check_status(path, os.fstat(descriptor), max_bytes, forbidden)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise _too_large(path, max_bytes)
    return content


def ensure_private(path: Path) -> None:
    """Have an empty file at `path` where there is none, and check it: of a store that writes it in place.

    Several processes may do so at once. Raises KeySettingError FILE_UNWRITABLE, UnsafeFile as `read_private`.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, PRIVATE_MODE)
    except FileNotFoundError as error:
        raise _unwritable(path, error) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        _check_status(path, os.fstat(descriptor), sys.maxsize, _OTHERS)
    finally:
        os.close(descriptor)


def _check_status(path: Path, status: os.stat_result, max_bytes: int, forbidden: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise errors.UnsafeFile(errors.KeysReason.FILE_KIND, f"{path} is not a regular file", "name a file")
    if status.st_uid not in (os.geteuid(), 0):
        raise errors.UnsafeFile(
            errors.KeysReason.FILE_OWNER,
            f"{path} belongs to user {status.st_uid}, who could replace it",
            f"chown {os.geteuid()} {path}",
        )
    if status.st_mode & forbidden:
        raise errors.UnsafeFile(
            errors.KeysReason.FILE_PERMISSIONS,
            f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})",
            f"chmod go-{'rwx' if forbidden == _OTHERS else 'w'} {path}, and ask who may have used that",
        )
    if status.st_size > max_bytes:
        raise _too_large(path, max_bytes)


def _too_large(path: Path, max_bytes: int) -> errors.DamagedFile:
    return errors.DamagedFile(
        errors.KeysReason.FILE_TOO_LARGE,
        f"{path} is larger than {max_bytes} bytes",
        "check that the path is right",
    )


def _unreadable(path: Path, error: OSError) -> errors.KeysError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return errors.KeySettingError(
            errors.KeysReason.FILE_MISSING,
            f"{path} does not exist",
            "check the path; if it was there before, restore a backup",
        )
    return errors.UnsafeFile(
        errors.KeysReason.FILE_UNREADABLE,
        f"{path} cannot be read: {error.strerror}",
        "run as the user who owns it",
    )


def replace_private(path: Path, content: bytes) -> None:
    """Put `content` at `path` with mode 0600, atomically and durably, whatever stood there before.

    Raises KeySettingError FILE_UNWRITABLE; either file may then be in place, whole.
    """
    # A link stays a link: the file it leads to is replaced.
    _replace(Path(os.path.realpath(path)), content, PRIVATE_MODE)


def replace_public(path: Path, content: bytes) -> None:
    """As `replace_private`, for what anybody may read, whatever the umask: mode 0644.

    A link is replaced and not followed: reports and figures lie in folders where others may write too.
    """
    _replace(path, content, PUBLIC_MODE)


def _replace(target: Path, content: bytes, mode: int) -> None:
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
    try:
        _write_new(temporary, content, mode)
        try:
            temporary.rename(target)
        except BaseException:
            _remove_quietly(temporary)
            raise
        flush_directory(target.parent)
    except OSError as error:
        raise _unwritable(target, error) from None


def create_private(path: Path, content: bytes) -> None:
    """Put `content` at `path`, where nothing may stand yet. Raises AlreadyExists, KeySettingError.

    The caller holds `writer_lock(path)`: a look, then a rename, is not atomic between Sealwire processes
    without it. (A hard link would be, but not every file system in use has them.)
    """
    require_free(path)
    _replace(path, content, PRIVATE_MODE)


def create_public(path: Path, content: bytes) -> None:
    """As `create_private`, for what anybody may read and nobody else may write: mode 0644."""
    require_free(path)
    replace_public(path, content)


def require_free(path: Path) -> None:
    """Raises AlreadyExists where something is at `path`. For callers whose work would be lost later."""
    if os.path.lexists(path):
        raise errors.AlreadyExists(
            errors.KeysReason.FILE_EXISTS, f"{path} exists already", "choose another path, or move it away"
        )


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # The umask can only take bits away; a default ACL of the directory could add some.
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        _remove_quietly(path)
        raise


def _remove_quietly(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def flush_directory(directory: Path) -> None:
    """Make renames in `directory` durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> errors.KeySettingError:
    return errors.KeySettingError(
        errors.KeysReason.FILE_UNWRITABLE,
        f"{path} cannot be written: {error.strerror}",
        "check that the directory exists, is writable and has space",
    )


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Hold the lock of those who write `path`; readers need none, since a rename is atomic.

    The lock is a file of its own beside it, for the file itself is replaced. It is not removed: a second
    writer could then hold the lock of a file that a third no longer sees.
    Raises:  KeyringBusy at once when another process holds it; KeySettingError FILE_UNWRITABLE
    """
    target = Path(os.path.realpath(path))
    lock = target.with_name(f".{target.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE_MODE)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.KeyringBusy(
                errors.KeysReason.WRITER, f"another process is writing {path}", "wait for it, then try again"
            ) from None
        yield
    finally:
        os.close(descriptor)
