"""Which moment a dump shows is what the server does, not what was asked for."""

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from sealwire.sidecars.backup.dumping.dump import Wanted, is_skipped, obtained, reading
from sealwire.sidecars.backup.dumping.readers import produced
from sealwire.sidecars.backup.sealed.manifest import ClusterTime, Consistency
from sealwire.sidecars.direct import Client
from sealwire.sidecars.errors import BackupReason, Unavailable
from tests.support.reasons import raising

CHOSEN = Timestamp(1_700_000_000, 3)


class Server:
    """The three answers that `reading` asks for, as MongoDB's manual has them."""

    def __init__(
        self, *, known: bool = True, says: bool = True, keeps: bool = True, oplog: bool = True
    ) -> None:
        self._known, self._says, self._keeps, self._oplog = known, says, keeps, oplog
        self._time = 10
        self.admin = self

    def start_session(self, *, snapshot: bool) -> "Server":
        assert snapshot
        return self

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def get_database(self, name: str) -> "Server":
        assert name in ("clinic", "admin")
        return self

    def command(self, command: object, *_: object, **options: Any) -> dict[str, Any]:
        if command == "hello":
            self._time += 1
            return {"lastWrite": {"opTime": {"ts": Timestamp(self._time, 1)}}} if self._oplog else {}
        if not self._known:
            raise OperationFailure("no such read concern", 72)
        if "readConcern" in options and self._keeps:
            raise OperationFailure("too old", 239)
        return {"cursor": {"firstBatch": [], "atClusterTime": CHOSEN} if self._says else {"firstBatch": []}}


def shown(server: Server, wanted: Wanted = Wanted.AUTO) -> tuple[Consistency, object]:
    client = cast(Client, server)
    with reading(client, wanted, ("clinic", "patients")) as way:
        return obtained(client, way)


def test_a_snapshot_is_what_is_taken_where_it_is_offered() -> None:
    moment = ClusterTime(1_700_000_000, 3)
    assert shown(Server()) == (Consistency.SNAPSHOT, (moment, moment))


@pytest.mark.parametrize("server", [{"known": False}, {"says": False}, {"keeps": False}])
def test_without_one_the_window_of_the_oplog_is_stated(server: dict[str, bool]) -> None:
    window = (ClusterTime(11, 1), ClusterTime(12, 1))
    assert shown(Server(**server)) == (Consistency.OPLOG_WINDOW, window)
    with raising(Unavailable, BackupReason.SNAPSHOT_REFUSED):
        shown(Server(**server), Wanted.SNAPSHOT)


def test_without_an_oplog_nothing_is_claimed() -> None:
    assert shown(Server(known=False, oplog=False)) == (Consistency.NONE, None)


def test_a_snapshot_that_is_not_wanted_is_not_taken() -> None:
    assert shown(Server(), Wanted.NONE)[0] is Consistency.OPLOG_WINDOW


@pytest.mark.parametrize(
    ("database", "collection", "skipped"),
    [
        ("clinic", "patients", False),
        ("clinic", "system.js", False),
        ("clinic", "system.views", True),
        ("clinic", "system.buckets.weather", True),
        ("clinic", "a$b", True),
        ("clinic", "a.oplog.$main", False),
        ("admin", "settings", False),
        ("admin", "system.users", True),
        ("admin", "system.keys", True),
    ],
)
def test_collections_of_the_server_itself_are_left_out(database: str, collection: str, skipped: bool) -> None:
    assert is_skipped(database, collection) is skipped


# Several producers and one consumer: everything arrives, errors arrive, and nobody is left waiting.


def numbers(job: int) -> Iterator[tuple[int, int]]:
    for number in range(50):
        yield job, number


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_everything_arrives_and_the_order_within_a_job_is_kept(threads: int) -> None:
    with produced(range(6), numbers, threads=threads, waiting=2) as items:
        found = list(items)
    assert sorted(found) == [(job, number) for job in range(6) for number in range(50)]
    for job in range(6):
        assert [number for one, number in found if one == job] == list(range(50))


def failing(job: int) -> Iterator[int]:
    yield job
    if job == 2:
        raise KeyError("broken")
    yield job


@pytest.mark.parametrize("threads", [1, 3])
def test_the_error_of_a_producer_is_raised_where_its_items_are_taken(threads: int) -> None:
    with pytest.raises(KeyError), produced(range(9), failing, threads=threads, waiting=1) as items:
        list(items)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("producer-")]


def test_a_consumer_that_goes_leaves_no_thread_behind() -> None:
    with produced(range(9), numbers, threads=4, waiting=1) as items:
        assert next(items)[1] == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("producer-")]


def test_nothing_to_do_is_done_at_once() -> None:
    jobs: list[int] = []
    with produced(jobs, numbers, threads=2, waiting=1) as items:
        assert list(items) == []
