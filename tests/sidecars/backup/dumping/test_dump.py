"""Which moment a dump shows is what the server does, not what was asked for."""

from typing import Any, cast

import pytest
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from sealwire.sidecars.backup.dumping.dump import Wanted, is_skipped, obtained, reading
from sealwire.sidecars.backup.sealed.manifest import ClusterTime, Consistency
from sealwire.sidecars.direct import Client
from sealwire.sidecars.errors import BackupReason, Unavailable

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
    with pytest.raises(Unavailable) as caught:
        shown(Server(**server), Wanted.SNAPSHOT)
    assert caught.value.reason is BackupReason.SNAPSHOT_REFUSED


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
