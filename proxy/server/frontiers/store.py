"""The database `sealwire` on the server, as a process uses it: its lease, frontiers, and granted limits.

Order is what counts. `frontiers` sees everything that was written before the last `renew` took effect: both
go to the primary, in one causally consistent session, with majority concerns where it is in a replica set.
Source: MongoDB's manual, "Causal Consistency and Read and Write Concerns".
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final
from uuid import uuid4

from bson.errors import BSONError
from bson.int64 import Int64

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.errors import DamagedFile
from sealwire.keys.frontier import record
from sealwire.keys.frontier.frontier import Frontier, has_moved
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.private_file import read_private
from sealwire.policies.file.schema import FieldClass, Mode
from sealwire.proxy.server.errors import FileProblem, StartReason

if TYPE_CHECKING:
    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.collection import AsyncCollection

Document = Mapping[str, Any]

MAX_URI_BYTES: Final = 65_536
OPERATION_S: Final = 3.0
"""Three that fail fit into one lease."""
_MOST_LEASES: Final = 10_000
_MOST_GRANTS: Final = 100_000
"""The newest of so many are read at a time."""
_GRANTS_KEPT_S: Final = 7200
"""Then the server deletes them: nothing granted in them is of the last hour."""
_MAX_AMOUNT: Final = 2**62
_MAX_NAME: Final = 64
"""A process and a pseudonym have fewer characters."""


# ------------------------ the lease of this process: under which name, until when, and what it acknowledges

RENEW_S: Final = 0.5
"""After so long a lease is renewed that has nothing else to tell."""


# What the documents of `sealwire.frontiers` say of each class of a keyring: no I/O, no time, no lease.
#
# A class without an answer does not move: it has no pending key, and no document speaks of a newer one.

Seen = Mapping[tuple[int, int], int]
"""By class id and new version: the highest generation that this process has read."""


class Others(NamedTuple):
    """The rest of the database `sealwire`, as far as it tells copies of documents from the documents."""

    place: str = ""
    """The UUID of their collection in hexadecimal digits; empty if there is none."""
    seen: Mapping[tuple[int, int], int] = {}
    """The same of all processes, as they say."""


class Loss(Enum):
    """Why nobody can say which form of a class's values is valid. The value is the word in the log."""

    NO_SETTING = "no-setting"
    NO_LEASE = "no-lease"
    NEWER_KEY = "newer-key"
    DAMAGED = "damaged"
    WENT_BACK = "went-back"
    MISSING = "missing"


HINTS: Final[Mapping[Loss, str]] = {
    Loss.NO_SETTING: "its values move, or have moved once: set frontier.uri_file, and restart",
    Loss.NO_LEASE: "it goes on by itself once the frontier was read",
    Loss.NEWER_KEY: "the keyring is loaded again; if that brings no newer key, this proxy has an old copy",
    Loss.DAMAGED: "find out who wrote the document; sealwire migrate status shows how far the move came",
    Loss.MISSING: "data has begun to move: bring the class's document of sealwire.frontiers back",
    Loss.WENT_BACK: "was the server put back to an older state? Find out before you restart this proxy",
}


class PendingClass(NamedTuple):
    """A class with a pending key."""

    old: ValueCipher
    new: ValueCipher
    begun_in: str = ""
    """Where the frontier is by the keyring, once data may have begun to move."""

    @property
    def first(self) -> Frontier:
        """The frontier while nothing has moved and none is written down."""
        return Frontier(self.new.class_id, self.old.key_version, self.new.key_version, walked=None)

    @property
    def key(self) -> tuple[int, int]:
        """Class id and new version."""
        return self.new.class_id, self.new.key_version


def moves_of(keyring: Keyring) -> dict[str, PendingClass]:
    """The classes that have a pending key. Raises nothing. Cost: O(classes that move)."""
    moves: dict[str, PendingClass] = {}
    for name in keyring.pending_classes:
        new = keyring.pending_cipher_for(name)
        if new is not None:
            moves[name] = PendingClass(keyring.cipher_for(name), new, keyring.begun.get(name, ""))
    return moves


def class_ids(keyring: Keyring) -> list[int]:
    """The ids of all classes that can be written: their documents are asked for."""
    return [keyring.cipher_for(name).class_id for name in keyring.active_classes]


def unnamed(keyring: Keyring, class_names: Collection[str]) -> frozenset[str]:
    """The classes without a path in the policy that move to or from a key which a class of the policy has.

    `class_names` are those that have one. It may take the values that move for values of such a class.
    Raises nothing. Cost: O(classes that move).
    """
    found = set()
    for name in keyring.pending_classes:
        sharing = {each for group in keyring.shared_keys if name in group for each in group}
        if name not in class_names and not sharing.isdisjoint(class_names):
            found.add(name)
    return frozenset(found)


def unfollowed(keyring: Keyring, classes: Iterable[FieldClass]) -> frozenset[str]:
    """The classes that a process without a server to ask refuses: those that move, and each of `classes` that
    has moved. With an older copy of the keyring it would go on with the form of before, and nobody would see.

    Raises nothing. Cost: O(classes x keys)
    """
    moved = {
        each.name
        for each in classes
        if each.mode is Mode.DETERMINISTIC and has_moved(keyring, each.name, is_keyed=each.per is not None)
    }
    return frozenset((*moved, *keyring.pending_classes))


def judge(
    keyring: Keyring, documents: Mapping[int, Mapping[str, Any]], seen: Seen, others: Others
) -> dict[str, Frontier | Loss]:
    """By class: its frontier, or why it has none; `documents` by class id, as they were read.

    Raises nothing. Cost: O(classes), one tag for each document that counts
    """
    moves = moves_of(keyring)
    answers: dict[str, Frontier | Loss] = {}
    for name in keyring.active_classes:
        active = keyring.cipher_for(name)
        move, document = moves.get(name), documents.get(active.class_id)
        answer = _answer(active, move, document, seen)
        if isinstance(answer, Frontier) and move is not None and _is_copy(move, document, others):
            answer = Loss.WENT_BACK
        if answer is not None:
            answers[name] = answer
    return answers


def _answer(
    active: ValueCipher, move: PendingClass | None, document: Mapping[str, Any] | None, seen: Seen
) -> Frontier | Loss | None:
    if document is not None:
        version = document.get("new")
        if not isinstance(version, int) or isinstance(version, bool):
            return Loss.DAMAGED
        if version > (active if move is None else move.new).key_version:
            return Loss.NEWER_KEY
        if version <= active.key_version:
            document = None  # a move that is over
    if move is None:
        return None
    if document is None:
        if move.key in seen:
            return Loss.WENT_BACK
        return Loss.MISSING if move.begun_in else move.first
    return _parsed(move, document, seen)


def _is_copy(move: PendingClass, document: Mapping[str, Any] | None, others: Others) -> bool:
    """Whether a document was put back: into another collection, or while a later one has been seen."""
    if move.begun_in not in ("", others.place):
        return True
    if document is None or document.get("new") != move.new.key_version:
        return move.key in others.seen
    try:
        return record.stated_generation(document) < others.seen.get(move.key, 0)
    except DamagedFile:
        return True


def _parsed(move: PendingClass, document: Mapping[str, Any], seen: Seen) -> Frontier | Loss:
    try:
        frontier = record.parse_frontier(document, move.new)
    except DamagedFile:
        return Loss.DAMAGED
    if frontier.old_version != move.old.key_version:
        return Loss.DAMAGED
    return Loss.WENT_BACK if frontier.generation < seen.get(move.key, 0) else frontier


class Renewal(NamedTuple):
    """The content of a lease that is renewed."""

    proxy: str
    """The lease's name."""
    acknowledged: Mapping[int, int] = {}
    """By class id, the newest generation whose window may move for all this process does."""
    seen: Mapping[tuple[int, int], int] = {}
    """By class id and new version, the newest generation that this process has read, under any lease."""


@final
class OwnLease:
    """One name at a time. Times: seconds of a steady clock, and the server's."""

    def __init__(self) -> None:
        self.begin_again()

    def begin_again(self) -> None:
        """Under a name that nobody had before, and with nothing acknowledged."""
        self.proxy = str(uuid4())
        self.is_registered = False
        """Whether it is on the server."""
        self.told = Renewal(self.proxy)
        """The content of the last renewal that the server has answered."""
        self.valid_until_s = 0.0
        self._renewed: datetime | None = None

    def is_due(self, told: Renewal, now_s: float) -> bool:
        """Whether to renew it now: it has something else to tell, or was renewed a while ago."""
        return (
            not self.is_registered
            or told != self.told
            or now_s >= self.valid_until_s - record.LEASE_S + RENEW_S
        )

    def renew(self, renewed: datetime | None, told: Renewal, sent_at_s: float) -> bool:
        """The server's answer to a renewal that was sent then. False: the lease is not to be relied on.

        That is so where the document has gone, and where by the server's clock it had run out in between: the
        own clock stood still, as that of a virtual machine does which is held up.
        """
        if renewed is None:
            return False
        before, self._renewed = self._renewed, renewed
        if before is not None and (renewed - before).total_seconds() >= record.LEASE_S:
            return False
        self.is_registered, self.told = True, told
        self.valid_until_s = sent_at_s + record.LEASE_S
        return True

    def has_run_out(self, now_s: float) -> bool:
        """Whether it was held, and is so no longer."""
        return self.is_registered and now_s >= self.valid_until_s


class StoreProblem(Exception):
    """The server could not be asked. The text has no value and no address."""


class Granted(NamedTuple):
    """How much of a limit one process has granted one user in one span of time."""

    process: str
    who: str
    """A pseudonym."""
    bucket: int
    amount: int
    changed: datetime | None = None
    """When that was reported, by the server's clock; None if it is yet to be."""


def read_uri(path: Path) -> str:
    """The connection string that `path` holds. Raises as `read_private` does; FileProblem BAD_URI.

    Cost: a look-up of names for a string that begins with `mongodb+srv`
    """
    # What a proxy needs that follows no frontier is small, and stays so.
    from pymongo.errors import PyMongoError  # noqa: PLC0415
    from pymongo.uri_parser import parse_uri  # noqa: PLC0415

    try:
        uri = read_private(path, MAX_URI_BYTES).decode("ascii").strip()
        parse_uri(uri, warn=False)
    except (PyMongoError, ValueError):  # UnicodeDecodeError is one; the text may quote a password
        hint = "write mongodb://user:password@host:port/?authSource=admin, and nothing else, into it"
        raise FileProblem(StartReason.BAD_URI, f"{path} holds no connection string", hint) from None
    return uri


class ServerStore:
    """The server behind a connection string. All methods are for one event loop, and raise StoreProblem."""

    def __init__(self, uri: str, place: str = "") -> None:
        """Connects when it is first asked. `place` is where the process listens: a lease says it to people.

        Cost: the import of pymongo, about 0.2 s
        """
        from pymongo import AsyncMongoClient  # noqa: PLC0415 - see read_uri

        wait_ms = int(OPERATION_S * 1000)
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            uri,
            appname="sealwire-frontier",
            tz_aware=True,
            maxPoolSize=2,
            timeoutMS=wait_ms,
            serverSelectionTimeoutMS=wait_ms,
            connectTimeoutMS=wait_ms,
            readPreference="primary",
            retryWrites=True,
        )
        self._place = place
        self._session: AsyncClientSession | None = None
        self._is_set: bool | None = None
        self._deletes_grants = False

    def __repr__(self) -> str:
        return "ServerStore()"

    async def renew(self, told: Renewal, *, is_first: bool) -> datetime | None:
        """Renew the lease that `told` names; `is_first`: make it.

        The server's time of this, aware; None where there is no such lease any more.
        """
        from pymongo import ReturnDocument  # noqa: PLC0415 - see read_uri

        said = {
            "acknowledged": {str(key): Int64(generation) for key, generation in told.acknowledged.items()},
            "seen": record.named_seen(told.seen),
            "place": self._place,
        }
        update = {"$currentDate": {"renewed": True}, "$set": said}
        async with _asking():
            leases = await self._collection(record.LEASES)
            if self._session is not None:
                await self._session.end_session()
            self._session = self._client.start_session(causal_consistency=True)
            after = await leases.find_one_and_update(
                {"_id": told.proxy},
                update,
                upsert=is_first,
                return_document=ReturnDocument.AFTER,
                session=self._session,
            )
        renewed = None if after is None else after.get("renewed")
        return renewed if isinstance(renewed, datetime) else None

    async def frontiers(self, class_ids: Sequence[int]) -> dict[int, Document]:
        """The documents of these classes, by class id; as they were when the lease was renewed, or newer."""
        wanted = {"_id": {"$in": [Int64(class_id) for class_id in class_ids]}}
        async with _asking():
            collection = await self._collection(record.FRONTIERS)
            found = collection.find(wanted, session=self._session)
            return {document["_id"]: document async for document in found}

    async def seen(self) -> dict[tuple[int, int], int]:
        """By class id and new version, the newest generation that any process has read, by their leases.

        Cost: one read of all leases, of which those of a day are there.
        """
        newest: dict[tuple[int, int], int] = {}
        async with _asking():
            leases = await self._collection(record.LEASES)
            found = await leases.aggregate(
                [{"$limit": _MOST_LEASES}, *record.leases_pipeline()], session=self._session
            )
            async for document in found:
                lease = record.parse_lease(document)
                for key, generation in ({} if lease is None else lease.seen).items():
                    newest[key] = max(generation, newest.get(key, 0))
        return newest

    async def place(self) -> str:
        """The UUID of the collection of frontiers in hexadecimal digits; empty if there is none."""
        async with _asking():
            listed = await self._client[record.DATABASE].list_collections(filter={"name": record.FRONTIERS})
            async for found in listed:
                return record.place_of(found)
        return ""

    async def end_lease(self, proxy: str) -> None:
        """Delete it: nothing that `proxy` began is under way."""
        async with _asking():
            await (await self._collection(record.LEASES)).delete_one({"_id": proxy})

    async def report(self, grants: Sequence[Granted]) -> None:
        """Write these, each in place of what its process wrote before for the same user and time."""
        from pymongo import UpdateOne  # noqa: PLC0415 - see read_uri

        updates = []
        for each in grants:
            said = each._asdict()
            del said["changed"]  # the server's clock says it
            place = {"_id": f"{each.process} {each.who} {each.bucket}"}
            updates.append(UpdateOne(place, {"$set": said, "$currentDate": {"changed": True}}, upsert=True))
        async with _asking():
            limits = await self._collection(record.LIMITS)
            if not self._deletes_grants:
                await limits.create_index("changed", expireAfterSeconds=_GRANTS_KEPT_S)
                self._deletes_grants = True
            await limits.bulk_write(updates, ordered=False)

    async def granted(self, besides: str, since: datetime | None) -> list[Granted]:
        """The grants that processes `besides` this one wrote at or after `since`, by the server's clock."""
        from pymongo.read_concern import ReadConcern  # noqa: PLC0415 - see read_uri

        wanted: dict[str, Any] = {"process": {"$ne": besides}}
        if since is not None:
            wanted["changed"] = {"$gte": since}
        async with _asking():
            # what a majority does not have yet was granted all the same
            limits = (await self._collection(record.LIMITS)).with_options(read_concern=ReadConcern("local"))
            found = limits.find(wanted).sort("changed", -1).limit(_MOST_GRANTS)
            parsed = [_parse_granted(document) async for document in found]
        return [each for each in parsed if each is not None]

    async def close(self) -> None:
        """Close all connections. Raises nothing."""
        await self._client.close()

    async def _collection(self, name: str) -> "AsyncCollection[dict[str, Any]]":
        from pymongo.read_concern import ReadConcern  # noqa: PLC0415 - see read_uri
        from pymongo.write_concern import WriteConcern  # noqa: PLC0415

        if self._is_set is None:
            hello = await self._client.admin.command("hello")
            self._is_set = "setName" in hello or hello.get("msg") == "isdbgrid"
        level, w = ("majority", "majority") if self._is_set else (None, 1)
        database = self._client[record.DATABASE]
        return database.get_collection(name, read_concern=ReadConcern(level), write_concern=WriteConcern(w))


def _parse_granted(document: Document) -> Granted | None:
    """None for a document that Sealwire has not written."""
    process, who, bucket, amount, changed = (document.get(name) for name in Granted._fields)
    if not (isinstance(process, str) and isinstance(who, str) and isinstance(changed, datetime)):
        return None
    if len(process) > _MAX_NAME or len(who) > _MAX_NAME:
        return None
    if not (isinstance(bucket, int) and isinstance(amount, int) and 0 <= amount < _MAX_AMOUNT):
        return None
    return Granted(process, who, int(bucket), int(amount), changed)


@asynccontextmanager
async def _asking() -> AsyncIterator[None]:
    """Gives what is asked within it a limit, and all that can go wrong one class."""
    from pymongo.errors import OperationFailure, PyMongoError  # noqa: PLC0415 - see read_uri

    try:
        async with asyncio.timeout(OPERATION_S):
            yield
    except OperationFailure as error:
        name = str((error.details or {}).get("codeName"))  # the server's word
        shown = name if name.isascii() and name.isalnum() else type(error).__name__
        raise StoreProblem(f"the server says {shown}") from None
    except (PyMongoError, BSONError, OSError) as error:  # TimeoutError is an OSError
        raise StoreProblem(f"no answer: {type(error).__name__}") from None
