"""What a collection is besides its documents: kind, options, indexes; as a server tells it and as a file."""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps, loads
from bson.son import SON

from sealwire.sidecars.errors import BackupReason, Unsound

MAX_METADATA_BYTES = 48_000_000

DECODED: CodecOptions[SON[str, Any]] = CodecOptions(document_class=SON)
"""How a server's answers are read: decoded, but with what Python knows nothing of left as BSON has it."""


# What a collection's files are called: as mongodump calls them, and in parts where they are long.
#
#     clinic/patients.metadata.json              options and indexes
#     clinic/patients.bson                       the documents, where they fit into one part
#     clinic/patients.bson.parts/00000001.bson   else the same bytes in parts, to be read one after another
#
# A tar member says its size before its content, and nobody knows a collection's size before its end; ADR
# 13. Names are escaped as Go's url.PathEscape does, cut where a file system would not take them.

BUCKETS = "system.buckets."
"""Where a time-series collection's documents really are; mongodump writes these."""

DATA = ".bson"
METADATA = ".metadata.json"
PARTS = ".bson.parts"

_GZIP = ".gz"
_PART = re.compile(r"[0-9]{8}\.bson", re.ASCII)
_PLAIN = "$&+=:@-_.~"
_LONGEST = 238
_KEPT = 208


class FileKey(NamedTuple):
    """A collection as its files call it: a cut name is not its own."""

    database: str
    stem: str
    """The collection's name, escaped."""

    @property
    def collection(self) -> str:
        """What the stem says. A cut name cannot be told from it; the metadata has it in full."""
        return unquote(self.stem)


class FileName(NamedTuple):
    """A path inside a dump, taken apart."""

    key: FileKey
    is_metadata: bool
    """Whether it holds options and indexes; else documents."""
    part: int | None = None
    """Its number, from 1; None for a file that is whole."""


def stem(collection: str) -> str:
    """The file name of a collection without its ending: at most 238 bytes of ASCII."""
    escaped = quote(collection, safe=_PLAIN)
    if len(escaped) <= _LONGEST:
        return escaped
    # SHA-1 only keeps names apart here, in the way that mongorestore expects
    digest = hashlib.sha1(collection.encode(), usedforsecurity=False).digest()
    return f"{escaped[:_KEPT]}%24{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def metadata_path(database: str, collection: str) -> str:
    """Where the options and indexes of a collection or view stand."""
    return f"{database}/{stem(collection)}{METADATA}"


def data_path(database: str, collection: str) -> str:
    """Where the documents of a collection stand that fit into one part."""
    return f"{database}/{stem(collection)}{DATA}"


def part_path(database: str, collection: str, number: int) -> str:
    """Where part `number`, from 1, of a longer collection stands."""
    return f"{database}/{stem(collection)}{PARTS}/{number:08d}{DATA}"


def split_path(path: str) -> FileName | None:
    """Take apart `database/file`; None for what is no file of a collection, such as the oplog.

    Raises:  Unsound ARCHIVE for a path that leaves the dump's folder
    """
    pieces = path.split("/")
    if any(piece in ("", ".", "..") or "\0" in piece for piece in pieces):
        text = "a file of the dump lies outside of it"
        raise Unsound(BackupReason.ARCHIVE, text, "do not restore it")
    if len(pieces) == 3 and pieces[1].endswith(PARTS) and _PART.fullmatch(pieces[2]):
        number = int(pieces[2].removesuffix(DATA))
        return FileName(FileKey(pieces[0], pieces[1].removesuffix(PARTS)), is_metadata=False, part=number)
    if len(pieces) != 2:
        return None
    database, name = pieces
    name = name.removesuffix(_GZIP)
    for ending in (METADATA, DATA):
        if name.endswith(ending) and name != ending:
            return FileName(FileKey(database, name.removesuffix(ending)), is_metadata=ending == METADATA)
    return None


class CollectionKind(Enum):
    """What the server calls it."""

    COLLECTION = "collection"
    VIEW = "view"
    TIMESERIES = "timeseries"


@dataclass(frozen=True, slots=True)
class CollectionMetadata:
    """One collection or view. Options and indexes can quote values: never shown."""

    database: str
    name: str
    kind: CollectionKind
    options: Mapping[str, Any]
    """The options as `create` takes them."""
    indexes: tuple[Mapping[str, Any], ...]
    """The indexes as `createIndexes` takes them; the one on _id is among them."""
    uuid: str | None = None
    """The id that the collection had on the server it was read from, in hexadecimal."""

    def __repr__(self) -> str:
        return f"CollectionMetadata({self.namespace!r}, {self.kind})"

    @property
    def namespace(self) -> str:
        """`database.name`"""
        return f"{self.database}.{self.name}"

    def named_by(self, only: Sequence[str]) -> bool:
        """Whether `only` names it, by its database or its namespace; an empty one names everything."""
        return not only or self.database in only or self.namespace in only

    @property
    def capped(self) -> bool:
        """Whether it has a fixed size and keeps the order of insertion."""
        return bool(self.options.get("capped"))


def from_server(
    database: str, described: Mapping[str, Any], indexes: tuple[Mapping[str, Any], ...]
) -> CollectionMetadata:
    """From an entry of listCollections and the answer of listIndexes, both decoded."""
    uuid = (described.get("info") or {}).get("uuid")
    options = described.get("options") or {}
    return CollectionMetadata(
        database,
        described["name"],
        # not every server calls a time series so in its type
        CollectionKind.TIMESERIES
        if "timeseries" in options
        else CollectionKind(described.get("type", "collection")),
        options,
        indexes,
        bytes(uuid).hex() if isinstance(uuid, Binary) else None,
    )


def serialize(metadata: CollectionMetadata) -> bytes:
    """The content of `NAME.metadata.json`: canonical extended JSON, the fields of mongodump."""
    document: dict[str, Any] = {
        "options": metadata.options,
        "indexes": list(metadata.indexes),
        "uuid": metadata.uuid or "",
        "collectionName": metadata.name,
        "type": metadata.kind.value,
    }
    return dumps(document, json_options=CANONICAL_JSON_OPTIONS).encode()


def parse(raw: bytes, database: str, stem_name: str) -> CollectionMetadata:
    """What mongodump of any release, or `serialize`, wrote.

    Shape:   `stem_name` is the name that the file has; newer files have it inside too
    Raises:  Unsound ARCHIVE
    """
    try:
        found = loads(raw.decode(), json_options=CANONICAL_JSON_OPTIONS)
        options, indexes = found.get("options") or {}, found.get("indexes") or []
        name, uuid = found.get("collectionName") or stem_name, found.get("uuid") or None
        kind = CollectionKind(found["type"]) if found.get("type") else _kind_of(options)
        if not (isinstance(options, dict) and isinstance(name, str) and isinstance(uuid, str | None)):
            raise TypeError
        if not (isinstance(indexes, list) and all(isinstance(index, dict) for index in indexes)):
            raise TypeError
        if "\0" in name or not name:
            raise ValueError
    except (BSONError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError, RecursionError):
        text = f"a metadata file of {database} cannot be read"
        raise Unsound(BackupReason.ARCHIVE, text, "use another dump") from None
    return CollectionMetadata(database, name, kind, options, tuple(indexes), uuid)


def _kind_of(options: Mapping[str, Any]) -> CollectionKind:
    if "viewOn" in options:
        return CollectionKind.VIEW
    return CollectionKind.TIMESERIES if "timeseries" in options else CollectionKind.COLLECTION
