"""Dumps a server into a tar: what is there, then all options and indexes, then the documents, then sums.

What there is goes by mongodump's rules. The moment that a dump shows is a snapshot where the server offers
one, else what it can be bounded by. Options and indexes come before any document, so that a restore knows
them in one pass. Documents come in blocks, read by several threads where no snapshot binds them to one
session, and written by one.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from bson.timestamp import Timestamp
from pymongo.client_session import ClientSession
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError

from sealwire import __version__
from sealwire.sidecars.backup.archive import contents, metadata
from sealwire.sidecars.backup.archive.contents import (
    BLOCK_BYTES,
    Block,
    CollectionContent,
    ContentDigest,
    Contents,
    gather,
)
from sealwire.sidecars.backup.archive.metadata import (
    BUCKETS,
    DECODED,
    CollectionKind,
    CollectionMetadata,
    from_server,
)
from sealwire.sidecars.backup.archive.tar import TarWriter
from sealwire.sidecars.backup.dumping import readers
from sealwire.sidecars.backup.dumping.readers import (
    MONGODUMP,
    DriverReader,
    MongodumpReader,
    Reader,
    produced,
)
from sealwire.sidecars.backup.sealed.manifest import ClusterTime, Consistency, Manifest
from sealwire.sidecars.backup.sealed.payload import SealedWriter
from sealwire.sidecars.direct import Client, failure
from sealwire.sidecars.errors import BackupReason, Unavailable, Unusable

_FIRST: dict[str, Any] = {"projection": {"_id": 1}, "limit": 1, "singleBatch": True}
"""What `find` is asked for where only its answer's form counts."""


class Wanted(Enum):
    """What the operator asks for."""

    AUTO = "auto"
    """A snapshot, or where there is none the best that can be had."""
    SNAPSHOT = "snapshot"
    """A snapshot or nothing."""
    NONE = "none"
    """Each collection as it is when it is read, which several readers can do at the same time."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the collections are read. A session is the driver's: one thread at a time may use it."""

    session: ClientSession | None
    began: ClusterTime | None


@contextmanager
def reading(client: Client, wanted: Wanted, namespace: tuple[str, str] | None) -> Iterator[Reading]:
    """How to read, decided by asking; `namespace` is a collection that a snapshot can be tried on.

    Raises:  Unavailable SNAPSHOT_REFUSED, only where nothing else is wanted
    """
    if wanted is not Wanted.NONE and namespace is not None:
        with client.start_session(snapshot=True) as session:
            moment = _snapshot_time(client, session, namespace)
            if moment is not None:
                yield Reading(session, moment)
                return
    if wanted is Wanted.SNAPSHOT:
        hint = "MongoDB 5.0 or newer as a replica set does; or take --consistency auto"
        raise Unavailable(BackupReason.SNAPSHOT_REFUSED, "the server offers no snapshot", hint)
    yield Reading(None, last_write(client))


def obtained(client: Client, way: Reading) -> tuple[Consistency, tuple[ClusterTime, ClusterTime] | None]:
    """What the dump shows, asked at its end."""
    if way.began is None:
        return Consistency.NONE, None
    if way.session is not None:
        return Consistency.SNAPSHOT, (way.began, way.began)
    ended = last_write(client)
    if ended is None:
        return Consistency.NONE, None
    return Consistency.OPLOG_WINDOW, (way.began, ended)


def last_write(client: Client) -> ClusterTime | None:
    """The newest entry of the server's oplog; None for a server that has none."""
    last: Any = client.admin.command("hello").get("lastWrite")
    moment = last["opTime"]["ts"] if last is not None else None
    return _cluster_time(moment)


def _snapshot_time(client: Client, session: ClientSession, namespace: tuple[str, str]) -> ClusterTime | None:
    """The session's moment, fixed by its first read; None where the server has no snapshots.

    A server that knows the read concern says which moment it chose. One that only repeats what it is told is
    found by `refuses_lost_history`.
    """
    database, collection = namespace
    try:
        reply = client.get_database(database).command("find", collection, **_FIRST, session=session)
    except (OperationFailure, ConfigurationError):
        return None
    moment = _cluster_time(reply["cursor"].get("atClusterTime"))
    return moment if moment is not None and refuses_lost_history(client, namespace) else None


def refuses_lost_history(client: Client, namespace: tuple[str, str]) -> bool:
    """Whether the server refuses to read at a moment of 1970, which none can have kept.

    A server that answers shows the present whatever moment it is asked for: there is no snapshot, and the
    manifest must not say so.
    """
    database, collection = namespace
    long_ago = {"level": "snapshot", "atClusterTime": Timestamp(1, 1)}
    try:
        client.get_database(database).command("find", collection, **_FIRST, readConcern=long_ago)
    except OperationFailure:
        return True
    return False


def _cluster_time(moment: object) -> ClusterTime | None:
    return ClusterTime(moment.time, moment.inc) if isinstance(moment, Timestamp) else None


_NEVER_DUMPED = frozenset({"local", "config"})
# Unauthorized, and what Atlas says instead
_UNAUTHORIZED = (13, 8000)


def dumped_databases(client: Client) -> list[str]:
    """The databases to be dumped, admin first: a server may not list it. Raises PyMongoError."""
    listed = set(client.list_database_names())
    return ["admin", *sorted(listed - _NEVER_DUMPED - {"admin"})]


def dumped_collections(client: Client, database: str) -> list[CollectionMetadata]:
    """Collections and views of a database, sorted by name. Raises PyMongoError."""
    found = []
    for described in client.get_database(database, DECODED).list_collections():
        name = described["name"]
        if not is_skipped(database, name):
            is_view = described.get("type") == "view"
            indexes = () if is_view else client.get_database(database, DECODED)[name].list_indexes()
            found.append(from_server(database, described, tuple(indexes)))
    return sorted(found, key=lambda metadata: metadata.name)


def has_buckets(client: Client, database: str, name: str) -> bool:
    """Whether a time-series collection's documents are in a collection of buckets that can be read."""
    options: Mapping[str, Any] = {"name": BUCKETS + name}
    return any(True for _ in client.get_database(database, DECODED).list_collections(filter=options))


def login_collections(client: Client) -> tuple[CollectionMetadata, ...] | None:
    """Users and roles, as collections of admin; None where this user may not read them.

    mongodump finds them in the list of collections; a server may leave them out of it and still have them.
    """
    admin = client.get_database("admin", DECODED)
    found = []
    for name in ("system.users", "system.roles", "system.version"):
        try:
            admin.get_collection(name).find_one({}, {"_id": 1})
        except OperationFailure as error:
            if error.code in _UNAUTHORIZED:
                return None
            raise
        found.append(from_server("admin", {"name": name}, ()))
    return tuple(found)


def is_skipped(database: str, collection: str) -> bool:
    """Whether mongodump leaves this collection out.

    System collections are no data, but for those of admin and stored JavaScript. The users and roles of admin
    come by `logins`, and the keys that sign cluster times stay behind.
    """
    if database == "admin":
        return collection.startswith("system.")
    if collection.startswith("system."):
        return collection != "system.js"
    return "$" in collection and ".oplog.$" not in collection


_WAITING_BLOCKS = 2

Tell = Callable[[str, int, int | None], None]
"""Told after every block: what was read, the bytes of documents so far, and about how many there will be.

None where the server does not tell.
"""


class ReaderChoice(Enum):
    """What reads the documents."""

    AUTO = "auto"
    """The driver where there is a snapshot, which mongodump cannot use; else mongodump, if it is there."""
    BUILT_IN = "built-in"
    MONGODUMP = "mongodump"


@dataclass(frozen=True, slots=True)
class DumpOptions:
    """What is dumped and how. `uri` is only for mongodump, which connects by itself."""

    uri: str = field(repr=False)
    only: tuple[str, ...] = ()
    """Databases and namespaces; empty for everything, users and roles included."""
    consistency: Wanted = Wanted.AUTO
    reader: ReaderChoice = ReaderChoice.AUTO
    parallel: int = 2
    block_bytes: int = BLOCK_BYTES
    """What is held of a collection at a time."""
    policy_sha256: str | None = None
    key_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dumped:
    """A finished dump: what is in the manifest, and what is known of whole collections."""

    manifest: Manifest
    contents: Contents


@dataclass(frozen=True, slots=True)
class _Job:
    """A collection whose documents are read."""

    metadata: CollectionMetadata
    stored_as: str
    """The collection that really has them: of a time series its buckets."""
    in_snapshot: bool


def dump(client: Client, sink: SealedWriter, options: DumpOptions, tell: Tell = lambda *_: None) -> Dumped:
    """Read the server that `client` is connected to into `sink`, and commit it.

    Memory:  under 200 MB whatever the sizes: see `blocks.BLOCK_BYTES` and `readers.BATCH_BYTES`
    Raises:  Unavailable; Unusable for a selection that names nothing; what the sink raises.
             Nothing is committed then.
    """
    with _telling_failures():
        return _dump(client, TarWriter(sink, created := _now()), options, created, tell)


def _dump(client: Client, tar: TarWriter, options: DumpOptions, created: datetime, tell: Tell) -> Dumped:
    found, notes = _selected(client, options.only)
    version = str(client.admin.command("buildInfo")["version"])
    tried_on = next(((one.database, one.name) for one in found if _takes_snapshot(one)), None)
    with reading(client, options.consistency, tried_on) as way:
        reader = _reader(client, options, way)
        for described in found:
            path = metadata.metadata_path(described.database, described.name)
            tar.add(path, metadata.serialize(described), namespace=described.namespace)
        jobs = _jobs(client, found, way, notes)

        def read(job: _Job) -> Iterator[tuple[_Job, Block]]:
            session = way.session if job.in_snapshot else None
            batches = reader.batches(job.metadata.database, job.stored_as, session)
            return ((job, block) for block in gather(batches, options.block_bytes))

        threads = 1 if way.session is not None else max(1, options.parallel)
        sums = _documents(tar, jobs, read, threads, tell, _expected(client, jobs))
        in_snapshot = {job.metadata.namespace for job in jobs if job.in_snapshot}

        def content(one: CollectionMetadata) -> CollectionContent:
            name = one.namespace
            return CollectionContent(name, one.kind, name in in_snapshot, sums.get(name, ContentDigest()))

        whole = Contents(tuple(map(content, found)), tuple(notes))
        tar.add(contents.CONTENTS_MEMBER, contents.serialize(whole))
        manifest = Manifest(
            created,
            _now(),
            __version__,
            reader.name,
            version,
            *obtained(client, way),
            options.policy_sha256,
            options.key_ids,
            (),
        )
        return Dumped(tar.finish(manifest), whole)


def namespaces(client: Client, only: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Namespace and kind of everything that `dump` would read. Raises as it does."""
    with _telling_failures():
        return [(found.namespace, found.kind.value) for found in _selected(client, only)[0]]


@contextmanager
def _telling_failures() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        text = f"the server did not answer what a backup has to know: {failure(error)}"
        hint = "nothing was kept of this backup; the user needs the role `backup`"
        raise Unavailable(BackupReason.SOURCE_LOST, text, hint) from None


def _selected(client: Client, only: tuple[str, ...]) -> tuple[list[CollectionMetadata], list[str]]:
    found: list[CollectionMetadata] = []
    notes: list[str] = []
    for database in dumped_databases(client):
        try:
            found += [one for one in dumped_collections(client, database) if one.named_by(only)]
        except OperationFailure:
            # admin stays closed to a user of a few databases; of the others each was listed for this user
            if database != "admin":
                raise
            notes.append("admin: the user may not list its collections")
    if not found and only:
        text = "nothing on the server has a name that --only gives"
        raise Unusable(BackupReason.SELECTION, text, "names are DATABASE or DATABASE.COLLECTION")
    if only and "admin" not in only:
        notes.append("users and roles: not asked for")
        return found, notes
    logins = login_collections(client)
    if logins is None:
        notes.append("users and roles: the user may not read them; the role `backup` may")
    return [*(logins or ()), *found], notes


def _takes_snapshot(described: CollectionMetadata) -> bool:
    # by the server's rules for snapshot reads outside of transactions
    return (
        described.kind is CollectionKind.COLLECTION and not described.capped and described.database != "admin"
    )


def _reader(client: Client, options: DumpOptions, way: Reading) -> Reader:
    built_in = DriverReader(client, options.block_bytes // 2)
    required, at_snapshot = options.reader is ReaderChoice.MONGODUMP, way.session is not None
    if options.reader is ReaderChoice.BUILT_IN or (at_snapshot and not required):
        return built_in
    program = shutil.which(MONGODUMP)
    if program is not None:
        return MongodumpReader(program, options.uri, built_in)
    if required:
        hint = "install it, or take --reader built-in"
        raise Unavailable(BackupReason.DUMPER, "mongodump is not on the path", hint)
    return built_in


def _jobs(client: Client, found: list[CollectionMetadata], way: Reading, notes: list[str]) -> list[_Job]:
    jobs = []
    for described in found:
        if described.kind is CollectionKind.VIEW:
            continue
        stored_as = described.name
        if described.kind is CollectionKind.TIMESERIES:
            if has_buckets(client, described.database, described.name):
                stored_as = metadata.BUCKETS + described.name
            else:
                notes.append(f"{described.namespace}: measurements, the server shows no buckets")
        in_snapshot = way.session is not None and _takes_snapshot(described)
        if way.session is not None and not in_snapshot and described.database != "admin":
            notes.append(f"{described.namespace}: read outside of the snapshot")
        jobs.append(_Job(described, stored_as, in_snapshot))
    return jobs


def _expected(client: Client, jobs: list[_Job]) -> int | None:
    """Bytes of all documents by the server's own statistics, for whoever waits; nothing depends on it."""
    found = (readers.statistics(client, job.metadata.database, job.stored_as).get("size") for job in jobs)
    known = [int(size) for size in found if isinstance(size, int | float)]
    return sum(known) if known else None


def _documents(
    tar: TarWriter,
    jobs: list[_Job],
    read: Callable[[_Job], Iterator[tuple[_Job, Block]]],
    threads: int,
    tell: Tell,
    of_size: int | None,
) -> dict[str, ContentDigest]:
    """Write all documents; the digest of each collection by its namespace."""
    sums: dict[str, ContentDigest] = {}
    whole = size = 0
    with produced(jobs, read, threads=threads, waiting=_WAITING_BLOCKS) as reads:
        for job, block in reads:
            namespace = job.metadata.namespace
            tar.add(_path(job, block), block.data, block.digest.documents, namespace)
            sums[namespace] = sums.get(namespace, ContentDigest()) + block.digest
            whole += block.last
            size += block.digest.size
            # documents come and go while they are read
            total = None if of_size is None else max(of_size, size)
            tell(f"{whole} of {len(jobs)} collections: {namespace}", size, total)
    return sums


def _path(job: _Job, block: Block) -> str:
    if block.number == 1 and block.last:
        return metadata.data_path(job.metadata.database, job.stored_as)
    return metadata.part_path(job.metadata.database, job.stored_as, block.number)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
