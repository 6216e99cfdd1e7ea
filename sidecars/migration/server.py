"""The collections that a job works on: documents by ranges of `_id`, and updates, all as raw bytes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import ConnectionFailure, OperationFailure

from sealwire.sidecars.direct import RAW, Client
from sealwire.sidecars.errors import MigrationReason, ServerFailed
from sealwire.sidecars.raw_documents import document

BATCH_DOCUMENTS = 500
BATCH_BYTES = 8 << 20
"""A batch ends where its documents have come to this; the last one may go past it."""

_WAITS_S = (0.2, 1.0, 3.0, 10.0)
"""Between the tries where the server does not answer: an election takes some seconds."""
_DECODED = CodecOptions[dict[str, Any]]()
_BY_ID = {"_id": 1}
_PRIMARY, _SECONDARY = 1, 2
"""States of a member, as replSetGetStatus numbers them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Written:
    """What came of some updates."""

    matched: int
    errors: tuple[tuple[int, int], ...] = ()
    """Index of the update and code, where the server refused it."""


class Documents(Protocol):
    """What a runner needs of a server."""

    def read(self, namespace: str, start: bytes, end: bytes, limit: int) -> tuple[list[bytes], bool]:
        """Documents in the order of `_id`, from the element `start` to before `end`; whether none follow."""

    def again(self, namespace: str, identities: Sequence[bytes]) -> list[bytes]:
        """Those documents of these elements `_id` that are still there."""

    def update(self, namespace: str, updates: Sequence[bytes]) -> Written:
        """Carry out the updates, in any order. All of them together fit into one command."""


class MongoDocuments:
    """A server, past Sealwire. Writes wait for a majority: what is noted as moved is not rolled back."""

    def __init__(self, client: Client, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._sleep = sleep

    def read(self, namespace: str, start: bytes, end: bytes, limit: int) -> tuple[list[bytes], bool]:
        """As `Documents.read`. The index has bounds for it: a comparison would end with the type of `_id`."""
        database, _, name = namespace.partition(".")
        command: dict[str, Any] = {"find": name, "hint": _BY_ID, "limit": limit, "batchSize": limit}
        if start:
            command["min"] = RawBSONDocument(document(start))
        if end:
            command["max"] = RawBSONDocument(document(end))
        if not start and not end:
            command["sort"] = _BY_ID
        return patiently(lambda: self._bounded(database, command, limit), self._sleep)

    def _bounded(self, database: str, command: dict[str, Any], limit: int) -> tuple[list[bytes], bool]:
        found: list[bytes] = []
        size = 0
        with self._client.get_database(database, RAW).cursor_command(command, codec_options=RAW) as cursor:
            for each in cursor:
                found.append(bytes(each.raw))
                size += len(each.raw)
                # never the first alone: it may be the one where the last batch ended
                if size >= BATCH_BYTES and len(found) > 1:
                    return found, False
        return found, len(found) < limit

    def again(self, namespace: str, identities: Sequence[bytes]) -> list[bytes]:
        """As `Documents.again`."""
        database, _, name = namespace.partition(".")
        values = b"".join(b"%c%d\0%b" % (each[0], index, each[5:]) for index, each in enumerate(identities))
        chosen = RawBSONDocument(document(b"\x03_id\0" + document(b"\x04$in\0" + document(values))))
        collection = self._client.get_database(database, RAW).get_collection(name)
        return patiently(lambda: [bytes(each.raw) for each in collection.find(chosen)], self._sleep)

    def update(self, namespace: str, updates: Sequence[bytes]) -> Written:
        """As `Documents.update`. Raises ServerFailed where they are not known to be durable."""
        database, _, name = namespace.partition(".")
        command = {
            "update": name,
            "updates": [RawBSONDocument(each) for each in updates],
            "ordered": False,
            "writeConcern": {"w": "majority"},
        }
        # Repeating is safe: what was done already finds other values than it names
        target = self._client.get_database(database)
        reply = patiently(lambda: target.command(command, codec_options=_DECODED), self._sleep)
        if reply.get("writeConcernError"):
            text = "the server did not say that a majority of its members has the changes"
            raise ServerFailed(
                MigrationReason.UNANSWERED,
                text,
                "see to the replica set; then sealwire migrate resume POLICY JOB",
            )
        errors = reply.get("writeErrors", ())
        return Written(int(reply["n"]), tuple((int(each["index"]), int(each["code"])) for each in errors))


def patiently(attempt: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
    """What the attempt returns. It is repeated for 14 s while the connection fails, which has to be safe.

    Raises:  ConnectionFailure of the last try; what else the attempt raises
    """
    for wait_s in _WAITS_S:
        try:
            return attempt()
        except ConnectionFailure:
            sleep(wait_s)
    return attempt()


def lag_s(client: Client) -> float | None:
    """Seconds by which the slowest secondary is behind the primary; None where nobody can say."""
    try:
        status = client.get_database("admin").command("replSetGetStatus", codec_options=_DECODED)
    except OperationFailure:
        return None
    dates: dict[int, list[datetime]] = {_PRIMARY: [], _SECONDARY: []}
    for member in status.get("members", ()):
        if member.get("state") in dates and member.get("optimeDate") is not None:
            dates[member["state"]].append(member["optimeDate"])
    if not dates[_PRIMARY] or not dates[_SECONDARY]:
        return None
    return max(0.0, (max(dates[_PRIMARY]) - min(dates[_SECONDARY])).total_seconds())
