"""`sealwire migrate reencrypt` of a deterministic class on a server, with proxies that a test stands for."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.binary import Binary
from click.testing import CliRunner
from pymongo import MongoClient

from sealwire.cli.migrate import command
from sealwire.crypto.envelope import SUBTYPE, parse_header
from sealwire.keys.errors import DamagedFile
from sealwire.keys.frontier.frontier import Form, Frontier, position_of
from sealwire.keys.frontier.record import DATABASE, FRONTIERS, LEASES, parse_frontier
from sealwire.keys.kek.environment import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import create_keyring, load_keyring, open_record, read_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.turning import rotate
from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.direct import connected
from sealwire.sidecars.migration import throttle
from sealwire.sidecars.migration.errors import JobTaken, MigrationReason, MigrationRefused
from sealwire.sidecars.migration.job import Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.windows.bounds import bounded, keeps_bounds
from sealwire.sidecars.migration.windows.frontiers import MongoFrontiers
from sealwire.sidecars.migration.windows.indexes import drop_indexes, make_indexes
from sealwire.sidecars.migration.windows.paths import class_paths
from sealwire.sidecars.migration.windows.places import FIRST, LAST, Order, Place
from sealwire.sidecars.migration.windows.server import MongoValues, Values
from sealwire.testbed.database import DatabaseProcess
from sealwire.wire import kinds
from tests.integration.conftest import Document
from tests.sidecars.migration.doubles import Fate
from tests.sidecars.migration.windows.doubles import MemoryValues, reached
from tests.support.measuring import measuring
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

POLICY = """
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs_number, kin.nhs_number: nhs_number, notes: notes}
  clinic.visits*: {patient: nhs_number}
"""
NHS = "nhs_number"
PATIENTS, VISITS = "clinic.patients", "clinic.visits"
DOCUMENTS = 1000


@dataclass(frozen=True, slots=True)
class Clinic:
    """A server, a keyring whose class has a pending key, and an operator's environment."""

    database: DatabaseProcess
    folder: Path
    environ: dict[str, str]

    @property
    def keyring(self) -> Path:
        return self.folder / "keyring.json"

    @property
    def kek(self) -> EnvironmentKek:
        return EnvironmentKek(environ=self.environ)

    @property
    def words(self) -> list[str]:
        return ["reencrypt", str(self.folder / "policy.yaml"), NHS, "--settle", "0"]

    def data_keys(self) -> tuple[DataKey, ...]:
        return open_record(read_record(self.keyring), self.kek, self.keyring)

    def migrate(self, *words: str, code: int = 0) -> dict[str, Any]:
        done = CliRunner().invoke(command, [*words, "--json"], env=self.environ)
        assert done.exit_code == code, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @contextmanager
    def start(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        line = [sys.executable, "-m", "sealwire", "migrate", *words]
        with subprocess.Popen(
            line, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def job_name(self) -> str:
        done = CliRunner().invoke(command, ["status", "--json"], env=self.environ)
        name: str = json.loads(done.stdout)["jobs"][0]["job"]
        return name


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with secantus(tmp_path_factory.mktemp("database")) as process:
        yield process


@pytest.fixture
def clinic(database: DatabaseProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    # the tests' own threads, and other tests, are what would slow a job down
    monkeypatch.setattr(throttle, "SLOWER", 1000.0)
    environ = measuring() | {
        "PATH": os.environ["PATH"],
        "SEALWIRE_KEK": generate_encoded_kek(),
        "SEALWIRE_KEYRING": str(tmp_path / "keyring.json"),
        "SEALWIRE_SERVER_URI": database.uri(),
    }
    found = Clinic(database, tmp_path, environ)
    (tmp_path / "policy.yaml").write_text(POLICY)
    create_keyring(found.keyring, found.kek, (NHS, "notes"), datetime.now(UTC))
    rotate(found.keyring, found.kek, {NHS: True}, datetime.now(UTC))
    yield found
    with database.connect() as client:
        for name in ("clinic", DATABASE):
            client.drop_database(name)


def sealed(keyring: Keyring, value: str, *, new: bool = False) -> Binary:
    text = value.encode()
    inside = (len(text) + 1).to_bytes(4, "little") + text + b"\0"
    cipher = keyring.pending_cipher_for(NHS) if new else keyring.cipher_for(NHS)
    assert cipher is not None
    return Binary(cipher.encrypt_deterministically(kinds.STRING, inside), SUBTYPE)


def fill(clinic: Clinic, client: MongoClient[Document], count: int = DOCUMENTS) -> list[str]:
    """Patients with kin in arrays and a unique number, and visits; the numbers."""
    keyring = load_keyring(clinic.keyring, clinic.kek)
    names = [f"{number * 7919:0{10 if number % 5 else 12}d}" for number in range(count)]
    patients, visits = client["clinic"]["patients"], client["clinic"]["visits"]
    patients.create_index(NHS, unique=True)
    patients.insert_many(
        {
            "_id": number,
            NHS: sealed(keyring, name),
            "kin": [
                {NHS: sealed(keyring, names[number - 1])},
                "none",
                {NHS: sealed(keyring, names[number // 2])},
            ],
        }
        for number, name in enumerate(names)
    )
    visits.insert_many(
        {"_id": number, "patient": sealed(keyring, names[number // 3])} for number in range(count)
    )
    return names


def opened(keyring: Keyring, value: Binary) -> str:
    return keyring.open_envelope(bytes(value), 0, len(value))[1][4:-1].decode()


def stored(client: MongoClient[Document]) -> list[Binary]:
    """Every envelope of the class, document after document."""
    found = []
    for document in client["clinic"]["patients"].find().sort("_id", 1):
        found += [document[NHS], *(each[NHS] for each in document.get("kin", ()) if isinstance(each, dict))]
    return found + [each["patient"] for each in client["clinic"]["visits"].find().sort("_id", 1)]


class StandInProxies:
    """Leases that are renewed, and acknowledge what the frontier says once they have seen it."""

    def __init__(self, clinic: Clinic, count: int = 2) -> None:
        self.names = [str(uuid.uuid4()) for _ in range(count)]
        self.stubborn: set[str] = set()
        self._clinic = clinic
        self._cipher = load_keyring(clinic.keyring, clinic.kek).pending_cipher_for(NHS)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.windows: set[int] = set()

    def __enter__(self) -> "StandInProxies":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        assert self._cipher is not None
        with self._clinic.database.connect() as client:
            while not self._stopped.wait(0.01):
                found = client[DATABASE][FRONTIERS].find_one({"_id": self._cipher.class_id})
                known: dict[str, int] = {}
                if found is not None:
                    frontier = parse_frontier(found, self._cipher)
                    self.windows.add(frontier.generation)
                    known = {str(frontier.class_id): frontier.generation}
                for name in self.names:
                    told = {} if name in self.stubborn else known
                    client[DATABASE][LEASES].update_one(
                        {"_id": name},
                        {"$currentDate": {"renewed": True}, "$set": {"acknowledged": told}},
                        upsert=True,
                    )


def assert_moved(clinic: Clinic, client: MongoClient[Document], names: Sequence[str]) -> None:
    keyring = load_keyring(clinic.keyring, clinic.kek)
    values = stored(client)
    assert {parse_header(bytes(each)).key_version for each in values} == {2}
    expected = []
    for number, name in enumerate(names):
        expected += [name, names[number - 1], names[number // 2]]
    expected += [names[number // 3] for number in range(len(names))]
    assert [opened(keyring, each) for each in values] == expected
    states = {key.version: key.state for key in clinic.data_keys() if key.class_name == NHS}
    assert states == {1: KeyState.DECRYPT_ONLY, 2: KeyState.ACTIVE}
    for name in ("patients", "visits"):
        indexes = {each["name"] for each in client["clinic"][name].list_indexes()}
        assert not any(each.startswith("sealwire_move_") for each in indexes)


def test_a_class_moves_in_two_collections_with_proxies_that_follow(clinic: Clinic) -> None:
    with clinic.database.connect() as client, StandInProxies(clinic) as proxies:
        names = fill(clinic, client)
        job = clinic.migrate(*clinic.words)
        assert (job["state"], job["left"]) == ("done", [])
        assert job["values"] == 4 * DOCUMENTS
        assert_moved(clinic, client, names)
    assert len(proxies.windows) > 9
    with clinic.database.connect() as client:
        assert clinic.migrate("verify", str(clinic.folder / "policy.yaml"))


def test_a_killed_process_is_resumed_at_any_window(clinic: Clinic) -> None:
    chance = random.Random(5)
    with clinic.database.connect() as client, StandInProxies(clinic):
        names = fill(clinic, client, 150)
        words = clinic.words
        for _ in range(3):
            with clinic.start(*words) as process:
                wait_for_frontier(client)
                time.sleep(chance.random() * 2)
                process.send_signal(signal.SIGKILL)
                process.wait(30)
            assert_one_valid_form(clinic, client)
            words = ["resume", str(clinic.folder / "policy.yaml"), clinic.job_name()]
        assert clinic.migrate(*words[:3])["state"] == "done"
        assert_moved(clinic, client, names)


def wait_for_frontier(client: MongoClient[Document]) -> None:
    deadline = time.monotonic() + 60
    while client[DATABASE][FRONTIERS].find_one({}) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_one_valid_form(clinic: Clinic, client: MongoClient[Document]) -> None:
    """Each value has the form that the frontier says: what every proxy relies on."""
    keyring = load_keyring(clinic.keyring, clinic.kek)
    cipher = keyring.pending_cipher_for(NHS)
    if cipher is None:
        return
    document = client[DATABASE][FRONTIERS].find_one({})
    assert document is not None
    frontier: Frontier = parse_frontier(document, cipher)
    for value in stored(client):
        form = frontier.form(position_of(bytes(sealed(keyring, opened(keyring, value)))))
        is_new = parse_header(bytes(value)).key_version == 2
        assert form is Form.MOVING or is_new == (form is Form.NEW)


def test_a_proxy_that_holds_windows_up_is_named_and_outlived(clinic: Clinic) -> None:
    with clinic.database.connect() as client, StandInProxies(clinic) as proxies:
        names = fill(clinic, client, 30)
        proxies.stubborn.add(proxies.names[0])
        with clinic.start(*clinic.words) as process:
            wait_for_frontier(client)
            time.sleep(6)
            assert process.poll() is None
            assert {parse_header(bytes(each)).key_version for each in stored(client)} == {1}
            proxies.names.remove(proxies.names[0])
            output = process.communicate(timeout=60)[0]
        assert process.returncode == 0
        assert "waiting for proxies to let a window go" in output
        assert next(iter(proxies.stubborn)) in output
        assert_moved(clinic, client, names)


def test_without_a_pending_key_there_is_nothing_to_do(clinic: Clinic) -> None:
    with clinic.database.connect() as client:
        fill(clinic, client, 3)
        clinic.migrate(*clinic.words)
        done = CliRunner().invoke(command, clinic.words, env=clinic.environ)
        assert "no key of the class is pending" in str(done.exception)
        rotate(clinic.keyring, clinic.kek, {NHS: True}, datetime.now(UTC))
        assert clinic.migrate(*clinic.words)["values"] == 12
        found = client[DATABASE][FRONTIERS].find_one({})
        assert found is not None
        assert (found["old"], found["new"]) == (2, 3)
        assert found["generation"] > 3


def test_a_job_that_died_behind_the_activation_ends(clinic: Clinic) -> None:
    with clinic.database.connect() as client:
        names = fill(clinic, client, 3)
        name = clinic.migrate(*clinic.words)["job"]
        put_back(clinic, name)
        policy = str(clinic.folder / "policy.yaml")
        assert clinic.migrate("resume", policy, name)["state"] == "done"
        assert clinic.migrate("resume", policy, name)["state"] == "done"
        assert_moved(clinic, client, names)


def put_back(clinic: Clinic, name: str) -> None:
    """Write a job down as its process did before its last note."""
    with connected(clinic.database.uri()) as client:
        ledger = Ledger(client, load_keyring(clinic.keyring, clinic.kek))
        job, _ = ledger.load(name)
        ledger.save(job.stopped(Standing.RUNNING, job.updated))


def test_a_policy_that_has_lost_a_path_carries_no_job_on(clinic: Clinic) -> None:
    with clinic.database.connect() as client:
        fill(clinic, client, 3)
        name = clinic.migrate(*clinic.words)["job"]
        put_back(clinic, name)
        policy = clinic.folder / "policy.yaml"
        policy.write_text(POLICY.replace("kin.nhs_number: nhs_number, ", ""))
        done = CliRunner().invoke(command, ["resume", str(policy), name], env=clinic.environ)
        assert isinstance(done.exception, MigrationRefused)
        assert done.exception.reason is MigrationReason.POLICY_CHANGED


def test_a_class_that_nothing_holds_has_nothing_to_move(clinic: Clinic) -> None:
    done = CliRunner().invoke(command, clinic.words, env=clinic.environ)
    assert isinstance(done.exception, MigrationRefused)
    assert done.exception.reason is MigrationReason.NOTHING


def test_a_dry_run_moves_nothing(clinic: Clinic) -> None:
    with clinic.database.connect() as client:
        fill(clinic, client, 3)
        assert clinic.migrate(*clinic.words, "--dry-run")["values"] == 0
        assert client[DATABASE].list_collection_names() == []


def test_a_young_key_is_waited_for(clinic: Clinic) -> None:
    with clinic.database.connect() as client:
        fill(clinic, client, 3)
        words = [*clinic.words[:3], "--settle", "3"]
        done = CliRunner().invoke(command, words, env=clinic.environ)
        assert done.exit_code == 0
        made = next(key.created for key in clinic.data_keys() if key.version == 2)
        assert datetime.now(UTC) - made >= timedelta(seconds=3)


def test_a_frontier_that_another_process_or_nobody_of_ours_wrote(clinic: Clinic) -> None:
    keyring = load_keyring(clinic.keyring, clinic.kek)
    old, new = keyring.cipher_for(NHS), keyring.pending_cipher_for(NHS)
    assert new is not None
    with (
        clinic.database.connect() as plain,
        connected(clinic.database.uri()) as client,
        client.start_session(causal_consistency=True) as session,
    ):
        first, second = (MongoFrontiers(client, session, (old, new)) for _ in range(2))
        assert first.load() is None
        begun = first.begin()
        assert second.load() == begun
        with pytest.raises(JobTaken):
            second.begin()
        opened = begun.opened(b"\0\0\0\x30")
        first.save(opened)
        first.save(opened)
        with pytest.raises(JobTaken):
            second.save(begun.opened(b"\0\0\0\x31"))
        with pytest.raises(JobTaken):
            second.confirm(begun)
        first.confirm(opened)
        assert first.load() == opened
        documents = plain[DATABASE][FRONTIERS]
        documents.update_one({}, {"$set": {"moving": True}})
        with pytest.raises(DamagedFile):
            first.load()
        documents.update_one({}, {"$set": {"moving": False, "new": old.key_version}})
        with pytest.raises(DamagedFile):
            first.load()


def test_only_leases_that_stand_are_asked(clinic: Clinic) -> None:
    keyring = load_keyring(clinic.keyring, clinic.kek)
    old, new = keyring.cipher_for(NHS), keyring.pending_cipher_for(NHS)
    assert new is not None
    with (
        clinic.database.connect() as plain,
        connected(clinic.database.uri()) as client,
        client.start_session(causal_consistency=True) as session,
    ):
        now = datetime.now(UTC)
        plain[DATABASE][LEASES].insert_many(
            [
                {"_id": "stands", "renewed": now, "acknowledged": {"1": 3}},
                {"_id": "ran out", "renewed": now - timedelta(seconds=60), "acknowledged": {"1": 9}},
                {"_id": "is none"},
            ]
        )
        found = MongoFrontiers(client, session, (old, new)).leases()
        assert [(each.proxy, each.acknowledged) for each in found] == [("stands", {1: 3})]


# ---------------------------------------------------------------------- what ranges find, here and there


@pytest.mark.parametrize("is_indexed", [False, True])
def test_ranges_miss_nothing_on_the_server_nor_in_its_double(clinic: Clinic, *, is_indexed: bool) -> None:
    chance = random.Random(3)
    order = Order(b"SW\1\1aaaavvvv")
    documents = [{"_id": number, NHS: some_values(chance, order)} for number in range(300)]
    doubles = [MemoryValues({PATIENTS: documents}, Fate(), by_bytes=by_bytes) for by_bytes in (False, True)]
    where = class_paths(load_policy(POLICY.encode(), "policy"), [PATIENTS], NHS)
    with (
        clinic.database.connect() as plain,
        connected(clinic.database.uri()) as client,
        client.start_session(causal_consistency=True) as session,
    ):
        plain["clinic"]["patients"].insert_many(documents)
        if is_indexed:
            made = {(PATIENTS, NHS): "sealwire_move_7_1", (PATIENTS, f"kin.{NHS}"): "sealwire_move_7_2"}
            assert make_indexes(client, where, 7) == made
            assert make_indexes(client, where, 7) == made
        servers: list[Values] = [MongoValues(client, session, 7, lambda: where), *doubles]
        for _ in range(30):
            start, end = sorted([some_place(chance), some_place(chance)])
            wanted = {
                bson.encode(each)
                for each in documents
                for value in reached(each, NHS)
                if bytes(value).startswith(order.prefix) and start <= order.place(bytes(value)) < end
            }
            for server in servers:
                ranges = list(order.ranges(start, end))
                assert wanted <= {raw for each in ranges for raw in server.between(PATIENTS, NHS, each)}
        drop_indexes(client, where, 7)
        assert len(list(plain["clinic"]["patients"].list_indexes())) == 1


def test_ranges_between_keys_are_those_of_values(clinic: Clinic) -> None:
    chance = random.Random(4)
    order = Order(b"SW\1\1aaaavvvv")
    documents: list[Document] = [
        {"_id": number, NHS: Binary(order.prefix + chance.randbytes(chance.choice((18, 19))), SUBTYPE)}
        for number in range(100)
    ]
    where = class_paths(load_policy(POLICY.encode(), "policy"), [PATIENTS], NHS)
    with clinic.database.connect() as plain, connected(clinic.database.uri()) as client:
        patients = plain["clinic"]["patients"]
        patients.insert_many(documents)
        patients.create_index([(NHS, 1), ("ward", 1)], name="both")
        assert make_indexes(client, where, 7)[PATIENTS, NHS] == "both"
        name = make_indexes(client, where, 7, alone=True)[PATIENTS, NHS]
        assert name == "sealwire_move_7_1"
        for _ in range(20):
            start, end = sorted([some_place(chance), some_place(chance)])
            wanted = {each["_id"] for each in documents if start <= order.place(bytes(each[NHS])) < end}
            ranges = order.ranges(start, end)
            found = [
                each["_id"] for within in ranges for each in patients.find({}, **bounded(name, NHS, within))
            ]
            assert set(found) == wanted
            assert len(found) == len(wanted)


def test_a_server_is_tried_before_its_bounds_are_relied_on(clinic: Clinic) -> None:
    with clinic.database.connect() as plain, connected(clinic.database.uri()) as client:
        # this test server does not find elements between two keys of an index
        assert not keeps_bounds(client)
        assert not [name for name in plain[DATABASE].list_collection_names() if name.startswith("tried_")]


def some_values(chance: random.Random, order: Order) -> Binary | list[Binary]:
    """One, or an array of three, of this class and of another, and of a few lengths."""
    values = [
        Binary(chance.choice((order.prefix, b"SW\1\1aaaavvvw")) + chance.randbytes(size), SUBTYPE)
        for size in chance.choices((18, 19, 40), k=3)
    ]
    return chance.choice((values[0], values))


def some_place(chance: random.Random) -> Place:
    key = chance.choice((0, chance.randrange(1 << 72)))
    return chance.choice((FIRST, LAST, *(Place(length, key) for length in (30, 31, 35, 52, 60))))
