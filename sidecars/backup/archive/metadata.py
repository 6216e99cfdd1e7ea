"""What a collection is besides its documents: kind, options, indexes; as a server tells it and as a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps, loads
from bson.son import SON

from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason

MAX_METADATA_BYTES = 48_000_000

DECODED: CodecOptions[SON[str, Any]] = CodecOptions(document_class=SON)
"""How a server's answers are read: decoded, but with what Python knows nothing of left as BSON has it."""


class Kind(Enum):
    """What the server calls it."""

    COLLECTION = "collection"
    VIEW = "view"
    TIMESERIES = "timeseries"


@dataclass(frozen=True, slots=True)
class CollectionMetadata:
    """One collection or view. Options and indexes can quote values: never shown."""

    database: str
    name: str
    kind: Kind
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
        Kind.TIMESERIES if "timeseries" in options else Kind(described.get("type", "collection")),
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
    Raises:  BackupDamaged ARCHIVE
    """
    try:
        found = loads(raw.decode(), json_options=CANONICAL_JSON_OPTIONS)
        options, indexes = found.get("options") or {}, found.get("indexes") or []
        name, uuid = found.get("collectionName") or stem_name, found.get("uuid") or None
        kind = Kind(found["type"]) if found.get("type") else _kind_of(options)
        if not (isinstance(options, dict) and isinstance(name, str) and isinstance(uuid, str | None)):
            raise TypeError
        if not (isinstance(indexes, list) and all(isinstance(index, dict) for index in indexes)):
            raise TypeError
        if "\0" in name or not name:
            raise ValueError
    except (BSONError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError, RecursionError):
        text = f"a metadata file of {database} cannot be read"
        raise BackupDamaged(BackupReason.ARCHIVE, text, "use another dump") from None
    return CollectionMetadata(database, name, kind, options, tuple(indexes), uuid)


def _kind_of(options: Mapping[str, Any]) -> Kind:
    if "viewOn" in options:
        return Kind.VIEW
    return Kind.TIMESERIES if "timeseries" in options else Kind.COLLECTION
