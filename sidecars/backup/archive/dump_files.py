"""The files of a dump, wherever they are: what is in it before anything is restored, and mongodump's layout.

A dump is in a backup, a tar, a tar.gz or a directory. `unpack` writes a backup as mongodump's directory:
collections that came in parts become one file.
"""

import errno
import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, cast

from sealwire.audit.signing import VerificationKey
from sealwire.sidecars.backup.archive import contents, metadata
from sealwire.sidecars.backup.archive.contents import BLOCK_BYTES, CONTENTS_MEMBER, Contents, Readable, cut
from sealwire.sidecars.backup.archive.metadata import (
    DATA,
    METADATA,
    PARTS,
    CollectionKind,
    CollectionMetadata,
    FileKey,
    FileName,
    split_path,
)
from sealwire.sidecars.backup.archive.tar import members
from sealwire.sidecars.backup.sealed.key_slots import Identity
from sealwire.sidecars.backup.sealed.manifest import MANIFEST_MEMBER
from sealwire.sidecars.backup.sealed.payload import SealedReader, begin_reading, open_backup
from sealwire.sidecars.backup.sealed.sidecar import BackupOrigin
from sealwire.sidecars.backup.stores.store import NO_SPACE, Store
from sealwire.sidecars.errors import BackupReason, Missing, SidecarError, Unavailable, Unsound, Unusable

_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")


FileWalk = Iterator[tuple[str, Readable]]
"""Path and content of each file; the content is read before the next file is asked for."""


@dataclass(frozen=True, slots=True)
class DumpFiles:
    """A dump that can be walked several times, each time from its beginning."""

    identity: str
    """Tells it from every other dump, for the journal of a restore."""
    walk: Callable[[], FileWalk]
    """Every regular file. Raises Unsound, Missing, Unavailable."""
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

    def walk() -> FileWalk:
        return walk_sealed(open_backup(store, name, identities, signed_by))

    return DumpFiles(identity, walk, sealed=True, origin=backup.origin)


def open_plain(path: Path) -> DumpFiles:
    """A dump that is not encrypted, as mongodump or `tar` wrote it: a directory, a tar, a tar.gz.

    Raises:  Missing MISSING; Unusable ADDRESS for what is neither directory nor tar
    """
    if not path.exists():
        raise Missing(BackupReason.MISSING, f"{path} does not exist", "check the path")
    if not path.is_dir() and not path.name.endswith(_TAR_ENDINGS):
        text = f"{path} is neither a directory nor a .tar or .tar.gz"
        raise Unusable(BackupReason.ADDRESS, text, "for `mongodump --archive`, use mongorestore")
    with _read_errors(path):
        status = path.stat()
        identity = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    return DumpFiles(identity, partial(_walk_directory if path.is_dir() else _walk_tar, path))


def walk_sealed(source: SealedReader) -> FileWalk:
    """The files of a backup. A walk to the end has seen the authenticated end of the file too."""
    with source:
        yield from _members(source)
        source.finish()


def _walk_tar(path: Path) -> FileWalk:
    with _read_errors(path), path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if compressed:
            with gzip.open(raw) as stream:
                yield from _members(stream)
        else:
            yield from _members(raw)


def _walk_directory(path: Path) -> FileWalk:
    """What mongodump wrote; symbolic links in it are not followed."""
    with _read_errors(path):
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and not file.is_symlink()]
        # stable, so that parts stay in their order
        files.sort(key=lambda file: METADATA not in file.name)
        for file in files:
            with file.open("rb") as stream:
                yield file.relative_to(path).as_posix(), stream


def _members(stream: Readable) -> FileWalk:
    try:
        for path, content in members(stream):
            if content is not None:
                yield path.removeprefix("./"), content
    except tarfile.TarError:
        text = "the dump is no tar, or is cut short"
        raise Unsound(BackupReason.ARCHIVE, text, "use another backup") from None


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile):
        text = f"{path} is cut short or damaged"
        raise Unsound(BackupReason.COMPRESSION, text, "use another dump") from None
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}"
        raise Missing(BackupReason.MISSING, text, "check the path and its mode") from None


@dataclass(frozen=True, slots=True)
class Survey:
    """The collections of a dump by the names of their files."""

    collections: dict[FileKey, CollectionMetadata]
    level: int = 0
    """How many folders stand above those of the databases: one where a directory `dump` was packed."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole documents of one collection, as they came out of a dump."""

    key: FileKey
    data: bytes = field(repr=False)


def survey(files: DumpFiles) -> Survey:
    """Look at what is there. A backup of ours is read only up to its first document.

    Raises:  Unsound ARCHIVE, also where there is no collection in it; what the files raise
    """
    paths: dict[str, bytes | None] = {}
    for path, stream in files.walk():
        is_metadata = path.removesuffix(".gz").endswith(metadata.METADATA)
        if files.sealed and not is_metadata:
            break
        paths[path] = _bounded(_opened(path, stream), metadata.MAX_METADATA_BYTES) if is_metadata else None
    level = 0 if files.sealed else _level(list(paths))
    found: dict[FileKey, CollectionMetadata] = {}
    for path, content in paths.items():
        name = _split(path, level)
        if name is None:  # of no collection, such as an oplog
            continue
        key = name.key
        if content is not None:
            found[key] = metadata.parse(content, key.database, key.collection)
        elif key not in found and not key.collection.startswith(metadata.BUCKETS):
            found[key] = CollectionMetadata(key.database, key.collection, CollectionKind.COLLECTION, {}, ())
    if not found:
        raise Unsound(BackupReason.ARCHIVE, "there is no collection in this dump", "check the path")
    return Survey(found, level)


def pieces(files: DumpFiles, found: Survey) -> Iterator[Piece | Contents]:
    """All documents, in blocks of about BLOCK_BYTES; what a sealed backup says of them comes behind them.

    Raises:  Unsound BSON, ARCHIVE, MANIFEST; what the files raise
    """
    parts: dict[FileKey, int] = {}
    for path, stream in files.walk():
        if files.sealed and path == CONTENTS_MEMBER:
            yield contents.parse(_bounded(stream, contents.MAX_CONTENTS_BYTES))
        if files.sealed and path in (CONTENTS_MEMBER, MANIFEST_MEMBER):
            continue
        name = _split(path, found.level)
        if name is None or name.is_metadata:
            continue
        key = name.key
        # Parts are numbered without gaps; one that is missing must not pass for the end.
        number = parts[key] = parts.get(key, 0) + 1
        if number != (name.part or 1):
            text = f"part {name.part or 1} of {key.database}.{key.collection} is out of its turn"
            raise Unsound(BackupReason.ARCHIVE, text, "restore another backup")
        for data in cut(_opened(path, stream), BLOCK_BYTES):
            yield Piece(key, data)


def owner_of(found: Survey, key: FileKey) -> tuple[CollectionMetadata | None, bool]:
    """Whose documents a file has, and whether they are the buckets of a time series."""
    if key.collection.startswith(metadata.BUCKETS):
        wanted = (key.database, key.collection.removeprefix(metadata.BUCKETS))
        owner = next((one for one in found.collections.values() if (one.database, one.name) == wanted), None)
        if owner is not None and owner.kind is CollectionKind.TIMESERIES:
            return owner, True
    return found.collections.get(key), False


def _level(paths: list[str]) -> int:
    """mongodump's files stand in a folder for each database; what is above was only packed with it."""
    # parts stand one deeper than other files
    depths = [path.count("/") - (metadata.PARTS + "/" in path) for path in paths]
    return max(max(depths, default=1) - 1, 0)


def _split(path: str, level: int) -> FileName | None:
    below = path.split("/", level)
    return metadata.split_path(below[level]) if len(below) > level else None


def _opened(path: str, stream: Readable) -> Readable:
    """The content of a file; what `mongodump --gzip` wrote, as if it had not."""
    is_gzip = path.endswith(".gz")
    return gzip.GzipFile(fileobj=cast("IO[bytes]", stream), mode="rb") if is_gzip else stream


def _bounded(stream: Readable, most: int) -> bytes:
    held = bytearray()
    while data := stream.read(1 << 20):
        held += data
        if len(held) > most:
            text = "a file of the dump is too large"
            raise Unsound(BackupReason.TOO_LARGE, text, "do not restore it")
    return bytes(held)


_READ_BYTES = 1 << 20
_DIRECTORY_MODE, _FILE_MODE = 0o700, 0o600


def unpack(source: SealedReader, directory: Path) -> int:
    """Write everything below `directory`, which is made; how many files there are then.

    An end half-way leaves nothing: a half collection would look whole to mongorestore.
    Raises:  Unusable ADDRESS where the directory exists or cannot be written; Unavailable
             STORE_FULL; Unsound
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
    """Raises Unusable ADDRESS where something is at `directory` already."""
    if os.path.lexists(directory):
        raise _unwritable(directory, FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)))


def _write_all(source: SealedReader, directory: Path) -> int:
    written: set[Path] = set()
    for path, stream in walk_sealed(source):
        if path in (MANIFEST_MEMBER, CONTENTS_MEMBER):
            continue
        target = directory / _joined(path)
        target.parent.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        # parts come in their order, which `survey.pieces` and the manifest check; each is added at the end
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        with os.fdopen(descriptor, "ab") as out:
            while data := stream.read(_READ_BYTES):
                out.write(data)
        written.add(target)
    return len(written)


def _joined(path: str) -> str:
    """The file that a member belongs to. All parts of a collection belong to one file."""
    name = split_path(path)
    if name is None:
        text = "the backup has a file of no collection"
        raise Unsound(BackupReason.ARCHIVE, text, "use the release that wrote it, or a later one")
    if name.part is not None:
        return path.partition(PARTS + "/")[0] + DATA
    return path


def _unwritable(directory: Path, error: OSError) -> SidecarError:
    if error.errno in NO_SPACE:
        text = f"no space for {directory}; nothing of it was left there"
        hint = "free space, or name a directory where there is room for the whole dump"
        return Unavailable(BackupReason.STORE_FULL, text, hint)
    text = f"{directory} cannot be written: {error.strerror}"
    hint = "name a directory that does not exist, in one that this user may write to"
    return Unusable(BackupReason.ADDRESS, text, hint)
