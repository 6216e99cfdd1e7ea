"""Writes the tar of a backup as mongodump's directory: collections that came in parts become one file."""

import errno
import os
import shutil
from pathlib import Path

from sealwire.sidecars.backup.archive.contents import CONTENTS_MEMBER
from sealwire.sidecars.backup.archive.dump_files import walk_sealed
from sealwire.sidecars.backup.archive.metadata import DATA, PARTS, Content, split_path
from sealwire.sidecars.backup.errors import (
    BackupDamaged,
    BackupError,
    BackupReason,
    BackupSettingError,
    StoreUnavailable,
)
from sealwire.sidecars.backup.sealed.manifest import MANIFEST_MEMBER
from sealwire.sidecars.backup.sealed.reader import SealedReader
from sealwire.sidecars.backup.stores.store import NO_SPACE

_READ_BYTES = 1 << 20
_DIRECTORY_MODE, _FILE_MODE = 0o700, 0o600


def unpack(source: SealedReader, directory: Path) -> int:
    """Write everything below `directory`, which is made; how many files there are then.

    An end half-way leaves nothing: a half collection would look whole to mongorestore.
    Raises:  BackupSettingError ADDRESS where the directory exists or cannot be written; StoreUnavailable
             STORE_FULL; BackupDamaged
    """
    try:
        directory.mkdir(mode=_DIRECTORY_MODE)
        try:
            return _write_all(source, directory)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
    except OSError as error:
        raise _unwritable(directory, error) from None


def require_new(directory: Path) -> None:
    """Raises BackupSettingError ADDRESS where something is at `directory` already."""
    if os.path.lexists(directory):
        raise _unwritable(directory, FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)))


def _write_all(source: SealedReader, directory: Path) -> int:
    written: set[Path] = set()
    for file in walk_sealed(source):
        if file.path in (MANIFEST_MEMBER, CONTENTS_MEMBER):
            continue
        target = directory / _joined(file.path)
        target.parent.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        # parts come in their order, which `survey.pieces` and the manifest check; each is added at the end
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        with os.fdopen(descriptor, "ab") as out:
            while data := file.stream.read(_READ_BYTES):
                out.write(data)
        written.add(target)
    return len(written)


def _joined(path: str) -> str:
    """The file that a member belongs to. All parts of a collection belong to one file."""
    name = split_path(path)
    if name is None:
        text = "the backup has a file of no collection"
        raise BackupDamaged(BackupReason.ARCHIVE, text, "use the release that wrote it, or a later one")
    if name.content is Content.DOCUMENTS and name.part is not None:
        return path.partition(PARTS + "/")[0] + DATA
    return path


def _unwritable(directory: Path, error: OSError) -> BackupError:
    if error.errno in NO_SPACE:
        text = f"no space for {directory}; nothing of it was left there"
        hint = "free space, or name a directory where there is room for the whole dump"
        return StoreUnavailable(BackupReason.STORE_FULL, text, hint)
    text = f"{directory} cannot be written: {error.strerror}"
    hint = "name a directory that does not exist, in one that this user may write to"
    return BackupSettingError(BackupReason.ADDRESS, text, hint)
