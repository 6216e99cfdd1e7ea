"""From a real server through a sealed backup into another place: the same bytes, indexes, options, views."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from sealwire.sidecars.backup.archive.dump_files import DumpFiles, open_plain, survey
from sealwire.sidecars.backup.dumping.dump import Dumped, DumpOptions, dump
from sealwire.sidecars.backup.restoring.plan import Planned, opened, plan
from sealwire.sidecars.backup.restoring.restore import Restore, RestoreOutcome, RestoreServer, drill
from sealwire.sidecars.backup.sealed.payload import create_backup, open_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import BackupReason, CannotCreate, Unavailable, Unsound
from tests.integration.backup_source import (
    Server,
    assert_same,
    dump_everything,
    filled_server,
    planned,
    restored,
    sealed,
)
from tests.integration.conftest import Stack
from tests.sidecars.backup.samples import KEK
from tests.support.reasons import raising
from tests.support.secantus import ROOT, secantus

pytestmark = pytest.mark.integration

Raw = MongoClient[RawBSONDocument]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with filled_server(tmp_path_factory.mktemp("source")) as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def dumped(server: Server, store: LocalStore) -> Dumped:
    return dump_everything(server, store)


def test_everything_comes_back_under_another_name(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    parts = [member.path for member in dumped.manifest.members if "/long.bson.parts/" in member.path]
    assert len(parts) > 3
    report = restored(server.raw, sealed(store), tmp_path, "clinic=copy")
    assert report.holds
    assert {result.outcome for result in report.collections} == {RestoreOutcome.RESTORED}
    assert_same(server, "copy")
    assert not list(server.direct.copy.adults.find({"bool": False}))


@pytest.mark.parametrize("packed", ["directory", "tar", "tar.gz"])
def test_what_lies_unsealed_in_mongodumps_layout_is_restored_too(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path, packed: str
) -> None:
    files: DumpFiles
    unsealed = tmp_path / "dump"
    _unseal(store, unsealed)
    if packed == "directory":
        files = open_plain(unsealed)
    else:
        with tarfile.open(tmp_path / f"d.{packed}", "w:gz" if packed == "tar.gz" else "w") as tar:
            tar.add(unsealed, "dump")  # with the folder above it, as people pack it
        files = open_plain(tmp_path / f"d.{packed}")
    target = f"from_{packed.replace('.', '_')}"
    report = restored(server.raw, files, tmp_path, f"clinic={target}")
    assert report.holds
    assert_same(server, target)


def _unseal(store: LocalStore, folder: Path) -> None:
    """As an operator would, with tar and cat: parts are joined to the file that mongorestore reads."""
    folder.mkdir()
    with open_backup(store, "b", [KEK]) as source, tarfile.open(fileobj=io.BytesIO(source.read())) as tar:
        tar.extractall(folder, filter="data")
    for parts in folder.glob("*/*.bson.parts"):
        whole = b"".join(part.read_bytes() for part in sorted(parts.iterdir()))
        parts.with_name(parts.name.removesuffix(".parts")).write_bytes(whole)
        for part in parts.iterdir():
            part.unlink()
        parts.rmdir()


def test_a_target_that_has_something_is_left_alone(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    server.direct.taken.long.insert_one({"_id": "mine"})
    with raising(CannotCreate, BackupReason.TARGET_OCCUPIED):
        restored(server.raw, sealed(store), tmp_path, "clinic=taken")
    assert server.direct.taken.list_collection_names() == ["long"]
    assert list(server.direct.taken.long.find()) == [{"_id": "mine"}]


def test_drop_replaces_what_is_there_and_nothing_else(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    server.direct.replaced.long.insert_one({"_id": "mine"})
    server.direct.replaced.unrelated.insert_one({"_id": "mine too"})
    files = sealed(store)
    found = survey(files)
    restore = Restore(server.raw, files, found, planned(found, "clinic=replaced"))
    restore.drop()
    with opened(tmp_path / "journal.json", "x") as journal:
        assert restore.run(journal).holds
    assert server.stored("replaced", "long") == server.stored("clinic", "long")
    assert list(server.direct.replaced.unrelated.find()) == [{"_id": "mine too"}]


def test_users_that_a_server_does_not_take_over_are_said_and_leave_nothing_behind(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    files = sealed(store)
    found = survey(files)
    chosen = plan(list(found.collections.values()), only=("admin",), logins=True)
    with opened(tmp_path / "journal.json", "x") as journal:
        report = Restore(server.raw, files, found, chosen).run(journal)
    # this server does not know the command by which MongoDB merges users
    assert not report.holds
    assert len(report.remarks) == 1
    assert {result.source for result in report.collections} == {"admin.system.users", "admin.system.roles"}
    assert {result.outcome for result in report.collections} == {RestoreOutcome.RESTORED}
    assert [name for name in server.direct.admin.list_collection_names() if "sealwire" in name] == []


class Interrupted(Exception):
    """As if the process ended here."""


def test_a_restore_that_was_broken_off_anywhere_goes_on(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    files = sealed(store)
    found = survey(files)
    for after in (1, 3, 6, 14):
        target = f"resumed{after}"
        steps = 0

        def stop(*_: object, after: int = after) -> None:
            nonlocal steps
            steps += 1
            if steps == after:
                raise Interrupted

        chosen = planned(found, f"clinic={target}")
        path = tmp_path / f"{target}.json"
        with opened(path, target) as journal, pytest.raises(Interrupted):
            Restore(server.raw, files, found, chosen).run(journal, stop)
        with opened(path, target) as journal:
            assert journal.resumed
            # a block in doubt: the server has a part of it, the journal does not know
            there = journal.entries[f"{target}.long"].documents
            if there < 6_000:
                doubtful = [
                    RawBSONDocument(raw) for raw in server.stored("clinic", "long")[there : there + 9]
                ]
                server.raw[target].long.insert_many(doubtful)
            report = Restore(server.raw, files, found, chosen).run(journal)
        assert report.holds
        assert_same(server, target)


def test_a_journal_does_not_go_on_in_a_collection_that_it_did_not_begin(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    files = sealed(store)
    found = survey(files)

    def stop(*_: object) -> None:
        raise Interrupted

    chosen = planned(found, "clinic=exchanged")
    path = tmp_path / "journal.json"
    with opened(path, "x") as journal, pytest.raises(Interrupted):
        Restore(server.raw, files, found, chosen).run(journal, stop)
    server.direct.exchanged.long.drop()
    server.direct.exchanged.create_collection("long")
    with opened(path, "x") as journal, raising(Unavailable, BackupReason.JOURNAL_OTHER):
        Restore(server.raw, files, found, chosen).run(journal)


def test_a_damaged_backup_says_what_of_it_is_in_place_and_is_never_called_restored(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    damaged = LocalStore(tmp_path)
    for path in Path(store.address).glob("b.*"):
        content = bytearray(path.read_bytes())
        if path.suffix == ".enc":
            content[-10] ^= 1
        (tmp_path / path.name).write_bytes(content)
    with raising(Unsound, BackupReason.ALTERED) as caught:
        restored(server.raw, sealed(damaged), tmp_path, "clinic=damaged")
    assert "in place" in str(caught.value) or "hold documents" in str(caught.value)


def test_a_drill_compares_and_leaves_an_empty_server(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    files = sealed(store)
    with secantus(tmp_path) as process, connected(process.uri()) as client, process.connect() as direct:
        report = drill(client, files, survey(files))
        assert report.restored.holds
        assert len(report.restored.collections) == len(dumped.contents.collections) - 3
        assert set(direct.list_database_names()) <= {"admin", "config", "local"}
        direct.mine.things.insert_one({"_id": 1})
        with pytest.raises(CannotCreate):
            drill(client, files, survey(files))
        assert direct.mine.things.count_documents({}) == 1


def test_a_drill_notices_what_its_server_lost(
    store: LocalStore, dumped: Dumped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sealed(store)
    insert = RestoreServer.insert

    def lose(server: RestoreServer, planned: Planned, name: str, data: bytes, *, in_doubt: bool) -> None:
        kept = data if name != "long" else data[int.from_bytes(data[:4], "little") :]
        insert(server, planned, name, kept, in_doubt=in_doubt)

    monkeypatch.setattr(RestoreServer, "insert", lose)
    with secantus(tmp_path) as process, connected(process.uri()) as client:
        report = drill(client, files, survey(files)).restored
    assert not report.holds
    different = {each.source for each in report.collections if each.outcome is RestoreOutcome.DIFFERENT}
    assert different == {"clinic.long"}


def test_a_backup_is_read_through_sealwire_under_another_name_that_the_policy_covers(
    clean: Stack, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    clean.clinic.patients.insert_many(
        [{"_id": number, "nhs_number": f"99900000{number:02d}", "notes": "seen"} for number in range(50)]
    )
    uri = clean.database.uri(ROOT)
    with connected(uri) as client:
        with create_backup(store, "p", [KEK]) as sink:
            dump(client, sink, DumpOptions(uri, ("clinic.patients",)))
        with open_backup(store, "p", [KEK]) as source:
            assert b"99900000" not in source.read()
        report = restored(client, sealed(store, "p"), tmp_path, "clinic.patients=clinic.restored")
    assert report.holds
    found = clean.clinic.restored.find_one({"_id": 7})
    assert found == {"_id": 7, "nhs_number": "9990000007", "notes": "seen"}
    assert clean.raw.restored.find_one({"_id": 7}) == clean.raw.patients.find_one({"_id": 7})
