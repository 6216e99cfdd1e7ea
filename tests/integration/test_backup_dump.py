"""Dumps of a real server: what they say of themselves, and what keeps one from being made."""

import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bson import Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from sealwire.cli.exit_codes import EX_UNAVAILABLE
from sealwire.keys.errors import KekDenied
from sealwire.keys.kek.key_pair import load_public_key
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.settings import vault_settings
from sealwire.keys.vault.transit import TransitKek
from sealwire.sidecars.backup.dumping import dump as consistency
from sealwire.sidecars.backup.dumping.dump import Dumped, DumpOptions, ReaderChoice, Wanted, dump
from sealwire.sidecars.backup.keeping.verification import rewrap, verify_backup
from sealwire.sidecars.backup.sealed.manifest import Consistency
from sealwire.sidecars.backup.sealed.payload import create_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import BackupReason, DirectReason, SidecarError, Unavailable, Unusable
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.openbao import OpenBao, dev_server
from tests.build_context import ROOT as TREE
from tests.integration.backup_source import (
    Server,
    assert_same,
    dump_everything,
    filled_server,
    restored,
    sealed,
)
from tests.integration.backup_writer import SIZE, make_in_steps
from tests.integration.conftest import Stack
from tests.integration.migrate.clinics import NHS, POLICY, new_clinic, reencryption
from tests.keys.samples import NOW, PASSPHRASE
from tests.sidecars.backup.samples import KEK, local, seal
from tests.support.doc_commands import run_document
from tests.support.forks import PROCESSES
from tests.support.private import private
from tests.support.reasons import raising
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
    told: list[tuple[int, int | None]] = []
    options = DumpOptions(server.uri, ("clinic.long",))
    with create_backup(LocalStore(tmp_path), "w", [KEK]) as sink:
        found = dump(server.raw, sink, options, lambda _text, *sizes: told.append(sizes))
    assert [size for size, _ in told] == sorted(size for size, _ in told)
    documents = sum(collection.content.size for collection in found.contents.collections)
    assert told[-1][0] == documents
    assert told[0][1] == pytest.approx(documents, rel=0.1)
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

        def stop(*_: object) -> None:
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
    with raising(Unavailable, BackupReason.SNAPSHOT_REFUSED), create_backup(store, "s", [KEK]) as sink:
        dump(server.raw, sink, DumpOptions(server.uri, ("other",), Wanted.SNAPSHOT))
    assert not store.exists("s.tar.gz.enc")


def test_a_selection_that_names_nothing_is_refused(server: Server, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with raising(SidecarError, BackupReason.SELECTION), create_backup(store, "nothing", [KEK]) as sink:
        dump(server.raw, sink, DumpOptions(server.uri, ("nowhere",)))
    assert not store.exists("nothing.tar.gz.enc")


def test_sealwire_itself_is_not_dumped(stack: Stack) -> None:
    uri = stack.proxy.uri(ROOT)
    with raising(Unusable, DirectReason.SEALWIRE), connected(uri):
        pass


# The commands of docs/operations/backup.md work as they stand there.


PAGE = TREE / "docs" / "operations" / "backup.md"


def test_the_page_from_key_to_alarm(tmp_path: Path) -> None:
    private(tmp_path / "passphrase.txt", PASSPHRASE + "\n")
    run_document(PAGE, tmp_path, "keys")
    backups = tmp_path / "backups"
    backups.mkdir()
    seal(local(backups), recipients=[load_public_key(tmp_path / "backup-key.pub")])
    said = run_document(PAGE, tmp_path, "store")
    assert "b: sound, 20 documents in 3 files" in said
    assert PASSPHRASE not in said
    assert (backups / "b-r1.tar.gz.enc").exists()
    assert not (backups / "b.tar.gz.enc").exists()
    assert sorted(path.name for path in (tmp_path / "units").iterdir()) == [
        "sealwire-backup.service",
        "sealwire-backup.timer",
        "sealwire-backup.yaml",
    ]
    assert "sealwire_backup_plaintext_overdue 0.0" in (tmp_path / "sealwire_backup.prom").read_text()


# Backups whose keys are in OpenBao: who may write them cannot read them, and the other way round.


NAME = "backups"


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with dev_server(tmp_path_factory.mktemp("bao")) as server:
        server.client.sys.enable_secrets_engine("transit")
        server.client.secrets.transit.create_key(NAME)
        yield server


def kek(bao: OpenBao, *rights: str) -> TransitKek:
    """The key, with a token that may do just this with it."""
    policy = "".join(f'path "transit/{right}/{NAME}" {{ capabilities = ["update"] }}\n' for right in rights)
    name = "-".join(rights)
    bao.client.sys.create_or_update_policy(name, policy)
    token = str(bao.client.auth.token.create(policies=[name])["auth"]["client_token"])
    connection = VaultConnection(vault_settings({"address": bao.address}, {}), {"VAULT_TOKEN": token})
    return TransitKek(connection, f"transit/{NAME}")


def test_who_writes_cannot_read_and_who_reads_cannot_write(bao: OpenBao, tmp_path: Path) -> None:
    writer, reader = kek(bao, "encrypt"), kek(bao, "decrypt")
    store = LocalStore(tmp_path)
    seal(store, recipients=[writer])
    with pytest.raises(KekDenied):
        verify_backup(store, "b", [writer], NOW)
    assert verify_backup(store, "b", [reader], NOW).manifest.documents == 20
    with pytest.raises(KekDenied), create_backup(store, "c", [reader]):
        pass
    assert not list(tmp_path.glob("*c.tar*"))


def test_after_a_rotation_the_old_version_can_be_retired(bao: OpenBao, tmp_path: Path) -> None:
    both = kek(bao, "encrypt", "decrypt")
    store = LocalStore(tmp_path)
    seal(store, recipients=[both])
    transit = bao.client.secrets.transit
    transit.rotate_key(NAME)
    rewrap(store, "b", [both], [both])
    newest = transit.read_key(NAME)["data"]["latest_version"]
    transit.update_key_configuration(NAME, min_decryption_version=newest)
    assert verify_backup(store, "b", [both], NOW).recorded
    # What the payload's own header holds is dead now: nobody opens it without the sidecar.
    (tmp_path / "b.tar.gz.enc.json").unlink()
    with pytest.raises(KekDenied):
        verify_backup(store, "b", [both], NOW)


# mongodump as the reader: the stand-in everywhere, and mongodump itself where it is installed.


FAKE = Path(__file__).parent.parent / "support" / "fake_mongodump.py"
REAL = shutil.which("mongodump")


@pytest.fixture
def filled(clean: Stack) -> Stack:
    clean.raw.patients.insert_many([{"_id": number, "text": "x" * 500} for number in range(3_000)])
    clean.raw["a b"].insert_one({"_id": 1})
    clean.raw.create_collection("empty")
    return clean


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in as `mongodump` on the path; gives the log that it writes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "mongodump"
    program.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return program.with_suffix(".log")


def dumped(stack: Stack, folder: Path, reader: ReaderChoice, wanted: Wanted = Wanted.NONE) -> Dumped:
    uri = stack.database.uri(ROOT)
    store = LocalStore(folder)
    options = DumpOptions(uri, ("clinic",), wanted, reader, parallel=1)
    name = f"b{len(store.objects())}"
    with connected(uri) as client, create_backup(store, name, [KEK]) as sink:
        return dump(client, sink, options)


def test_it_reads_the_same_as_the_driver_and_nobody_sees_the_password(
    filled: Stack, tmp_path: Path, fake: Path
) -> None:
    by_driver = dumped(filled, tmp_path, ReaderChoice.BUILT_IN)
    by_mongodump = dumped(filled, tmp_path, ReaderChoice.AUTO)
    assert by_mongodump.manifest.dumper == "mongodump 100.10.0"
    assert by_mongodump.contents.collections == by_driver.contents.collections
    lines = fake.read_text().splitlines()
    assert {line.split("\t")[0] for line in lines} == {"clinic.patients", "clinic.a b", "clinic.empty"}
    assert {line.split("\t")[1] for line in lines} == {"unseen"}


@pytest.mark.skipif(REAL is None, reason="needs MongoDB's own mongodump, which Debian does not have")
def test_mongodump_itself_reads_the_same(filled: Stack, tmp_path: Path) -> None:
    by_driver = dumped(filled, tmp_path, ReaderChoice.BUILT_IN)
    by_mongodump = dumped(filled, tmp_path, ReaderChoice.MONGODUMP)
    assert by_mongodump.contents.collections == by_driver.contents.collections


def test_at_a_snapshot_the_driver_reads(
    filled: Stack, tmp_path: Path, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as a server that keeps its snapshots: this one takes snapshot reads and shows the present
    monkeypatch.setattr(consistency, "refuses_lost_history", lambda *_: True)
    found = dumped(filled, tmp_path, ReaderChoice.AUTO, Wanted.SNAPSHOT)
    assert found.manifest.dumper == "built-in"
    assert not fake.exists()


def test_a_mongodump_that_fails_half_way_makes_no_backup(filled: Stack, tmp_path: Path, fake: Path) -> None:
    fake.with_suffix(".fails").write_text("patients")
    with raising(Unavailable, BackupReason.DUMPER):
        dumped(filled, tmp_path, ReaderChoice.MONGODUMP)
    assert LocalStore(tmp_path).objects() == []


def test_where_there_is_none_it_is_said_or_done_without(
    filled: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dumped(filled, tmp_path, ReaderChoice.AUTO).manifest.dumper == "built-in"
    with raising(Unavailable, BackupReason.DUMPER):
        dumped(filled, tmp_path, ReaderChoice.MONGODUMP)


# The runbook for a database that was put back from before a rotation is followed as it is printed.


RESTORED_PAGE = TREE / "docs" / "operations" / "runbooks.md"


def test_data_from_before_a_rotation_is_found_by_equality_again(
    database: DatabaseProcess, tmp_path: Path
) -> None:
    with new_clinic(database, tmp_path, POLICY, (NHS, "notes")) as clinic, database.connect() as direct:
        stored: Any = direct["clinic"]["patients"]
        stored.create_index(NHS, unique=True)
        with clinic.proxy() as client:
            client["clinic"]["patients"].insert_many(
                {"_id": number, NHS: f"{number}", "kin": [{NHS: f"kin {number}"}]} for number in range(8)
            )
        backup = list(stored.find())
        clinic.rotate(NHS, pending=True)
        assert clinic.job(*reencryption(clinic))["state"] == "done"
        stored.delete_many({})
        stored.insert_many(backup)
        with clinic.proxy() as client:
            # a unique index takes it, as it is of another form: nobody has stopped the application
            client["clinic"]["patients"].insert_one({"_id": "twice", NHS: "5"})

        environ = {name: clinic.environ[name] for name in ("SEALWIRE_KEK", "SEALWIRE_SERVER_URI", "COLUMNS")}
        said = run_document(RESTORED_PAGE, tmp_path, "restored", environ)
        assert f"sealwire migrate repair POLICY {NHS}" in said
        assert "would repair; about 8 documents" in said
        # of the document that collides, the value that does not has moved
        assert "15 values of 8 documents moved" in said
        assert said.count("exit code 1") == 2
        assert said.count("server 11000") == 1
        with clinic.proxy() as client:
            patients = client["clinic"]["patients"]
            assert patients.find_one({NHS: "3"}) == {"_id": 3, NHS: "3", "kin": [{NHS: "kin 3"}]}
            patients.delete_one({"_id": "twice"})
        said = run_document(RESTORED_PAGE, tmp_path, "again", environ)
        assert "nothing of another form is left" in said
        with clinic.proxy() as client:
            patients = client["clinic"]["patients"]
            assert [each["_id"] for each in patients.find({NHS: {"$in": ["5", "6"]}}).sort("_id", 1)] == [
                5,
                6,
            ]
            assert patients.count_documents({"kin.nhs_number": "kin 5"}) == 1


# A writer that is stopped anywhere: earlier backups stay whole, and no half file has a name.


OLD = {"old.tar.gz.enc", "old.tar.gz.enc.json"}
NEW = {"new.tar.gz.enc", "new.tar.gz.enc.json"}
COMMAND = [sys.executable, "-m", "tests.integration.backup_writer"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    seal(LocalStore(tmp_path), "old")
    return tmp_path


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.startswith(".")}


def check(directory: Path) -> bool:
    """What holds whenever the writer ended; True when the new backup is there, whole."""
    store = LocalStore(directory)
    verify_backup(store, "old", [KEK], NOW)
    found = names(directory)
    assert found in (OLD, OLD | {"new.tar.gz.enc.json"}, OLD | NEW)
    if found >= NEW:
        verify_backup(store, "new", [KEK], NOW)
    return found >= NEW


def finish(directory: Path) -> None:
    """The next run of the same name does not stumble over what was left, and leaves nothing of it."""
    done = subprocess.run([*COMMAND, str(directory), "new"], check=False, cwd=TREE, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert check(directory)
    assert not list(directory.glob(".*.partial"))


def run_steps(directory: Path, stop_after: int | None) -> int:
    """Let the writer take steps, and kill it at one; how many it took."""
    steps = 0
    ours, theirs = PROCESSES.Pipe()
    writer = PROCESSES.Process(target=make_in_steps, args=(str(directory), "new", theirs))
    writer.start()
    theirs.close()
    with ours, suppress(EOFError):
        while ours.recv():
            steps += 1
            if steps == stop_after:
                writer.kill()
                break
            ours.send("go on")
    writer.join()
    assert writer.exitcode == (0 if stop_after is None else -signal.SIGKILL)
    writer.close()
    return steps


def test_killed_at_every_step(directory: Path) -> None:
    total = run_steps(directory, None)
    assert check(directory)
    assert total > 20
    outcomes = []
    for step in range(1, total + 1):
        for name in NEW:
            (directory / name).unlink(missing_ok=True)
        assert run_steps(directory, step) == step
        outcomes.append(check(directory))
    # Once the name is there it stays there: the commit is one step.
    assert outcomes == sorted(outcomes)
    assert outcomes[0] is False
    assert outcomes[-1] is True
    for name in NEW:
        (directory / name).unlink(missing_ok=True)
    run_steps(directory, total // 2)
    finish(directory)


def size_of(path: Path) -> int:
    """Also of a file that is renamed at this moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_a_random_moment(directory: Path, seed: int) -> None:
    """Without waiting in between: the kill hits wherever the writer is once so many bytes are on disk."""
    wanted = random.Random(seed).randrange(SIZE)
    partial = directory / ".new.tar.gz.enc.partial"
    with subprocess.Popen([*COMMAND, str(directory), "new"], cwd=TREE) as writer:
        while writer.poll() is None:
            if size_of(partial) >= wanted:
                writer.kill()
                break
    if not check(directory):
        finish(directory)


@pytest.mark.parametrize("seed", range(5))
def test_the_disk_is_full_by_a_limit(directory: Path, seed: int) -> None:
    limit = random.Random(seed).randrange(1_000, SIZE // 2)
    done = subprocess.run(
        [*COMMAND, str(directory), "new"],
        check=False,
        cwd=TREE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert (done.returncode, done.stdout) == (EX_UNAVAILABLE, b"store-full\n")
    assert names(directory) == OLD
    assert not list(directory.glob(".new*"))
    check(directory)


def test_the_disk_is_really_full(directory: Path) -> None:
    apart = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("the kernel lets this user have no mounts of its own")
    script = (
        'mount -t tmpfs -o size=100k tmpfs "$1" && "$2" -m tests.integration.backup_writer "$1" new;'
        ' code=$?; ls -A "$1"; exit $code'
    )
    mount = directory / "mount"
    mount.mkdir()
    done = subprocess.run(
        [*apart, "sh", "-c", script, "sh", str(mount), sys.executable],
        check=False,
        cwd=TREE,
        stdout=subprocess.PIPE,
    )
    assert (done.returncode, done.stdout) == (EX_UNAVAILABLE, b"store-full\n")
