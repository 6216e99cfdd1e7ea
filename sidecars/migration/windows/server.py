"""The server whose values move: searches by ranges of values, whole collections, and updates."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.read_concern import ReadConcern

from sealwire.sidecars.direct import RAW, Client
from sealwire.sidecars.migration.server import MongoDocuments, Written
from sealwire.sidecars.migration.windows.bounds import bounded, keeps_bounds
from sealwire.sidecars.migration.windows.indexes import drop_indexes, make_indexes, walked_fields
from sealwire.sidecars.migration.windows.order import Range
from sealwire.sidecars.migration.windows.paths import ClassPaths

BATCH_DOCUMENTS = 500
BATCH_BYTES = 8 << 20


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
        """As `Values.places`."""
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
        """As `Values.update`. Raises ServerFailed, and what the driver raises."""
        return self._documents.update(namespace, updates)

    def _find(
        self, namespace: str, chosen: dict[str, Any], options: Mapping[str, Any] | None = None
    ) -> Iterator[bytes]:
        database, _, name = namespace.partition(".")
        collection = self._client.get_database(database, RAW).get_collection(
            name, read_concern=ReadConcern("majority")
        )
        found = collection.find(chosen, session=self._session, batch_size=BATCH_DOCUMENTS, **(options or {}))
        with found as cursor:
            for each in cursor:
                yield _bytes(each)


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


def _bytes(document: RawBSONDocument) -> bytes:
    return bytes(document.raw)
