"""mongodump as the reader: the stand-in everywhere, and mongodump itself where it is installed."""

import shutil
import stat
import sys
from pathlib import Path

import pytest

from sealwire.sidecars.backup.dumping import dump as consistency
from sealwire.sidecars.backup.dumping.dump import Dumped, DumpOptions, ReaderChoice, Wanted, dump
from sealwire.sidecars.backup.sealed.payload import create_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import BackupReason, Unavailable
from tests.integration.conftest import Stack
from tests.sidecars.backup.samples import KEK
from tests.support.secantus import ROOT

pytestmark = pytest.mark.integration

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
    with pytest.raises(Unavailable) as caught:
        dumped(filled, tmp_path, ReaderChoice.MONGODUMP)
    assert caught.value.reason is BackupReason.DUMPER
    assert LocalStore(tmp_path).objects() == []


def test_where_there_is_none_it_is_said_or_done_without(
    filled: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dumped(filled, tmp_path, ReaderChoice.AUTO).manifest.dumper == "built-in"
    with pytest.raises(Unavailable) as caught:
        dumped(filled, tmp_path, ReaderChoice.MONGODUMP)
    assert caught.value.reason is BackupReason.DUMPER
