"""The database `sealwire` on the server, as a process uses it: its lease, frontiers, and granted limits.

Order is what counts. `frontiers` sees everything that was written before the last `renew` took effect: both
go to the primary, in one causally consistent session, with majority concerns where it is in a replica set.
Source: MongoDB's manual, "Causal Consistency and Read and Write Concerns".
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, final
from uuid import uuid4

from bson.errors import BSONError
from bson.int64 import Int64

from sealwire.keys.frontier.record import (
    DATABASE,
    FRONTIERS,
    LEASE_S,
    LEASES,
    LIMITS,
    leases_pipeline,
    named_seen,
    parse_lease,
    place_of,
)
from sealwire.keys.private_file import read_private
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
        return not self.is_registered or told != self.told or now_s >= self.valid_until_s - LEASE_S + RENEW_S

    def renew(self, renewed: datetime | None, told: Renewal, sent_at_s: float) -> bool:
        """The server's answer to a renewal that was sent then. False: the lease is not to be relied on.

        That is so where the document has gone, and where by the server's clock it had run out in between: the
        own clock stood still, as that of a virtual machine does which is held up.
        """
        if renewed is None:
            return False
        before, self._renewed = self._renewed, renewed
        if before is not None and (renewed - before).total_seconds() >= LEASE_S:
            return False
        self.is_registered, self.told = True, told
        self.valid_until_s = sent_at_s + LEASE_S
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


class FrontierStore(Protocol):
    """What the feed needs of the server. Every method raises StoreProblem."""

    async def renew(self, told: Renewal, *, is_first: bool) -> datetime | None:
        """Renew the lease that `told` names; `is_first`: make it.

        The server's time of this, aware; None where there is no such lease any more.
        """

    async def seen(self) -> dict[tuple[int, int], int]:
        """By class id and new version, the newest generation that any process has read, by their leases."""

    async def frontiers(self, class_ids: Sequence[int]) -> dict[int, Document]:
        """The documents of these classes, by class id; as they were when the lease was renewed, or newer."""

    async def place(self) -> str:
        """The UUID of the collection of frontiers in hexadecimal digits; empty if there is none."""

    async def end_lease(self, proxy: str) -> None:
        """Delete it: nothing that `proxy` began is under way."""

    async def close(self) -> None:
        """Close all connections. Raises nothing."""


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
    """The server behind a connection string. It is a `FrontierStore`; all methods are for one event loop."""

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
        """See FrontierStore."""
        from pymongo import ReturnDocument  # noqa: PLC0415 - see read_uri

        said = {
            "acknowledged": _named(told.acknowledged),
            "seen": named_seen(told.seen),
            "place": self._place,
        }
        update = {"$currentDate": {"renewed": True}, "$set": said}
        async with _asking():
            leases = await self._collection(LEASES)
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
        """See FrontierStore."""
        wanted = {"_id": {"$in": [Int64(class_id) for class_id in class_ids]}}
        async with _asking():
            collection = await self._collection(FRONTIERS)
            found = collection.find(wanted, session=self._session)
            return {document["_id"]: document async for document in found}

    async def seen(self) -> dict[tuple[int, int], int]:
        """See FrontierStore. Cost: one read of all leases, of which those of a day are there."""
        newest: dict[tuple[int, int], int] = {}
        async with _asking():
            leases = await self._collection(LEASES)
            found = await leases.aggregate(
                [{"$limit": _MOST_LEASES}, *leases_pipeline()], session=self._session
            )
            async for document in found:
                lease = parse_lease(document)
                for key, generation in ({} if lease is None else lease.seen).items():
                    newest[key] = max(generation, newest.get(key, 0))
        return newest

    async def place(self) -> str:
        """See FrontierStore."""
        async with _asking():
            listed = await self._client[DATABASE].list_collections(filter={"name": FRONTIERS})
            async for found in listed:
                return place_of(found)
        return ""

    async def end_lease(self, proxy: str) -> None:
        """See FrontierStore."""
        async with _asking():
            await (await self._collection(LEASES)).delete_one({"_id": proxy})

    async def report(self, grants: Sequence[Granted]) -> None:
        """See LimitStore."""
        from pymongo import UpdateOne  # noqa: PLC0415 - see read_uri

        updates = []
        for each in grants:
            said = each._asdict()
            del said["changed"]  # the server's clock says it
            place = {"_id": f"{each.process} {each.who} {each.bucket}"}
            updates.append(UpdateOne(place, {"$set": said, "$currentDate": {"changed": True}}, upsert=True))
        async with _asking():
            limits = await self._collection(LIMITS)
            if not self._deletes_grants:
                await limits.create_index("changed", expireAfterSeconds=_GRANTS_KEPT_S)
                self._deletes_grants = True
            await limits.bulk_write(updates, ordered=False)

    async def granted(self, besides: str, since: datetime | None) -> list[Granted]:
        """See LimitStore."""
        from pymongo.read_concern import ReadConcern  # noqa: PLC0415 - see read_uri

        wanted: dict[str, Any] = {"process": {"$ne": besides}}
        if since is not None:
            wanted["changed"] = {"$gte": since}
        async with _asking():
            # what a majority does not have yet was granted all the same
            limits = (await self._collection(LIMITS)).with_options(read_concern=ReadConcern("local"))
            found = limits.find(wanted).sort("changed", -1).limit(_MOST_GRANTS)
            parsed = [_parse_granted(document) async for document in found]
        return [each for each in parsed if each is not None]

    async def close(self) -> None:
        """See FrontierStore."""
        await self._client.close()

    async def _collection(self, name: str) -> "AsyncCollection[dict[str, Any]]":
        from pymongo.read_concern import ReadConcern  # noqa: PLC0415 - see read_uri
        from pymongo.write_concern import WriteConcern  # noqa: PLC0415

        if self._is_set is None:
            hello = await self._client.admin.command("hello")
            self._is_set = "setName" in hello or hello.get("msg") == "isdbgrid"
        level, w = ("majority", "majority") if self._is_set else (None, 1)
        database = self._client[DATABASE]
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


def _named(generations: Mapping[int, int]) -> dict[str, Int64]:
    return {str(class_id): Int64(generation) for class_id, generation in generations.items()}


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
