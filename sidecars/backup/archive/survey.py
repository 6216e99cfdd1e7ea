"""What is in a dump, before anything of it is restored; and its documents as blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sealwire.sidecars.backup.archive import contents, metadata
from sealwire.sidecars.backup.archive.blocks import BLOCK_BYTES, Readable, cut
from sealwire.sidecars.backup.archive.contents import CONTENTS_MEMBER, Contents
from sealwire.sidecars.backup.archive.dump_files import DumpFile, DumpFiles, ungzipped
from sealwire.sidecars.backup.archive.metadata import CollectionMetadata, Content, FileName, Kind
from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason
from sealwire.sidecars.backup.sealed.manifest import MANIFEST_MEMBER


class FileKey(NamedTuple):
    """A collection as its files call it: a cut name is not its own."""

    database: str
    stem: str


@dataclass(frozen=True, slots=True)
class Survey:
    """The collections of a dump by the names of their files."""

    collections: dict[FileKey, CollectionMetadata]
    level: int = 0
    """How many folders stand above those of the databases: one where a directory `dump` was packed."""

    def metadata_of(self, database: str, collection: str) -> CollectionMetadata | None:
        """The collection of this name."""
        wanted = (database, collection)
        return next((one for one in self.collections.values() if (one.database, one.name) == wanted), None)


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole documents of one collection, as they came out of a dump."""

    key: FileKey
    data: bytes

    def __repr__(self) -> str:
        return f"Piece({self.key}, {len(self.data)} bytes)"


def survey(files: DumpFiles) -> Survey:
    """Look at what is there. A backup of ours is read only up to its first document.

    Raises:  BackupDamaged ARCHIVE, also where there is no collection in it; what the files raise
    """
    paths: dict[str, bytes | None] = {}
    for file in files.walk():
        is_metadata = _is_metadata(file.path)
        if files.sealed and not is_metadata:
            break
        paths[file.path] = _bounded(_opened(file), metadata.MAX_METADATA_BYTES) if is_metadata else None
    level = 0 if files.sealed else _level(list(paths))
    found: dict[FileKey, CollectionMetadata] = {}
    for path, content in paths.items():
        name = _split(path, level)
        if name is None:  # of no collection, such as an oplog
            continue
        key = FileKey(name.database, name.stem)
        if content is not None:
            found[key] = metadata.parse(content, name.database, name.collection)
        elif key not in found and not name.collection.startswith(metadata.BUCKETS):
            found[key] = CollectionMetadata(name.database, name.collection, Kind.COLLECTION, {}, ())
    if not found:
        raise BackupDamaged(BackupReason.ARCHIVE, "there is no collection in this dump", "check the path")
    return Survey(found, level)


def pieces(files: DumpFiles, found: Survey) -> Iterator[Piece | Contents]:
    """All documents, in blocks of about BLOCK_BYTES; what a sealed backup says of them comes behind them.

    Raises:  BackupDamaged BSON, ARCHIVE, MANIFEST; what the files raise
    """
    parts: dict[FileKey, int] = {}
    for file in files.walk():
        if files.sealed and file.path == CONTENTS_MEMBER:
            yield contents.parse(_bounded(file.stream, contents.MAX_CONTENTS_BYTES))
        if files.sealed and file.path in (CONTENTS_MEMBER, MANIFEST_MEMBER):
            continue
        name = _split(file.path, found.level)
        if name is None or name.content is Content.METADATA:
            continue
        key = FileKey(name.database, name.stem)
        # Parts are numbered without gaps; one that is missing must not pass for the end.
        number = parts[key] = parts.get(key, 0) + 1
        if number != (name.part or 1):
            text = f"part {name.part or 1} of {name.database}.{name.collection} is out of its turn"
            raise BackupDamaged(BackupReason.ARCHIVE, text, "restore another backup")
        for data in cut(_opened(file), BLOCK_BYTES):
            yield Piece(key, data)


def owner_of(found: Survey, key: FileKey) -> tuple[CollectionMetadata | None, bool]:
    """Whose documents a file has, and whether they are the buckets of a time series."""
    collection = metadata.FileName(key.database, key.stem, Content.DOCUMENTS).collection
    if collection.startswith(metadata.BUCKETS):
        owner = found.metadata_of(key.database, collection.removeprefix(metadata.BUCKETS))
        if owner is not None and owner.kind is Kind.TIMESERIES:
            return owner, True
    return found.collections.get(key), False


def _is_metadata(path: str) -> bool:
    return path.removesuffix(".gz").endswith(metadata.METADATA)


def _level(paths: list[str]) -> int:
    """mongodump's files stand in a folder for each database; what is above was only packed with it."""
    # parts stand one deeper than other files
    depths = [path.count("/") - (metadata.PARTS + "/" in path) for path in paths]
    return max(max(depths, default=1) - 1, 0)


def _split(path: str, level: int) -> FileName | None:
    below = path.split("/", level)
    return metadata.split_path(below[level]) if len(below) > level else None


def _opened(file: DumpFile) -> Readable:
    return ungzipped(file.stream) if file.path.endswith(".gz") else file.stream


def _bounded(stream: Readable, most: int) -> bytes:
    held = bytearray()
    while data := stream.read(1 << 20):
        held += data
        if len(held) > most:
            text = "a file of the dump is too large"
            raise BackupDamaged(BackupReason.TOO_LARGE, text, "do not restore it")
    return bytes(held)
