"""`sealwire backup create` and `restore` as processes: what they say, and what is left when they end."""

import hashlib
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from sealwire.audit.signing import make_key
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.keys.private_file import create_private, create_public
from sealwire.testbed.database import DatabaseProcess
from tests.support import warm
from tests.support.memory import peak_memory
from tests.support.private import private
from tests.support.rows import rows
from tests.support.secantus import ROOT, secantus

pytestmark = pytest.mark.integration

DOCUMENTS = 4_000
WITHIN_S = 60.0
MEMORY_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class Desk:
    """A server, and an operator's folder with keys, a connection string and a store."""

    process: DatabaseProcess
    direct: MongoClient[dict[str, Any]]
    folder: Path
    environment: dict[str, str] = field(repr=False)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sealwire", "backup", *arguments]
        pipe = subprocess.PIPE
        return warm.WarmProcess(
            command, env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **more
        )

    def run(self, *arguments: str, typed: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, **more) as process:
            out, errors = process.communicate(typed)
        assert "Traceback" not in errors
        return subprocess.CompletedProcess(arguments, process.returncode, out, errors)

    def names(self) -> list[str]:
        """The names of the backups that are there."""
        return sorted(path.name for path in self.store.glob("[!.]*.enc"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "store").mkdir()
    environment = os.environ | {
        "SEALWIRE_BACKUP_STORE": str(folder / "store"),
        "SEALWIRE_BACKUP_RECIPIENTS": "env:BACKUP_KEK",
        "SEALWIRE_BACKUP_KEYS": "env:BACKUP_KEK",
        "BACKUP_KEK": generate_encoded_kek(),
        "XDG_STATE_HOME": str(folder / "state"),
        "SEALWIRE_SERVER_URI_FILE": str(folder / "uri"),
    }
    with secantus(folder, users=(ROOT,)) as process, process.connect(ROOT) as direct:
        randomness = random.Random(1948)
        for name in ("one", "two"):
            for start in range(0, DOCUMENTS, 1_000):
                direct.clinic[name].insert_many(
                    [{"_id": start + n, "text": randomness.randbytes(1_000)} for n in range(1_000)]
                )
        direct.clinic.one.create_index("text", name="by text")
        private(folder / "uri", process.uri(ROOT))
        yield Desk(process, direct, folder, environment)


@pytest.fixture(scope="module")
def backup(desk: Desk) -> str:
    """A sound backup called `sound`."""
    figures = desk.folder / "backup.prom"
    done = desk.run("create", "sound", "--only", "clinic", "--metrics-file", str(figures), "--json")
    assert "sealwire_backup_last_success_timestamp_seconds" in figures.read_text(encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == 2 * DOCUMENTS
    return "sound"


def test_a_password_on_the_command_line_is_refused_and_not_repeated(desk: Desk) -> None:
    done = desk.run("create", "seen", "--uri", desk.process.uri(ROOT))
    assert done.returncode == 78
    assert ROOT.password not in done.stderr
    assert "100%25" not in done.stderr
    assert "seen.tar.gz.enc" not in desk.names()


def test_a_connection_string_that_others_can_read_is_refused(desk: Desk, tmp_path: Path) -> None:
    open_file = tmp_path / "uri"
    open_file.write_text(desk.process.uri(ROOT))
    open_file.chmod(0o644)
    assert desk.run("create", "seen", "--uri-file", str(open_file)).returncode == 77


def test_the_policy_that_a_timers_environment_names_is_noted(desk: Desk, tmp_path: Path) -> None:
    desk.direct.noted.one.insert_one({})
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\n")
    environment = desk.environment | {
        "SEALWIRE_BACKUP_POLICY": str(policy),
        "SEALWIRE_BACKUP_STORE": str(tmp_path),
    }
    timer = Desk(desk.process, desk.direct, desk.folder, environment)
    assert timer.run("create", "noted", "--only", "noted").returncode == 0
    manifest = json.loads((tmp_path / "noted.tar.gz.enc.json").read_text())["manifest"]
    assert manifest["policy_sha256"] == hashlib.sha256(policy.read_bytes()).hexdigest()
    desk.direct.drop_database("noted")


def test_a_dry_run_changes_nothing(desk: Desk, backup: str) -> None:
    before = desk.names()
    done = desk.run("create", "dry", "--dry-run", "--json")
    assert done.returncode == 0
    assert {"namespace": "clinic.one", "kind": "collection"} in json.loads(done.stdout)["collections"]
    done = desk.run("restore", backup, "--rename", "clinic=dry", "--dry-run", "--json")
    assert done.returncode == 0
    assert {row["target"] for row in json.loads(done.stdout)["collections"]} == {"dry.one", "dry.two"}
    done = desk.run("create", "dry", "--dry-run", "--recipient", f"public:{desk.folder}/missing.pub")
    assert done.returncode == 78
    assert desk.names() == before
    assert "dry" not in desk.direct.list_database_names()


def test_a_signed_backup_is_restored_and_an_unsigned_one_is_refused(
    desk: Desk, backup: str, tmp_path: Path
) -> None:
    key = make_key("clinic.example/backups", bytes(32))
    create_private(tmp_path / "key", key.written())
    create_public(tmp_path / "key.pub", f"{key.verification}\n".encode())
    timer = Desk(
        desk.process,
        desk.direct,
        desk.folder,
        desk.environment | {"SEALWIRE_BACKUP_SIGN_WITH": f"{tmp_path}/key"},
    )
    done = timer.run("create", "signed", "--only", "clinic.one", "--json")
    assert json.loads(done.stdout)["signed_by"] == key.verification.fingerprint
    assert json.loads(desk.run("verify", backup, "--json").stdout)["sound"][0]["signed_by"] is None

    restore = ("--rename", "clinic=signed", "--signed-by", f"{tmp_path}/key.pub", "--only", "clinic.one")
    refused = desk.run("restore", backup, *restore, "--no-verify-first")
    assert refused.returncode == 65
    assert "signed" not in desk.direct.list_database_names()
    planned = json.loads(desk.run("restore", "signed", *restore, "--dry-run", "--json").stdout)
    assert (planned["signed_by"], planned["writer"]) == (key.verification.fingerprint, "signer")
    done = desk.run("restore", "signed", *restore)
    assert done.returncode == 0
    assert key.verification.fingerprint in done.stdout
    assert desk.direct.signed.one.count_documents({}) == DOCUMENTS
    desk.direct.drop_database("signed")
    assert desk.run("delete", "signed", "--yes", "--even-last").returncode == 0


def test_drop_asks_for_the_databases_name_first(desk: Desk, backup: str) -> None:
    desk.direct.asked.one.insert_one({"_id": "mine"})
    options = ("restore", backup, "--only", "clinic.one", "--rename", "clinic=asked", "--json")
    assert desk.run(*options).returncode == 73
    assert desk.run(*options, "--drop", typed="yes\n").returncode == 1
    assert desk.direct.asked.one.count_documents({}) == 1
    done = desk.run(*options, "--drop", typed="asked\n")
    assert done.returncode == 0
    assert desk.direct.asked.one.count_documents({}) == DOCUMENTS
    assert "by text" in desk.direct.asked.one.index_information()


@rows(
    "number, share",
    *((signal.SIGKILL, share) for share in (0.05, 0.3, 0.6)),
    *((signal.SIGTERM, share) for share in (0.05, 0.4)),
    (signal.SIGINT, 0.4),
)
def test_a_backup_ended_anywhere_leaves_no_file_and_the_others(
    desk: Desk, backup: str, number: signal.Signals, share: float
) -> None:
    sound = (desk.store / "sound.tar.gz.enc").read_bytes()
    for leftover in desk.store.glob(".ended*"):
        leftover.unlink()  # of a killed run before: it would pass for what this one has written
    with desk.start("create", "ended", "--only", "clinic") as process:
        wait_for_bytes(desk.store, int(share * len(sound)), process)
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert desk.names() == ["sound.tar.gz.enc"]
    assert (desk.store / "sound.tar.gz.enc").read_bytes() == sound
    if number is not signal.SIGKILL:
        assert sum(sizes(desk.store)) == 0


def wait_for_bytes(store: Path, size: int, process: subprocess.Popen[str]) -> None:
    """Until what is being written has this size, or the process has ended."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        written = sum(sizes(store))
        if written >= max(size, 1):
            return
        time.sleep(0.005)


def sizes(store: Path) -> Iterator[int]:
    """The sizes of the files that are no finished backup."""
    for path in store.iterdir():
        try:
            if not path.name.startswith("sound"):
                yield path.stat().st_size
        except FileNotFoundError:
            continue  # it was renamed or removed meanwhile


def full_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))


def test_a_full_disk_is_said_and_leaves_no_file(desk: Desk, backup: str) -> None:
    done = desk.run("create", "full", "--only", "clinic", preexec_fn=full_disk)
    assert done.returncode == 69
    assert desk.names() == ["sound.tar.gz.enc"]


def test_unpacking_on_to_a_full_disk_leaves_nothing(desk: Desk, backup: str, tmp_path: Path) -> None:
    done = desk.run("unpack", backup, str(tmp_path / "dump"), preexec_fn=full_disk)
    assert done.returncode == 69
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_encrypting_anew_that_is_ended_leaves_the_old_backup_alone(
    desk: Desk, backup: str, tmp_path: Path, number: signal.Signals
) -> None:
    before = {path.name: path.read_bytes() for path in desk.store.glob(f"{backup}.*")}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    options = ("--key", "env:BACKUP_KEK", "--recipient", "env:BACKUP_KEK", "--store", str(tmp_path))
    with desk.start("rekey", "--reencrypt", *options) as process:
        deadline = time.monotonic() + WITHIN_S
        while process.poll() is None and time.monotonic() < deadline:
            if any(path.stat().st_size for path in tmp_path.glob(".*.partial")):
                break
            time.sleep(0.002)
        process.send_signal(number)
        process.communicate()
    assert process.returncode != 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("after", [1, DOCUMENTS // 3, DOCUMENTS * 5 // 4])
def test_a_killed_restore_goes_on_when_it_is_typed_again(desk: Desk, backup: str, after: int) -> None:
    target = f"killed{after}"
    command = ("restore", backup, "--rename", f"clinic={target}", "--no-verify-first", "--json")
    with desk.start(*command) as process:
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline and process.poll() is None:
            counts = [desk.direct[target][name].estimated_document_count() for name in ("one", "two")]
            if sum(counts) >= after:
                break
        process.kill()
    done = desk.run(*command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["holds"] is True
    for name in ("one", "two"):
        assert desk.direct[target][name].count_documents({}) == DOCUMENTS
    assert list((desk.folder / "state" / "sealwire").glob("*.json")) == []


def test_a_drill_reports_and_leaves_nothing(desk: Desk, backup: str, tmp_path: Path) -> None:
    environment = desk.environment | {"TMPDIR": str(tmp_path)}
    elsewhere = Desk(desk.process, desk.direct, desk.folder, environment)
    figures = desk.folder / "drill.prom"
    began = time.monotonic()
    done = elsewhere.run("restore", backup, "--drill", "--metrics-file", str(figures), "--json")
    took_s = time.monotonic() - began
    said = figures.read_text(encoding="utf-8")
    assert "sealwire_restore_drill_last_success_timestamp_seconds" in said
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0 < report["seconds"] < took_s
    duration = re.search(r"^sealwire_restore_drill_last_duration_seconds (\S+)$", said, re.M)
    assert duration is not None
    assert float(duration[1]) == pytest.approx(report["seconds"], abs=0.001)
    assert report["holds"] is True
    assert {row["outcome"] for row in report["collections"]} == {"restored"}
    assert sum(row["documents"] for row in report["collections"]) == 2 * DOCUMENTS
    assert list(tmp_path.iterdir()) == []


def test_a_drill_of_a_damaged_backup_fails_before_anything_is_restored(
    desk: Desk, backup: str, tmp_path: Path
) -> None:
    for path in desk.store.glob("sound.*"):
        content = bytearray(path.read_bytes())
        if path.suffix == ".enc":
            content[len(content) // 2] ^= 1
        (tmp_path / path.name).write_bytes(content)
    figures = tmp_path / "drill.prom"
    done = desk.run("restore", backup, "--drill", "--store", str(tmp_path), "--metrics-file", str(figures))
    said = figures.read_text(encoding="utf-8")
    assert "_first_run_" in said
    assert "_last_success_" not in said
    assert done.returncode == 65
    assert done.stdout == ""


def test_memory_stays_bounded_with_large_documents(desk: Desk) -> None:
    for number in range(20):
        desk.direct.large.things.insert_one({"_id": number, "scan": os.urandom(5_000_000)})
    try:
        for command in (
            ("create", "large", "--only", "large"),
            ("restore", "large", "--rename", "large=copied"),
        ):
            whole = [sys.executable, "-m", "sealwire", "backup", *command]
            assert peak_memory(whole, desk.environment) < MEMORY_BYTES
    finally:
        for path in desk.store.glob("large*"):
            path.unlink()
        desk.direct.drop_database("large")
        desk.direct.drop_database("copied")
