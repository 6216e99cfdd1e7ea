"""The collections that a job works on: documents by ranges of `_id`, and updates, all as raw bytes."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from bson.raw_bson import RawBSONDocument
from pymongo.errors import ConnectionFailure, OperationFailure

from sealwire.policies.file.schema import PathNode
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.direct import DECODED, RAW, Client, collection_of, element, identity_of, one_of
from sealwire.sidecars.errors import MigrationReason, Unavailable
from sealwire.sidecars.migration.contexts import owner_of, spot_of
from sealwire.sidecars.migration.forms import Form, Left, NewForm
from sealwire.wire import kinds
from sealwire.wire.raw_bson import enclosed

BATCH_DOCUMENTS = 500
BATCH_BYTES = 8 << 20
"""A batch ends where its documents have come to this; the last one may go past it."""

_WAITS_S = (0.2, 1.0, 3.0, 10.0)
"""Between the tries where the server does not answer: an election takes some seconds."""
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
            command["min"] = RawBSONDocument(enclosed(start))
        if end:
            command["max"] = RawBSONDocument(enclosed(end))
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
        chosen = RawBSONDocument(enclosed(one_of(b"_id", ((each[0], each[5:]) for each in identities))))
        collection = collection_of(self._client, namespace)
        return patiently(lambda: [bytes(each.raw) for each in collection.find(chosen)], self._sleep)

    def update(self, namespace: str, updates: Sequence[bytes]) -> Written:
        """As `Documents.update`. Raises Unavailable where they are not known to be durable."""
        database, _, name = namespace.partition(".")
        command = {
            "update": name,
            "updates": [RawBSONDocument(each) for each in updates],
            "ordered": False,
            "writeConcern": {"w": "majority"},
        }
        # Repeating is safe: what was done already finds other values than it names
        target = self._client.get_database(database)
        reply = patiently(lambda: target.command(command, codec_options=DECODED), self._sleep)
        if reply.get("writeConcernError"):
            text = "the server did not say that a majority of its members has the changes"
            raise Unavailable(
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
        status = client.get_database("admin").command("replSetGetStatus", codec_options=DECODED)
    except OperationFailure:
        return None
    dates: dict[int, list[datetime]] = {_PRIMARY: [], _SECONDARY: []}
    for member in status.get("members", ()):
        if member.get("state") in dates and member.get("optimeDate") is not None:
            dates[member["state"]].append(member["optimeDate"])
    if not dates[_PRIMARY] or not dates[_SECONDARY]:
        return None
    return max(0.0, (max(dates[_PRIMARY]) - min(dates[_SECONDARY])).total_seconds())


# The update that moves the values of one document: done only where the old values still stand.
#
# Put together as bytes: the old values must reach the server exactly as it stores them, deprecated types too,
# and no driver decodes and encodes all of those without loss.

MAX_DOCUMENT_BYTES = 16 << 20
"""What the server stores (maxBsonObjectSize)."""
MAX_UPDATE_BYTES = MAX_DOCUMENT_BYTES - (64 << 10)
"""What one update may be long: old and new values are in it, and the command around it."""

_NOT_ARRAY = b"\x03$not\0" + b"\x10\0\0\0\x10$type\0\x04\0\0\0\0"


NO_FIELDS: Mapping[str, bytes] = MappingProxyType({})
_CONDITION_BYTES = 10
"""What a document with the element `$eq` needs beside the value: length, type byte, name and end."""


_EQUAL_ACROSS_TYPES = frozenset(
    {kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.DECIMAL, kinds.STRING, kinds.SYMBOL}
)
"""To MongoDB 5 equals 5.0, and a symbol its string."""


def _rest_of_condition(kind: int) -> bytes:
    """The type, where equality does not tell it; and that it is no array, where it is none."""
    wanted = b"\x10$type\0" + kind.to_bytes(4, "little") if kind in _EQUAL_ACROSS_TYPES else b""
    return wanted if kind == kinds.ARRAY else wanted + _NOT_ARRAY


_REST_OF_CONDITION = tuple(map(_rest_of_condition, range(256)))


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that was left. The document is known by its id; the value is never in here."""

    path: str
    why: Left


@dataclass(frozen=True, slots=True)
class Patch:
    """What is to be done to one document."""

    identity: bytes
    """The element `_id`: type byte, name, value."""
    update: bytes
    """`{q: ..., u: ...}` of the command `update`; empty where nothing is to be done."""
    values: int
    """How many values it moves."""
    problems: tuple[Problem, ...]
    paths: tuple[str, ...] = ()
    """The covered paths of these values, each once."""


def patch_of(raw: bytes, tree: PathNode, choose: NewForm, fields: Mapping[str, bytes] = NO_FIELDS) -> Patch:
    """What moves the covered values of a document. Raises BsonError for one that is damaged.

    `fields` says of each class what its contexts depend on: the document has to say the same ones still.
    A document that would become too large is left as it is, with all its values.
    Cost: O(bytes); one call of `choose` for each value
    """
    identity = identity_of(raw)
    conditions: list[bytes] = []
    news: list[bytes] = []
    problems: list[Problem] = []
    paths: list[str] = []
    owners: set[bytes] = set()
    growth = 0
    walk = StoredValues(raw, tree)
    while walk.next_value():
        value = raw[walk.value : walk.end]
        chosen = choose(walk.kind, value, spot_of(walk, raw))
        if chosen is None:
            continue
        if isinstance(chosen, Left) or not walk.is_addressable():
            why = chosen if isinstance(chosen, Left) else Left.NOT_ADDRESSABLE
            problems.append(Problem(walk.node.path, why))
            continue
        per = fields.get(walk.leaf.name)
        owner = None if per is None else owner_of(per, walk, raw)
        if owner is not None and owner.place not in owners:
            owners.add(owner.place)
            conditions.append(_condition(owner.place, (owner.kind, raw[owner.start : owner.end])))
        place = walk.place
        conditions.append(_condition(place, (walk.kind, value)))
        news.append(element(chosen[0], place, chosen[1]))
        paths.append(walk.node.path)
        growth += len(chosen[1]) - len(value)
    if not news:
        return Patch(identity, b"", 0, tuple(problems))
    update = enclosed(
        b"\x03q\0" + enclosed(identity, *conditions),
        b"\x03u\0" + enclosed(b"\x03$set\0" + enclosed(*news)),
    )
    if len(raw) + growth > MAX_DOCUMENT_BYTES or len(update) > MAX_UPDATE_BYTES:
        problems += [Problem(path, Left.TOO_LARGE) for path in dict.fromkeys(paths)]
        return Patch(identity, b"", 0, tuple(problems))
    return Patch(identity, update, len(news), tuple(problems), tuple(dict.fromkeys(paths)))


def _condition(place: bytes, old: Form) -> bytes:
    """`{place: {$eq: old, $type: ...}}`: the value itself.

    MongoDB's equality also holds for an array that has the value as an element, and between numbers of
    different types; both are other values than the one that was read.
    """
    kind, value = old
    rest = _REST_OF_CONDITION[kind]
    length = len(value) + len(rest) + _CONDITION_BYTES
    return b"\x03%b\0%b%c$eq\0%b%b\0" % (place, length.to_bytes(4, "little"), kind, value, rest)


def chunks(patches: Sequence[Patch]) -> Iterator[list[Patch]]:
    """As many as fit into one command."""
    chunk: list[Patch] = []
    size = 0
    for patch in patches:
        if chunk and size + len(patch.update) > MAX_UPDATE_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(patch)
        size += len(patch.update)
    if chunk:
        yield chunk
