"""From a real server through a sealed backup into another place: the same bytes, indexes, options, views."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from sealwire.cli.backup_restoring import documents_size
from sealwire.demo.certificates import create_authority
from sealwire.demo.database import DatabaseProcess
from sealwire.sidecars.backup import consistency
from sealwire.sidecars.backup.comparison import Outcome, RestoreReport
from sealwire.sidecars.backup.consistency import Wanted
from sealwire.sidecars.backup.drill import drill
from sealwire.sidecars.backup.dump import Dumped, DumpOptions, Progress, dump
from sealwire.sidecars.backup.dump_files import DirectoryFiles, DumpFiles, SealedFiles, TarFiles
from sealwire.sidecars.backup.errors import (
    BackupDamaged,
    BackupError,
    BackupReason,
    RestoreStopped,
    SourceFailed,
    TargetOccupied,
)
from sealwire.sidecars.backup.journal import opened, purpose_of
from sealwire.sidecars.backup.local_store import LocalStore
from sealwire.sidecars.backup.manifest import Consistency
from sealwire.sidecars.backup.restore import Restore
from sealwire.sidecars.backup.restore_plan import RestorePlan, parse_rename, plan
from sealwire.sidecars.backup.sealed_reader import open_backup
from sealwire.sidecars.backup.sealed_writer import create_backup
from sealwire.sidecars.backup.survey import Survey, survey
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.direct_errors import DirectReason, UnusableUri
from tests.integration.conftest import Stack
from tests.sidecars.backup.samples import KEK
from tests.support.secantus import ROOT, secantus

pytestmark = pytest.mark.integration

Raw = MongoClient[RawBSONDocument]

EVERY_TYPE: list[dict[str, Any]] = [
    {"_id": 1, "double": 1.0, "negative zero": -0.0, "nan": float("nan"), "infinity": float("inf")},
    {"_id": 2, "int": 5, "long": Int64(5), "decimal": Decimal128("5.00"), "bool": True, "null": None},
    {"_id": 3, "text": "é\0x", "empty": "", "": "no name", "a.b": "dot", "$c": "dollar"},
    {
        "_id": 4,
        "envelope": Binary(b"SW\1\1" + bytes(45), 0x80),
        "uuid": Binary(bytes(16), 4),
        "6": Binary(b"", 6),
    },
    {
        "_id": 5,
        "time": datetime(1900, 1, 1, tzinfo=UTC),
        "stamp": {"below": Timestamp(0, 0)},
        "t": Timestamp(5, 1),
    },
    {"_id": 6, "regex": Regex("^a", "imx"), "code": Code("x"), "ref": DBRef("a", 1, "b"), "min": MinKey()},
    {"_id": 7, "max": MaxKey(), "id": ObjectId("0" * 24), "array": [1, [2, {"a": []}], {}], "none": {}},
    {"_id": ObjectId("1" * 24), "text": "x" * 70_000},
    {"_id": {"b": 1, "a": 2}},
    {"_id": Binary(b"key", 0x80)},
]


@dataclass(frozen=True, slots=True)
class Server:
    """A database server, and two ways to look at it."""

    process: DatabaseProcess
    direct: MongoClient[dict[str, Any]]
    raw: Client
    """As the tools connect."""

    @property
    def uri(self) -> str:
        return self.process.uri(ROOT)

    def stored(self, database: str, collection: str) -> list[bytes]:
        return [bytes(document.raw) for document in self.raw[database][collection].find()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("source")
    authority = create_authority(folder / "certificates")
    with (
        secantus(folder, users=(ROOT,), authority=authority) as process,
        process.connect(ROOT) as direct,
        connected(process.uri(ROOT)) as raw,
    ):
        _fill(direct, raw)
        yield Server(process, direct, raw)


def _fill(direct: MongoClient[dict[str, Any]], raw: Client) -> None:
    clinic = direct.clinic
    raw.clinic.types.insert_many([RawBSONDocument(encode(document)) for document in EVERY_TYPE])
    clinic.long.insert_many([{"_id": number, "text": f"{number:07d}" * 30} for number in range(6_000)])
    clinic.create_collection("empty")
    clinic["a/b c%é"].insert_one({"_id": 1})
    clinic.create_collection("capped", capped=True, size=1 << 20, max=5)
    clinic.capped.insert_many([{"_id": number} for number in (9, 3, 7)])
    clinic.create_collection("checked", validator={"n": {"$type": "int"}}, validationLevel="moderate")
    clinic.checked.insert_one({"_id": 1, "n": 1})
    clinic.command("insert", "checked", documents=[{"_id": 2, "n": "x"}], bypassDocumentValidation=True)
    clinic.create_collection("adults", viewOn="types", pipeline=[{"$match": {"bool": True}}])
    clinic.create_collection("measured", timeseries={"timeField": "at", "metaField": "ward"})
    clinic.measured.insert_one({"_id": 1, "at": datetime(2020, 1, 1, tzinfo=UTC), "ward": 3, "value": 1.5})
    clinic.create_collection("folded", collation={"locale": "en", "strength": 2})
    clinic.long.create_index([("text", 1)], name="by text", unique=True)
    clinic.long.create_index([("b", -1), ("a", 1)], sparse=True)
    clinic.long.create_index("gone", expireAfterSeconds=3600, partialFilterExpression={"n": {"$gt": 5}})
    direct.other.things.insert_one({"_id": 1})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def dumped(server: Server, store: LocalStore) -> Dumped:
    """A sealed backup called `b` of everything."""
    # small chunks and blocks, so that a test's collection is long
    # and as from a server that keeps its snapshots: this one takes snapshot reads and shows the present
    with pytest.MonkeyPatch.context() as patch, create_backup(store, "b", [KEK], 4096) as sink:
        patch.setattr(consistency, "refuses_lost_history", lambda *_: True)
        return dump(server.raw, sink, DumpOptions(server.uri, block_bytes=200_000))


def sealed(store: LocalStore, name: str = "b") -> SealedFiles:
    return SealedFiles(lambda: open_backup(store, name, [KEK]), name)


def planned(found: Survey, *renames: str, only: tuple[str, ...] = ("clinic",)) -> RestorePlan:
    return plan(list(found.collections.values()), [parse_rename(rename) for rename in renames], only)


def restored(client: Client, files: DumpFiles, folder: Path, *renames: str) -> RestoreReport:
    found = survey(files)
    restore = Restore(client, files, found, planned(found, *renames))
    purpose = purpose_of(files.identity, restore.target_identity(), [])
    with opened(folder / "journal.json", purpose) as journal:
        return restore.run(journal)


def assert_same(server: Server, target: str) -> None:
    """`target` is `clinic` in everything but uuids."""
    before, after = (
        {item["name"]: item for item in server.direct[name].list_collections()} for name in ("clinic", target)
    )
    assert before.keys() == after.keys()
    for name, described in before.items():
        assert after[name]["options"] == described["options"]
        assert after[name]["type"] == described["type"]
        if described["type"] != "view":
            assert server.stored(target, name) == server.stored("clinic", name)
            assert list(server.direct[target][name].list_indexes()) == list(
                server.direct.clinic[name].list_indexes()
            )
    assert [document["_id"] for document in server.direct[target].adults.find()] == [2]


def test_everything_comes_back_under_another_name(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    parts = [member.path for member in dumped.manifest.members if "/long.bson.parts/" in member.path]
    assert len(parts) > 3
    report = restored(server.raw, sealed(store), tmp_path, "clinic=copy")
    assert report.holds
    assert {result.outcome for result in report.collections} == {Outcome.RESTORED}
    assert_same(server, "copy")
    assert not list(server.direct.copy.adults.find({"bool": False}))


def test_the_manifest_says_what_was_obtained(dumped: Dumped) -> None:
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


@pytest.mark.parametrize("packed", ["directory", "tar", "tar.gz"])
def test_what_lies_unsealed_in_mongodumps_layout_is_restored_too(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path, packed: str
) -> None:
    files: DumpFiles
    unsealed = tmp_path / "dump"
    _unseal(store, unsealed)
    if packed == "directory":
        files = DirectoryFiles(unsealed)
    else:
        with tarfile.open(tmp_path / f"d.{packed}", "w:gz" if packed == "tar.gz" else "w") as tar:
            tar.add(unsealed, "dump")  # with the folder above it, as people pack it
        files = TarFiles(tmp_path / f"d.{packed}")
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
    with pytest.raises(TargetOccupied) as caught:
        restored(server.raw, sealed(store), tmp_path, "clinic=taken")
    assert caught.value.reason is BackupReason.TARGET_OCCUPIED
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
    assert {result.outcome for result in report.collections} == {Outcome.RESTORED}
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

        def stop(_: object, after: int = after) -> None:
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
            there = journal[f"{target}.long"].documents
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

    def stop(_: object) -> None:
        raise Interrupted

    chosen = planned(found, "clinic=exchanged")
    path = tmp_path / "journal.json"
    with opened(path, "x") as journal, pytest.raises(Interrupted):
        Restore(server.raw, files, found, chosen).run(journal, stop)
    server.direct.exchanged.long.drop()
    server.direct.exchanged.create_collection("long")
    with opened(path, "x") as journal, pytest.raises(RestoreStopped) as caught:
        Restore(server.raw, files, found, chosen).run(journal)
    assert caught.value.reason is BackupReason.JOURNAL_OTHER


def test_a_damaged_backup_says_what_of_it_is_in_place_and_is_never_called_restored(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    damaged = LocalStore(tmp_path)
    for path in Path(store.address).glob("b.*"):
        content = bytearray(path.read_bytes())
        if path.suffix == ".enc":
            content[-10] ^= 1
        (tmp_path / path.name).write_bytes(content)
    with pytest.raises(BackupDamaged) as caught:
        restored(server.raw, sealed(damaged), tmp_path, "clinic=damaged")
    assert caught.value.reason is BackupReason.ALTERED
    assert "in place" in str(caught.value) or "hold documents" in str(caught.value)


def test_a_drill_compares_and_leaves_an_empty_server(
    server: Server, store: LocalStore, dumped: Dumped, tmp_path: Path
) -> None:
    files = sealed(store)
    with (
        secantus(tmp_path) as process,
        connected(process.uri()) as client,
        process.connect() as direct,
    ):
        report = drill(client, files, survey(files))
        assert report.restored.holds
        assert len(report.restored.collections) == len(dumped.contents.collections) - 3
        assert set(direct.list_database_names()) <= {"admin", "config", "local"}
        direct.mine.things.insert_one({"_id": 1})
        with pytest.raises(TargetOccupied):
            drill(client, files, survey(files))
        assert direct.mine.things.count_documents({}) == 1


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
    assert documents_size(found.manifest, {"clinic.long"}) == documents
    assert documents_size(found.manifest, ()) == 0


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

        uri = process.uri() + "?serverSelectionTimeoutMS=500"
        with connected(uri) as client, create_backup(store, "gone", [KEK]) as sink:
            if blocks_before == 0:
                process.kill()
            with pytest.raises(SourceFailed) as caught:
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
    with pytest.raises(SourceFailed) as caught, create_backup(store, "s", [KEK]) as sink:
        dump(server.raw, sink, DumpOptions(server.uri, ("other",), Wanted.SNAPSHOT))
    assert caught.value.reason is BackupReason.SNAPSHOT_REFUSED
    assert not store.exists("s.tar.gz.enc")


def test_a_selection_that_names_nothing_is_refused(server: Server, store: LocalStore) -> None:
    with (
        pytest.raises(BackupError) as caught,
        create_backup(store, "nothing", [KEK]) as sink,
    ):
        dump(server.raw, sink, DumpOptions(server.uri, ("nowhere",)))
    assert caught.value.reason is BackupReason.SELECTION
    assert not store.exists("nothing.tar.gz.enc")


def test_a_backup_stays_readable_through_sealwire_when_it_is_restored_under_another_name(
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


def test_sealwire_itself_is_not_dumped(stack: Stack) -> None:
    uri = stack.proxy.uri(ROOT)
    with pytest.raises(UnusableUri) as caught, connected(uri):
        pass
    assert caught.value.reason is DirectReason.SEALWIRE
