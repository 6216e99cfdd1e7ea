"""The server whose values move: searches by ranges of values, their indexes, whole collections, updates."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from sealwire.crypto.envelope import SUBTYPE, binary
from sealwire.keys.frontier.frontier import StoredForm
from sealwire.keys.frontier.record import DATABASE
from sealwire.sidecars.direct import DECODED, Client, collection_of, element, indexes_of
from sealwire.sidecars.migration.moves import touches
from sealwire.sidecars.migration.server import BATCH_BYTES, BATCH_DOCUMENTS, MongoDocuments, Written
from sealwire.sidecars.migration.windows.order import ClassPaths, Range
from sealwire.wire import kinds
from sealwire.wire.raw_bson import enclosed

_HIDES = ("partialFilterExpression", "hidden", "collation", "weights")
"""With these an index does not have every value, or is not used for a search."""


def make_indexes(
    client: Client, places: Iterable[ClassPaths], class_id: int, *, alone: bool = False
) -> dict[tuple[str, str], str]:
    """See that an index begins with each path, or has it `alone`; by namespace and path, its name.

    Raises what the driver raises. Cost: one listing a collection; each index reads a collection.
    """
    found: dict[tuple[str, str], str] = {}
    for where in places:
        listed = indexes_of(client, where.namespace)
        for number, path in enumerate(where.paths, 1):
            usable = [str(index["name"]) for index in listed if _is_usable(index, path, alone=alone)]
            name = usable[0] if usable else f"{_prefix(class_id)}{number}"
            found[where.namespace, path] = name
            if usable:
                continue
            database, _, collection = where.namespace.partition(".")
            command = {"createIndexes": collection, "indexes": [{"key": {path: 1}, "name": name}]}
            client.get_database(database).command(command, codec_options=DECODED)
    return found


def drop_indexes(client: Client, places: Iterable[ClassPaths], class_id: int) -> None:
    """Take away what `make_indexes` made, now or in an earlier process. Raises what the driver raises."""
    for where in places:
        database, _, collection = where.namespace.partition(".")
        for index in indexes_of(client, where.namespace):
            if str(index["name"]).startswith(_prefix(class_id)):
                command = {"dropIndexes": collection, "index": index["name"]}
                client.get_database(database).command(command, codec_options=DECODED)


def walked_fields(client: Client, places: Iterable[ClassPaths]) -> frozenset[bytes] | None:
    """The first fields of the indexes in which one of the paths stands behind another field.

    None if the first field of one may be any, as in a wildcard index. Raises what the driver raises.
    """
    found = set()
    for where in places:
        for index in indexes_of(client, where.namespace):
            first, *others = index["key"]
            if not any("$**" in field or touches(field, path) for field in others for path in where.paths):
                continue
            if "$**" in first:
                return None
            found.add(str(first).encode())
    return frozenset(found)


def _prefix(class_id: int) -> str:
    return f"sealwire_move_{class_id}_"


def _is_usable(index: Mapping[str, Any], path: str, *, alone: bool) -> bool:
    field, direction = next(iter(index["key"].items()))
    if alone and (len(index["key"]) > 1 or direction != 1):
        return False
    is_plain = not any(index.get(name) for name in _HIDES)
    return field == path and direction in (1, -1) and is_plain


# --------------- indexes by which a window is found: those that are there, and temporary ones where none is


# Reads between two keys of an index (`min`, `max`), where the server does it right for arrays.
#
# MongoDB finds `{path: {$gte: a, $lte: b}}` by one of the two bounds only where the path leads through an
# array: different elements may meet them. Between two keys it reads no more than what lies between.

_NAME: Final = "by_value"
_PATH: Final = "a.b"
# Two lengths, so that an order by bytes alone shows; the last document has an element on both sides.
_TRIED: Final = ([b"x1"], [b"x3", b"b"], [b"x5"], [b"ccc"], [b"x0", b"x9"])
_LOW, _BEHIND = (StoredForm(kinds.BIN_DATA, binary(each)) for each in (b"x1", b"x5"))
_BETWEEN: Final = Range((kinds.BIN_DATA,), _LOW, behind=_BEHIND)
_FOUND: Final = {0, 1}

_NAN: Final = StoredForm(kinds.DOUBLE, b"\0\0\0\0\0\0\xf8\x7f")
_NO_TEXT: Final = StoredForm(kinds.STRING, b"\1\0\0\0\0")
_NO_FIELD: Final = StoredForm(kinds.OBJECT, enclosed())
_NO_BYTES: Final = StoredForm(kinds.BIN_DATA, b"\0\0\0\0\0")
_FIRST_ID: Final = StoredForm(kinds.OBJECT_ID, bytes(12))
_FALSE: Final = StoredForm(kinds.BOOL, b"\0")
_FIRST_DATE: Final = StoredForm(kinds.DATE, (1 << 63).to_bytes(8, "little"))
_FIRST_TIMESTAMP: Final = StoredForm(kinds.TIMESTAMP, bytes(8))
_WHOLE: Final[Mapping[int, tuple[StoredForm, StoredForm]]] = {
    kinds.INT: (_NAN, _NO_TEXT),
    kinds.LONG: (_NAN, _NO_TEXT),
    kinds.DOUBLE: (_NAN, _NO_TEXT),
    kinds.STRING: (_NO_TEXT, _NO_FIELD),
    kinds.BIN_DATA: (_NO_BYTES, _FIRST_ID),
    kinds.OBJECT_ID: (_FIRST_ID, _FALSE),
    kinds.BOOL: (_FALSE, _FIRST_DATE),
    kinds.DATE: (_FIRST_DATE, _FIRST_TIMESTAMP),
}
"""By a class's type: the first value that an index has of it, and the first one behind it.

Source: MongoDB's manual, "BSON comparison order".
"""


def bounded(index: str, path: str, within: Range) -> Mapping[str, Any]:
    """Options of `find` that read a range of an index which has the path alone."""
    first, behind = _WHOLE[within.types[0]]
    # `max` is not among what is read
    return {
        "hint": index,
        "min": _key(path, within.low or first),
        "max": _key(path, within.behind or behind),
    }


def _key(path: str, form: StoredForm) -> RawBSONDocument:
    return RawBSONDocument(enclosed(element(form.kind, path.encode(), form.data)))


def keeps_bounds(client: Client) -> bool:
    """Whether the server answers such a read right: tried on a few documents of its own, which are removed.

    Raises what the driver raises. Cost: five commands.
    """
    tried = client.get_database(DATABASE, DECODED).get_collection(f"tried_{secrets.token_hex(8)}")
    try:
        tried.create_index([(_PATH, 1)], name=_NAME)
        documents: list[Any] = [
            {"_id": number, "a": [{"b": Binary(each, SUBTYPE)} for each in values]}
            for number, values in enumerate(_TRIED)
        ]
        tried.insert_many(documents)
        found = [each["_id"] for each in tried.find({}, **bounded(_NAME, _PATH, _BETWEEN))]
    except OperationFailure:
        return False
    finally:
        tried.drop()
    return set(found) == _FOUND and len(found) == len(_FOUND)


class Values(Protocol):
    """What a turn needs of the server's collections."""

    def places(self) -> list[ClassPaths]:
        """Where the class is stored now; new collections have come, and old ones may be gone."""

    def index(self, places: Sequence[ClassPaths]) -> None:
        """See that ranges of each path are found without reading all of its collection."""

    def walked(self, places: Sequence[ClassPaths]) -> frozenset[bytes] | None:
        """What `Frontier.walked` says, by the indexes that are there now."""

    def unindex(self) -> None:
        """Take away what `index` made."""

    def between(self, namespace: str, path: str, within: Range) -> Iterator[bytes]:
        """Documents with a value of the range at the path, and perhaps others, in the order of an index.

        It sees all that was written before the last `Frontiers.confirm`.
        """

    def all(self, namespace: str) -> Iterator[bytes]:
        """All documents, in any order; it sees as much."""

    def update(self, namespace: str, updates: Sequence[bytes]) -> Written:
        """Carry updates out, in any order, so that they last. All of them together fit into one command."""


class MongoValues:
    """A server, past Sealwire."""

    def __init__(
        self,
        client: Client,
        session: ClientSession,
        class_id: int,
        places: Callable[[], list[ClassPaths]],
    ) -> None:
        """`session` is the one that the frontier is written in; `places` finds what `Values.places` gives."""
        self._class_id = class_id
        self._in_bounds = False
        """Known once ranges are to be read; what reads whole collections only has no need of it."""
        self._indexes: dict[tuple[str, str], str] = {}
        self._client = client
        self._session = session
        self._places = places
        self._documents = MongoDocuments(client)

    def places(self) -> list[ClassPaths]:
        return self._places()

    def index(self, places: Sequence[ClassPaths]) -> None:
        """As `Values.index`. Raises what the driver raises."""
        self._in_bounds = self._in_bounds or keeps_bounds(self._client)
        self._indexes = make_indexes(self._client, places, self._class_id, alone=self._in_bounds)

    def walked(self, places: Sequence[ClassPaths]) -> frozenset[bytes] | None:
        """As `Values.walked`. Raises what the driver raises. Cost: one listing a collection."""
        return walked_fields(self._client, places)

    def unindex(self) -> None:
        """As `Values.unindex`. Raises what the driver raises."""
        self._indexes = {}
        drop_indexes(self._client, self._places(), self._class_id)

    def between(self, namespace: str, path: str, within: Range) -> Iterator[bytes]:
        """As `Values.between`. Raises what the driver raises."""
        name = self._indexes.get((namespace, path))
        if self._in_bounds and name is not None:
            return self._find(namespace, {}, bounded(name, path, within))
        return self._find(namespace, {path: RawBSONDocument(within.condition)})

    def all(self, namespace: str) -> Iterator[bytes]:
        """As `Values.all`. Raises what the driver raises."""
        return self._find(namespace, {})

    def update(self, namespace: str, updates: Sequence[bytes]) -> Written:
        """As `Values.update`. Raises Unavailable, and what the driver raises."""
        return self._documents.update(namespace, updates)

    def _find(
        self, namespace: str, chosen: dict[str, Any], options: Mapping[str, Any] | None = None
    ) -> Iterator[bytes]:
        collection = collection_of(self._client, namespace, read_concern=ReadConcern("majority"))
        found = collection.find(chosen, session=self._session, batch_size=BATCH_DOCUMENTS, **(options or {}))
        with found as cursor:
            for each in cursor:
                yield bytes(each.raw)


def batches(documents: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Lists of up to BATCH_DOCUMENTS, and up to BATCH_BYTES and one document more."""
    batch: list[bytes] = []
    size = 0
    for each in documents:
        batch.append(each)
        size += len(each)
        if len(batch) == BATCH_DOCUMENTS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
