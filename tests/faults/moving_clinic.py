"""A clinic whose class moves behind two proxies, each with a line to the server that a test can cut."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError

from sealwire.crypto.envelope import SUBTYPE, parse_header
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import KeyringWriter, create_keyring
from sealwire.keys.keyring.turning import activate, rotate
from sealwire.testbed.child import LOOPBACK
from sealwire.testbed.database import DatabaseProcess, first_move, vouch_for_leases
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.support.measuring import measuring
from tests.support.relay import Relay, relay

NHS = "nhs_number"
POLICY = """
version: 1
classes: {nhs_number: {mode: deterministic, type: string}}
collections:
  clinic.patients: {nhs_number: nhs_number, former: nhs_number}
  clinic.visits: {patient: nhs_number}
  clinic.claims: {nhs_number: nhs_number}
"""
CANNOT_WAIT = 262
"""The code of a command that is refused while its class moves."""
PATIENTS = 60
PATIENCE_S = 240.0
_JOB_S = 900.0

Document = dict[str, Any]


def number_of(patient: int) -> str:
    """Of several lengths, and in no order."""
    return f"{patient * 7919 % 100_003:0{8 + patient % 4}d}"


class Door(ProxyProcess):
    """A proxy and its line to the server. Its processes are stopped, woken and killed together."""

    def __init__(self, options: ProxyOptions, line: Relay) -> None:
        super().__init__(options)
        self.line = line

    def signal(self, number: int) -> None:
        """Send it to the proxy and its workers, which are a session of their own."""
        os.killpg(self.pid, number)

    def crash(self) -> None:
        """End all of it at once."""
        self.signal(signal.SIGKILL)
        self.kill()

    def client(self, **options: Any) -> MongoClient[Document]:
        """An application's, straight to this proxy; the caller closes it."""
        return MongoClient(LOOPBACK, self.port, directConnection=True, **options)

    def lead_frontier_to(self, address: str) -> None:
        """Where the frontiers are asked for, from the next start on."""
        # a replica set's member would tell the way past a line
        (self.options.folder / "frontier.uri").write_text(f"mongodb://{address}/?directConnection=true")

    def readiness(self) -> int:
        """The status of /readyz."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.admin_port}/readyz", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@dataclass(frozen=True, slots=True)
class MovingClinic:
    """The parts. `a` and `b` run unless the test ends them."""

    folder: Path
    database: DatabaseProcess
    a: Door
    b: Door
    environ: dict[str, str]

    @property
    def keyring(self) -> Path:
        return self.folder / "keyring.json"

    @property
    def kek(self) -> EnvironmentKek:
        return EnvironmentKek(environ=self.environ)

    def rotate(self) -> None:
        """As `keys rotate`."""
        rotate(self.keyring, self.kek, {NHS: True}, datetime.now(UTC))

    @contextmanager
    def job(self, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """`sealwire migrate` with these words, in a process that ends with the block."""
        line = [sys.executable, "-m", "sealwire", "migrate", *words, "--json"]
        options: dict[str, Any] = {"env": self.environ, "cwd": self.folder, "text": True}
        log = (self.folder / "jobs.log").open("a")
        with log, subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, **options) as process:
            killer = threading.Timer(_JOB_S, process.kill)
            killer.start()
            try:
                yield process
            finally:
                killer.cancel()
                process.kill()

    def moving(self) -> Any:
        """The job that moves the class from key to key."""
        return self.job("reencrypt", "policy.yaml", NHS)

    def status(self) -> list[Document] | None:
        """The jobs, as `migrate status` tells of them; None where it does not."""
        with self.job("status") as process:
            said, _ = process.communicate(timeout=PATIENCE_S)
        return list(json.loads(said)["jobs"]) if process.returncode == 0 else None

    def versions(self) -> set[int]:
        """Under which versions of the key numbers lie in clinic.patients; 0: in clear."""
        with self.database.connect() as client:
            found = [each[NHS] for each in client["clinic"]["patients"].find({NHS: {"$exists": True}})]
        sealed = [getattr(each, "subtype", None) == SUBTYPE for each in found]
        return {
            parse_header(bytes(each)).key_version if is_sealed else 0
            for each, is_sealed in zip(found, sealed, strict=True)
        }


def ended(process: "subprocess.Popen[str]", within_s: float = PATIENCE_S) -> int:
    """A job's exit code. Raises TimeoutExpired."""
    process.communicate(timeout=within_s)
    return process.returncode


def fill(client: MongoClient[Document]) -> None:
    patients = client["clinic"]["patients"]
    patients.create_index(NHS, unique=True)
    patients.insert_many({"_id": each, NHS: number_of(each)} for each in range(PATIENTS))


def by_number(patient: int) -> Document:
    """The filter that finds a patient."""
    return {NHS: number_of(patient)}


def lost(door: Door) -> list[object]:
    """The patients that are readable by _id, and not found by their number, or of whom a second is stored."""
    with door.client() as client:
        patients = client["clinic"]["patients"]
        found = _asked(lambda: list(patients.find({NHS: {"$exists": True}})))
        return [each["_id"] for each in found if _is_lost(patients, each)]


def _is_lost(patients: Any, patient: Document) -> bool:
    found = _asked(lambda: [each["_id"] for each in patients.find({NHS: patient[NHS]})])
    if found != [patient["_id"]]:
        return True
    try:
        _asked(lambda: patients.insert_one({"_id": f"second {patient['_id']}", NHS: patient[NHS]}))
    except DuplicateKeyError:
        return False
    return True


def _asked(ask: Any) -> Any:
    """The answer, where need be after waiting until a proxy has a lease and knows the class's key."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except PyMongoError as error:
            if getattr(error, "code", None) != CANNOT_WAIT or time.monotonic() > until:
                raise
        time.sleep(0.5)


@contextmanager
def moving_clinic(
    database: DatabaseProcess,
    folder: Path,
    *,
    policy: str = POLICY,
    plaintext: Sequence[str] = (),
    classes: Sequence[str] = (NHS,),
    workers: int = 1,
    **line_options: Any,
) -> Iterator[MovingClinic]:
    """Both proxies before this server, `b` with so many workers. Cost: 5 s.

    A class that is encrypted has moved once by its keyring, so that a job needs no number of proxies.
    """
    kek = generate_encoded_kek()
    environ = measuring() | {"PATH": os.environ["PATH"], DEFAULT_VARIABLE: kek}
    environ |= {"SEALWIRE_KEYRING": str(folder / "keyring.json"), "SEALWIRE_SERVER_URI": database.uri()}
    (folder / "policy.yaml").write_text(policy)
    create_keyring(
        folder / "keyring.json", EnvironmentKek(environ=environ), classes, datetime.now(UTC), plaintext
    )
    clinic_kek = EnvironmentKek(environ=environ)
    now = datetime.now(UTC)
    for name in set(classes) - set(plaintext):
        rotate(folder / "keyring.json", clinic_kek, {name: True}, now)
        activate(KeyringWriter(folder / "keyring.json", clinic_kek, now), name)
    with ExitStack() as opened:
        raw = opened.enter_context(database.connect())
        vouch_for_leases(raw, folder / "keyring.json")
        doors = []
        for name, count in (("a", 1), ("b", workers)):
            line = opened.enter_context(relay(database.address, **line_options))
            doors.append(_door(folder, name, kek, line, count))
            opened.callback(doors[-1].stop)
            doors[-1].start()
        first_move(raw, len(doors), folder / "keyring.json")
        yield MovingClinic(folder, database, doors[0], doors[1], environ)


def _door(folder: Path, name: str, kek: str, line: Relay, workers: int) -> Door:
    own = folder / name
    own.mkdir()
    uri = own / "frontier.uri"
    uri.touch(0o600)
    settings: dict[str, object] = {
        "keys": {"refresh_s": 1},
        "frontier": {"uri_file": str(uri)},
        "workers": workers,
    }
    options = ProxyOptions(own, folder / "policy.yaml", line.address, None, None, False, settings, kek)
    door = Door(options, line)
    door.lead_frontier_to(line.address)
    door.keyring = folder / "keyring.json"
    return door


@contextmanager
def filled(database: Any, folder: Path, **options: Any) -> Iterator[MovingClinic]:
    """A clinic with its patients."""
    with moving_clinic(database, folder, **options) as clinic:
        with clinic.b.client() as client:
            fill(client)
        yield clinic


def assert_nothing_lost(clinic: MovingClinic, *, committed: bool | None = None) -> None:
    """`committed`: whether the one patient of a transaction has to be there."""
    for door in (clinic.b, clinic.a):
        assert lost(door) == []
    assert clinic.versions() == {3}
    with clinic.b.client() as client:
        found = client["clinic"]["patients"].count_documents({})
    assert found == PATIENTS + (committed is True)
