"""Which moment a dump shows: a snapshot where the server offers one, else what it can be bounded by."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bson.timestamp import Timestamp
from pymongo.client_session import ClientSession
from pymongo.errors import ConfigurationError, OperationFailure

from sealwire.sidecars.backup.errors import BackupReason, SourceFailed
from sealwire.sidecars.backup.sealed.manifest import ClusterTime, Consistency
from sealwire.sidecars.direct import Client

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

    Raises:  SourceFailed SNAPSHOT_REFUSED, only where nothing else is wanted
    """
    if wanted is not Wanted.NONE and namespace is not None:
        with client.start_session(snapshot=True) as session:
            moment = _snapshot_time(client, session, namespace)
            if moment is not None:
                yield Reading(session, moment)
                return
    if wanted is Wanted.SNAPSHOT:
        hint = "MongoDB 5.0 or newer as a replica set does; or take --consistency auto"
        raise SourceFailed(BackupReason.SNAPSHOT_REFUSED, "the server offers no snapshot", hint)
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
