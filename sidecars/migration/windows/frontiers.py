"""The frontier of a class on the server: whether it moves, how far it is, and the leases of its followers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol
from uuid import uuid4

from bson.codec_options import CodecOptions
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.read_concern import ReadConcern

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.errors import DamagedFile, KeySettingError, KeysReason
from sealwire.keys.frontier import record
from sealwire.keys.frontier.frontier import AFTER_ALL, Frontier, Window
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, ValueType
from sealwire.sidecars.direct import Client, failure
from sealwire.sidecars.errors import JobTaken, MigrationReason, Unusable
from sealwire.sidecars.migration.ledger import Ledger, own_collection
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.planning import refuse_obstacle
from sealwire.sidecars.migration.server import patiently
from sealwire.sidecars.migration.windows.order import ClassPaths

_DECODED = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC)
_LIFETIME: Final = "transactionLifetimeLimitSeconds"
_LIFETIME_OPTION: Final = "--transaction-lifetime SECONDS"
_ROUTER: Final = "isdbgrid"
_UNKNOWN: Final = frozenset({59, 72})
"""CommandNotFound, InvalidOptions: the server has no such command, or no such parameter."""
_OF_PROXIES: Final[dict[str, Any]] = {"$match": {"job": {"$ne": True}}}


class Frontiers(Protocol):
    """What a turn needs of the frontier and the leases."""

    def load(self) -> Frontier | None:
        """The frontier of this rotation; None before it has begun. Raises DamagedFile."""

    def expect_pending(self) -> None:
        """See that nobody has cancelled the new version. Raises Unusable NOTHING."""

    def begin(self) -> Frontier:
        """Write the first one. Raises JobTaken, DamagedFile; Unusable NOTHING for a cancelled key."""

    def save(self, frontier: Frontier) -> None:
        """Write one that follows on the last. Raises JobTaken where another stands there."""

    def confirm(self, frontier: Frontier) -> None:
        """See that it still stands there, by a write: what was written before is durable. Raises JobTaken."""

    def leases(self) -> list[record.Lease]:
        """Those that stand by the server's clock."""

    def missing_s(self, counted: Sequence[str] | None = None, /) -> float:
        """For how many seconds more something may matter of which no lease tells; 0 or less: nothing.

        That is a lease which was lost with its collection. For a first move, it is also what a Sealwire
        without a lease began before the `counted` addresses were all that there are.
        """

    def place(self) -> str:
        """Where frontiers are; see `turning.begin_move`."""


class MongoFrontiers:
    """Those of one server."""

    def __init__(
        self,
        client: Client,
        session: ClientSession,
        versions: tuple[ValueCipher, ValueCipher],
        is_pending: Callable[[], bool] = lambda: True,
        transaction_s: float = record.TRANSACTION_S,
        begun_in: str = "",
    ) -> None:
        """`session` is causally consistent; `versions` are the old one and the new one.

        is_pending:    says whether the keyring, as it is now, still has the new one to move to
        transaction_s: how long a transaction may last on this server
        begun_in:      the place of the frontier by the keyring, if data may have begun to move
        """
        self._client = client
        self._session = session
        self._old, self._new = versions
        self._is_pending = is_pending
        self._transaction_s = transaction_s
        self._begun_in = begun_in
        self._place = ""
        self._name = str(uuid4())
        self.documents = 0, 0
        """How many the job has read, and of how many: told with each frontier that is written."""
        self._is_alone = False
        """Whether no proxy tells what this process has written."""
        self._frontiers = _collection(client, record.FRONTIERS)
        self._leases = _collection(client, record.LEASES)

    def load(self) -> Frontier | None:
        found = self._found()
        if found is None or self._earlier(found) is not None:
            if self._begun_in:
                raise _put_back("the frontier of a move that has begun is missing")
            return None
        frontier = record.parse_frontier(found, self._new)
        self._place = self.place()
        if self._begun_in not in ("", self._place):
            raise _put_back("the database sealwire is not the one in which the move began")
        if frontier.generation < self._seen():
            raise _put_back("the frontier is older than what a process has read")
        if frontier.old_version != self._old.key_version:
            text = "the frontier begins at another version of the key than the keyring's active one"
            raise DamagedFile(KeysReason.SCHEMA, text, "use the keyring with which the move began")
        return frontier

    def expect_pending(self) -> None:
        """As `Frontiers.expect_pending`. Cost: one read of the keyring."""
        if not self._is_pending():
            raise _cancelled("abort the job; or sealwire keys cancel CLASS --undo, and resume it")

    def begin(self) -> Frontier:
        """As `Frontiers.begin`. They go on from an earlier rotation's, which proxies may still name.

        Who cancels the key writes the keyring, and then looks for a frontier; this one writes the frontier,
        and then looks at the keyring. So at least one of them sees the other.
        """
        self.expect_pending()
        frontier = self._first()
        self._place = self.place()
        if not self._is_pending():
            raise _cancelled(
                "sealwire keys cancel CLASS --undo, and resume the job: it has moved nothing yet"
            )
        return frontier

    def _first(self) -> Frontier:
        found = self._found()
        earlier = None if found is None else self._earlier(found)
        generation = 1 if earlier is None else earlier + 1
        versions = self._old.key_version, self._new.key_version
        frontier = Frontier(self._new.class_id, *versions, generation, walked=None)
        if earlier is not None:
            self.save(frontier)
            return frontier
        try:
            self._frontiers.insert_one(self._document(frontier), session=self._session)
        except DuplicateKeyError:
            raise _taken() from None
        return frontier

    def save(self, frontier: Frontier) -> None:
        if frontier.is_moving and self.place() != self._place:
            raise _put_back("the database sealwire is not the one in which the move began")
        last = {"_id": frontier.class_id, "generation": frontier.generation - 1}
        document = self._document(frontier)
        changed = patiently(
            lambda: self._frontiers.replace_one(last, document, session=self._session).matched_count
        )
        # a try whose answer was lost may have written it
        if not changed and self.load() != frontier:
            raise _taken()
        if frontier.is_moving and self._is_alone:
            self._tell(frontier.generation)

    def confirm(self, frontier: Frontier) -> None:
        mine = {"_id": frontier.class_id, "generation": frontier.generation}
        touch = {"$currentDate": {"confirmed": True}}
        changed = patiently(
            lambda: self._frontiers.update_one(mine, touch, session=self._session).matched_count
        )
        if not changed:
            raise _taken()

    def leases(self) -> list[record.Lease]:
        """As `Frontiers.leases`. They are read after the frontier was written, in its session."""
        found = [each for each in self._told(_OF_PROXIES) if each.may_matter(self._transaction_s)]
        self._is_alone = not found
        return found

    def missing_s(self, counted: Sequence[str] | None = None, /) -> float:
        """As `Frontiers.missing_s`; what was lost before nobody knows, so it counts from the first call.

        A collection that was dropped and made again, or put back, is another one: so it counts anew. It does
        as well when an address is counted that was not yet counted for this move.
        """
        wanted: dict[str, Any] = {
            "_id": record.STANDS,
            "place": self._uuid_of(record.LEASES),
            "since": {"$type": "date"},
        }
        move = self._new.class_id, self._new.key_version
        names = [] if counted is None else record.counted_names(*move, counted)
        if names:
            wanted["counted"] = {"$all": names}
        pipeline: list[dict[str, Any]] = [{"$match": wanted}, *record.leases_pipeline()]
        stand = patiently(lambda: list(self._leases.aggregate(pipeline, session=self._session)))
        for each in stand:
            age_s: float = (each["read_at"] - each["since"]).total_seconds()
            if age_s >= 0:
                return record.outlived_s(self._transaction_s) - age_s
        for _ in range(2):  # the first one makes the collection, which has no UUID before
            said: dict[str, Any] = {
                "$set": {"place": self._uuid_of(record.LEASES)},
                "$currentDate": {"since": True},
                "$addToSet": {"counted": {"$each": names}},
            }
            patiently(partial(self._say, record.STANDS, said))
        return record.outlived_s(self._transaction_s)

    def place(self) -> str:
        return self._uuid_of(record.FRONTIERS)

    def _uuid_of(self, collection: str) -> str:
        wanted = {"name": collection}
        database = self._client.get_database(record.DATABASE, _DECODED)
        listed = patiently(lambda: list(database.list_collections(self._session, wanted)))
        return record.place_of(listed[0]) if listed else ""

    def _told(self, chosen: dict[str, Any]) -> list[record.Lease]:
        pipeline = [chosen, *record.leases_pipeline()]
        found = patiently(lambda: list(self._leases.aggregate(pipeline, session=self._session)))
        return [each for each in map(record.parse_lease, found) if each is not None]

    def _seen(self) -> int:
        """The newest generation of this move that any process has read or written, by what they tell."""
        move = self._new.class_id, self._new.key_version
        return max((each.seen.get(move, 0) for each in self._told({"$match": {}})), default=0)

    def _tell(self, generation: int) -> None:
        """Say before values move what was written: no proxy says that it has read it, and a copy may come."""
        seen = record.named_seen({(self._new.class_id, self._new.key_version): generation})
        said = {"$set": {"job": True, "acknowledged": {}, "seen": seen}, "$currentDate": {"renewed": True}}
        patiently(lambda: self._say(self._name, said))

    def _say(self, name: str, said: Mapping[str, Any]) -> None:
        self._leases.update_one({"_id": name}, said, upsert=True, session=self._session)

    def forget_leases(self) -> int:
        """Delete those that ran out long ago: of proxies that were killed, or were cut off. How many.

        A proxy whose lease has gone begins again under another name, as one whose lease has run out does.
        Raises what the driver raises. Cost: two commands.
        """
        age_s = max(record.FORGOTTEN_S, record.outlived_s(self._transaction_s))
        ended = {"renewed": {"$lt": self._now() - timedelta(seconds=age_s)}}
        return patiently(lambda: self._leases.delete_many(ended).deleted_count)

    def _document(self, frontier: Frontier) -> dict[str, Any]:
        return record.frontier_document(frontier, self._new, self._transaction_s, self.documents)

    def _now(self) -> datetime:
        admin = self._client.get_database("admin", _DECODED)
        now: datetime = patiently(lambda: admin.command("hello", codec_options=_DECODED))["localTime"]
        return now

    def _found(self) -> Mapping[str, Any] | None:
        mine = {"_id": self._new.class_id}
        return patiently(lambda: self._frontiers.find_one(mine, session=self._session))

    def _earlier(self, found: Mapping[str, Any]) -> int | None:
        """The generation of the frontier of an earlier move, where that is what was found.

        Where each context has a key, the class's own turns between two moves without one. The keyring says
        then that the move is over, and the generation counts as it stands: who forges it can forge leases.
        Raises DamagedFile.
        """
        version = found.get("new")
        if isinstance(version, int) and not isinstance(version, bool) and version < self._old.key_version:
            return record.stated_generation(found)
        if version != self._old.key_version:
            return None
        earlier = record.parse_frontier(found, self._old)
        if not earlier.is_over:
            text = "the move of an earlier rotation of this class is not over, and its key is active"
            raise DamagedFile(KeysReason.SCHEMA, text, "use the keyring with which that move began")
        return earlier.generation


def leased_addresses(client: MongoClient[Any]) -> list[str]:
    """The addresses of the Sealwires that have a lease now. Raises what the driver raises. Cost: one read."""
    leases = client.get_database(record.DATABASE, _DECODED).get_collection(record.LEASES)
    found = map(record.parse_lease, leases.aggregate([_OF_PROXIES, *record.leases_pipeline()]))
    return record.addresses_of(each for each in found if each is not None)


def transaction_lifetime_s(client: Client, named: float | None) -> float:
    """How long a transaction may last on a server, in seconds; the longer one if one is `named` as well.

    Raises Unusable LIFETIME if nobody can say, or if it is longer than a day. Cost: two commands.
    """
    admin = client.get_database("admin", _DECODED)
    is_router = admin.command("hello", codec_options=_DECODED).get("msg") == _ROUTER
    asked = None if is_router else _asked_lifetime_s(admin, named)
    known = [each for each in (named, asked) if each is not None]
    if not known:
        text = "a mongos does not say how long a transaction may last on its shards"
        raise Unusable(MigrationReason.LIFETIME, text, f"name the longest: {_LIFETIME_OPTION}")
    if max(known) > record.MOST_TRANSACTION_S:
        text = "transactions may last longer than a day on this server, and a move waits for twice as long"
        raise Unusable(MigrationReason.LIFETIME, text, "lower transactionLifetimeLimitSeconds first")
    return max(known)


def _asked_lifetime_s(admin: Database[Any], named: float | None) -> float | None:
    try:
        said = admin.command({"getParameter": 1, _LIFETIME: 1}, codec_options=_DECODED).get(_LIFETIME)
    except OperationFailure as error:
        if error.code in _UNKNOWN:
            said = None
        elif named is not None:
            return None
        else:
            text = f"the server does not say how long a transaction may last: {failure(error)}"
            hint = (
                "grant the right getParameter on the cluster, as the roles clusterMonitor and hostManager "
                f"have it; or name the lifetime: {_LIFETIME_OPTION}"
            )
            raise Unusable(MigrationReason.LIFETIME, text, hint) from None
    if isinstance(said, int | float) and not isinstance(said, bool) and said > 0:
        return float(said)
    return record.TRANSACTION_S if named is None else None


def _cancelled(hint: str) -> Unusable:
    text = "the version that the class is to move to is not pending any more: somebody has cancelled it"
    return Unusable(MigrationReason.NOTHING, text, hint)


def _put_back(text: str) -> DamagedFile:
    hint = "bring the database sealwire back as it was; a copy of before does not know what has moved since"
    return DamagedFile(KeysReason.ROLLED_BACK, text, hint)


def _taken() -> JobTaken:
    text = "another process moves this class"
    return JobTaken(MigrationReason.TAKEN, text, "let it; sealwire migrate status shows how far it is")


# ---------------------------- what keeps a deterministic class from moving, in the collections that have it


def refuse_class_obstacles(
    client: Client, places: Iterable[ClassPaths], direction: Direction, field_class: FieldClass
) -> None:
    """See that a class can move in all its collections.

    Raises:  Unusable OBSTACLE with the first one, and what the driver raises
    """
    has_strings = field_class.value_type is ValueType.STRING or field_class.per is not None
    compares = has_strings and direction in (Direction.ENCRYPT, Direction.DECRYPT)
    for where in places:
        refuse_obstacle(client, where.namespace, where.paths, compares=compares)


# ----------- whether the move of a class to its pending version has begun, or somebody is about to begin it


def pending_version(keyring: Keyring, class_name: str) -> int:
    """The version that a class is to move to. Raises KeySettingError KEY_STATE; UnknownKey CLASS_UNKNOWN."""
    pending = keyring.pending_cipher_for(class_name)
    if pending is None:
        keyring.cipher_for(class_name)
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"class {class_name} has no pending key",
            "sealwire keys list shows the versions and their states",
        )
    return pending.key_version


def require_unbegun(
    client: Client, keyring: Keyring, class_name: str, version: int, but: str = ""
) -> Mapping[str, Any] | None:
    """See that no frontier of a move to `version` stands on the server, and no job for it that is not over.

    `but` is the name of a job that may be there. Returns the frontier's document, as it is.
    Raises:  Unusable OTHER_MOVE; Unsound; what the driver raises
    Cost:    two queries
    """
    for job in Ledger(client, keyring).jobs():
        is_ours = job.name == but
        if not is_ours and not job.standing.is_over and any(m.class_name == class_name for m in job.moves):
            text = f"job {job.name} moves class {class_name}, and is not over"
            hint = f"sealwire migrate abort {job.name}, if it has moved nothing yet"
            raise Unusable(MigrationReason.OTHER_MOVE, text, hint)
    found = _collection(client, record.FRONTIERS).find_one({"_id": keyring.cipher_for(class_name).class_id})
    new = None if found is None else found.get("new")
    # what Sealwire did not write there may be the frontier that somebody damaged
    if found is not None and (not isinstance(new, int) or isinstance(new, bool) or new >= version):
        text = f"the move of class {class_name} to version {version} has begun"
        hint = "let it end: sealwire migrate status shows the job; what has moved needs the key"
        raise Unusable(MigrationReason.OTHER_MOVE, text, hint)
    return found


@dataclass(frozen=True, slots=True, repr=False)
class Standstill:
    """That a class does not move, and reads that miss nothing which was written before."""

    client: Client
    session: ClientSession
    """Causally consistent, and the reads' own."""
    keyring: Keyring
    class_name: str
    job: str = ""
    """The one at work, if there is one."""

    def require(self) -> Mapping[str, Any] | None:
        """As `require_unbegun`, for a move away from the active version."""
        active = self.keyring.cipher_for(self.class_name)
        return require_unbegun(self.client, self.keyring, self.class_name, active.key_version + 1, self.job)

    def confirm(self) -> None:
        """The same, behind a write that a majority has: what was written before is seen by later reads."""
        class_id = self.keyring.cipher_for(self.class_name).class_id
        # proxies take `confirmed` for the time until which values moved, and only a job moves some
        touch = {"$currentDate": {"confirmed" if self.job else "swept": True}}
        _collection(self.client, record.FRONTIERS).update_one({"_id": class_id}, touch, session=self.session)
        self.require()

    def end_frontier(self) -> None:
        """Close the frontier of a move to the active version that is not over: a restore has put it back.

        All values have the active version's form by now, so it says nothing any more; the next rotation would
        stop at it. Raises DamagedFile where it was not written with this keyring.
        """
        found, active = self.require(), self.keyring.cipher_for(self.class_name)
        if found is None or found.get("new") != active.key_version:
            return
        frontier = record.parse_frontier(found, active)
        if not frontier.is_over:
            over = replace(
                frontier,
                generation=frontier.generation + 1,
                window=Window(AFTER_ALL, AFTER_ALL),
                is_moving=False,
            )
            mine = {"_id": frontier.class_id, "generation": frontier.generation}
            _collection(self.client, record.FRONTIERS).replace_one(
                mine, record.frontier_document(over, active), session=self.session
            )


def _collection(client: Client, name: str) -> Collection[dict[str, Any]]:
    return own_collection(client, name, read_concern=ReadConcern("majority"))
