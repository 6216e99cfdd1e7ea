"""Dumps of a real server: what they say of themselves, and what keeps one from being made."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bson import Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from sealwire.sidecars.backup.dumping import dump as consistency
from sealwire.sidecars.backup.dumping.dump import DumpOptions, Progress, Wanted, dump
from sealwire.sidecars.backup.sealed.manifest import Consistency
from sealwire.sidecars.backup.sealed.payload import create_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import BackupReason, DirectReason, SidecarError, Unavailable, Unusable
from tests.integration.backup_source import (
    Server,
    assert_same,
    dump_everything,
    filled_server,
    restored,
    sealed,
)
from tests.integration.conftest import Stack
from tests.sidecars.backup.samples import KEK
from tests.support.secantus import ROOT, secantus

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with filled_server(tmp_path_factory.mktemp("source")) as server:
        yield server


def test_the_manifest_says_what_was_obtained(server: Server, tmp_path: Path) -> None:
    dumped = dump_everything(server, LocalStore(tmp_path))
    manifest, contents = dumped.manifest, dumped.contents
    assert manifest.dumper == "built-in"
    assert manifest.consistency is Consistency.SNAPSHOT
    assert manifest.window is not None
    assert manifest.window[0] == manifest.window[1]
    by_name = {found.namespace: found for found in contents.collections}
    assert by_name["clinic.long"].in_snapshot
    assert not by_name["clinic.capped"].in_snapshot
    assert by_name["clinic.long"].content.documents == 6_000
    assert by_name["clinic.adults"].content.documents == 0
    assert any(note.startswith("clinic.capped: ") for note in contents.notes)
    assert "admin.system.users" in by_name
    assert sum(found.content.documents for found in contents.collections) == manifest.documents
    assert sum(found.content.size for found in contents.collections) == sum(
        member.size for member in manifest.members if member.documents is not None
    )


class _Moments(CommandListener):
    """The moments at which collections of the clinic are read, as the driver asks for them."""

    def __init__(self) -> None:
        self.found: dict[str, set[object]] = {}

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find" and event.database_name == "clinic":
            concern = event.command.get("readConcern", {})
            self.found.setdefault(event.command["find"], set()).add(concern.get("atClusterTime"))

    def succeeded(self, event: object) -> None:
        pass

    def failed(self, event: object) -> None:
        pass


def test_all_collections_are_read_at_the_moment_of_the_snapshot(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as from a server that keeps its snapshots: a transaction is then in all collections or in none
    monkeypatch.setattr(consistency, "refuses_lost_history", lambda *_: True)
    moments = _Moments()
    with (
        MongoClient(server.uri, document_class=RawBSONDocument, event_listeners=[moments]) as client,
        create_backup(LocalStore(tmp_path), "b", [KEK]) as sink,
    ):
        dumped = dump(client, sink, DumpOptions(server.uri, ("clinic",)))
    assert dumped.manifest.window is not None
    begun, _ = dumped.manifest.window
    moment = Timestamp(begun.seconds, begun.increment)
    names = [one.namespace.partition(".")[2] for one in dumped.contents.collections if one.in_snapshot]
    tried, *others = [moments.found[each] - {Timestamp(1, 1)} for each in names]
    assert len(others) > 3
    assert (tried, others) == ({None, moment}, [{moment}] * len(others))  # the first read fixes the moment
    assert moments.found["capped"] == {None}


def test_without_a_snapshot_several_threads_read_and_the_window_is_stated(
    server: Server, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    options = DumpOptions(server.uri, ("clinic",), Wanted.NONE, parallel=3)
    with create_backup(store, "w", [KEK]) as sink:
        found = dump(server.raw, sink, options)
    assert found.manifest.consistency is Consistency.OPLOG_WINDOW
    assert found.manifest.window is not None
    assert found.manifest.window[0] <= found.manifest.window[1]
    assert {one.namespace.partition(".")[0] for one in found.contents.collections} == {"clinic"}
    report = restored(server.raw, sealed(store, "w"), tmp_path, "clinic=threads")
    assert report.holds
    assert_same(server, "threads")


def test_whoever_waits_is_told_how_much_there_is(server: Server, tmp_path: Path) -> None:
    told: list[Progress] = []
    with create_backup(LocalStore(tmp_path), "w", [KEK]) as sink:
        found = dump(server.raw, sink, DumpOptions(server.uri, ("clinic.long",)), told.append)
    assert [now.size for now in told] == sorted(now.size for now in told)
    documents = sum(collection.content.size for collection in found.contents.collections)
    assert told[-1].size == documents
    assert told[0].of_size == pytest.approx(documents, rel=0.1)
    assert found.manifest.documents_size({"clinic.long"}) == documents
    assert found.manifest.documents_size(()) == 0


@pytest.mark.parametrize("blocks_before", [0, 1, 3])
def test_a_server_that_goes_away_leaves_no_backup(tmp_path: Path, blocks_before: int) -> None:
    (tmp_path / "store").mkdir()
    store = LocalStore(tmp_path / "store")
    with secantus(tmp_path) as process:
        with process.connect() as direct:
            for name in ("a", "b", "c", "d"):
                direct.clinic[name].insert_many([{"text": "x" * 1000} for _ in range(3_000)])
        seen = 0

        def stop(_: object) -> None:
            nonlocal seen
            seen += 1
            if seen == blocks_before:
                process.kill()

        uri = process.uri() + "?serverSelectionTimeoutMS=1500"
        with connected(uri) as client, create_backup(store, "gone", [KEK]) as sink:
            if blocks_before == 0:
                process.kill()
            with pytest.raises(Unavailable) as caught:
                dump(client, sink, DumpOptions(uri), stop)
        assert caught.value.reason is BackupReason.SOURCE_LOST
    assert list(store.objects()) == []


def test_a_server_that_repeats_a_snapshots_time_and_shows_the_present_has_none(
    server: Server, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    with create_backup(store, "w", [KEK]) as sink:
        found = dump(server.raw, sink, DumpOptions(server.uri, ("other",)))
    assert found.manifest.consistency is Consistency.OPLOG_WINDOW
    with pytest.raises(Unavailable) as caught, create_backup(store, "s", [KEK]) as sink:
        dump(server.raw, sink, DumpOptions(server.uri, ("other",), Wanted.SNAPSHOT))
    assert caught.value.reason is BackupReason.SNAPSHOT_REFUSED
    assert not store.exists("s.tar.gz.enc")


def test_a_selection_that_names_nothing_is_refused(server: Server, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with (
        pytest.raises(SidecarError) as caught,
        create_backup(store, "nothing", [KEK]) as sink,
    ):
        dump(server.raw, sink, DumpOptions(server.uri, ("nowhere",)))
    assert caught.value.reason is BackupReason.SELECTION
    assert not store.exists("nothing.tar.gz.enc")


def test_sealwire_itself_is_not_dumped(stack: Stack) -> None:
    uri = stack.proxy.uri(ROOT)
    with pytest.raises(Unusable) as caught, connected(uri):
        pass
    assert caught.value.reason is DirectReason.SEALWIRE
