"""A server with a clinic whose data moves, and `sealwire migrate` as its operator types it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson.binary import Binary
from click.testing import CliRunner, Result
from pymongo import MongoClient

from sealwire.cli.groups import migrate as command
from sealwire.crypto.envelope import SUBTYPE, parse_header
from sealwire.keys.errors import UnknownKey
from sealwire.keys.frontier.record import DATABASE
from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.data_key import DataKey
from sealwire.keys.keyring.file import create_keyring, load_keyring, open_record, read_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.turning import rotate
from sealwire.sidecars.errors import SidecarError
from sealwire.testbed.database import DatabaseProcess, vouch_for_leases
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from sealwire.wire import kinds
from tests.integration.conftest import Document
from tests.support import warm
from tests.support.measuring import measuring
from tests.support.private import private

SECRET = "never shown anywhere"
"""What tests put into values, and no command may say."""
_LONGEST_S = 300.0

Direct = MongoClient[Document]
"""An administrator's connection, past Sealwire."""


@dataclass(frozen=True, slots=True)
class Clinic:
    """A server, the clinic's policy and keyring, and what an operator's environment has."""

    database: DatabaseProcess
    folder: Path
    environ: dict[str, str]
    whole: str
    """The policy that covers everything."""

    @property
    def keyring(self) -> Path:
        return self.folder / "keyring.json"

    @property
    def kek(self) -> EnvironmentKek:
        return EnvironmentKek(environ=self.environ)

    @property
    def policy_file(self) -> Path:
        return self.folder / "policy.yaml"

    def policy(self, text: str = "") -> str:
        """The name of the policy's file, in which this, or the whole policy, stands from now on."""
        self.policy_file.write_text(text or self.whole)
        return str(self.policy_file)

    def data_keys(self) -> tuple[DataKey, ...]:
        return open_record(read_record(self.keyring), self.kek, self.keyring)

    def rotate(self, class_name: str, *, pending: bool = False) -> None:
        """Give a class another version, as a rotation does."""
        rotate(self.keyring, self.kek, {class_name: pending}, datetime.now(UTC))

    def migrate(self, *words: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(command, list(words), env=self.environ, input=typed)

    def job(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What a command says of the job that it worked on."""
        done = self.migrate(*words, "--json")
        assert done.exit_code == code, done.output
        assert SECRET not in done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def jobs(self, *names: str) -> list[dict[str, Any]]:
        """What the server has of these jobs, or of all."""
        found: list[dict[str, Any]] = json.loads(self.migrate("status", *names, "--json").stdout)["jobs"]
        return found

    def refused(self, *words: str) -> SidecarError | UnknownKey:
        done = self.migrate(*words)
        assert isinstance(done.exception, SidecarError | UnknownKey), done.output
        return done.exception

    @contextmanager
    def start(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The same as a process of its own; waited for, and killed where the test has failed, or lasts."""
        line = [sys.executable, "-m", "sealwire", "migrate", *words]
        with warm.WarmProcess(
            line, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            killer = threading.Timer(_LONGEST_S, process.kill)
            killer.start()
            try:
                yield process
            except BaseException:
                process.kill()
                raise
            finally:
                killer.cancel()

    @contextmanager
    def proxy(self) -> Iterator[MongoClient[Document]]:
        """Sealwire with the policy and keyring of now, and an application's connection."""
        uri = private(self.folder / "frontier.uri", self.database.uri())
        options = ProxyOptions(
            self.folder,
            self.policy_file,
            self.database.address,
            access_control=False,
            settings={"frontier": {"uri_file": str(uri)}},
            kek=self.environ["SEALWIRE_KEK"],
        )
        with ProxyProcess(options) as proxy, MongoClient[Document](proxy.uri()) as client:
            yield client


@contextmanager
def new_clinic(
    database: DatabaseProcess,
    folder: Path,
    policy: str,
    classes: Sequence[str],
    plaintext: Sequence[str] = (),
    created: datetime | None = None,
) -> Iterator[Clinic]:
    """One with new keys, `plaintext` of these classes in clear; its databases are dropped at the end.

    The keys were `created` then, or now.
    """
    environ = measuring() | {
        "PATH": os.environ["PATH"],
        "COLUMNS": "400",
        "SEALWIRE_KEK": generate_encoded_kek(),
        "SEALWIRE_KEYRING": str(folder / "keyring.json"),
        "SEALWIRE_SERVER_URI": database.uri(),
    }
    clinic = Clinic(database, folder, environ, policy)
    clinic.policy()
    made = created or datetime.now(UTC)
    create_keyring(clinic.keyring, clinic.kek, classes, made, plaintext=plaintext)
    with database.connect() as client:
        vouch_for_leases(client, clinic.keyring)
    yield clinic
    with database.connect() as client:
        for name in ("clinic", DATABASE):
            client.drop_database(name)


# A clinic's numbers, of a deterministic class that has a pending key.


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
PATIENTS = "clinic.patients"


def reencryption(clinic: Clinic, *, proxies: int = 0) -> list[str]:
    """What an operator types for the class to move; there are so many Sealwires."""
    return ["reencrypt", str(clinic.policy_file), NHS, "--proxies", str(proxies)]


def sealed(keyring: Keyring, value: str, *, new: bool = False) -> Binary:
    text = value.encode()
    inside = (len(text) + 1).to_bytes(4, "little") + text + b"\0"
    cipher = keyring.pending_cipher_for(NHS) if new else keyring.cipher_for(NHS)
    assert cipher is not None
    return Binary(cipher.encrypt_deterministically(kinds.STRING, inside), SUBTYPE)


def fill(clinic: Clinic, client: MongoClient[Document], count: int) -> list[str]:
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


def envelopes(client: MongoClient[Document]) -> list[Binary]:
    """Every envelope of the class, document after document."""
    found = []
    for document in client["clinic"]["patients"].find().sort("_id", 1):
        found += [document[NHS], *(each[NHS] for each in document.get("kin", ()) if isinstance(each, dict))]
    return found + [each["patient"] for each in client["clinic"]["visits"].find().sort("_id", 1)]


# Patients whose fields have classes without a search, and the forms in which they are stored.


HEAD = """
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  notes: {mode: random}
  letters: {mode: random}
collections:
"""
WHOLE = (
    HEAD + "  clinic.patients: {nhs_number: nhs_number, notes: notes, visits.text: notes, letters: letters}\n"
)
LESS = HEAD + "  clinic.patients: {nhs_number: nhs_number, visits.text: notes, letters: letters}\n"
CLASSES = ("nhs_number", "notes", "letters")


def patient(number: object) -> Document:
    return {
        "_id": number,
        "notes": f"{SECRET} {number}",
        "visits": [{"text": f"{SECRET} first"}, {"ward": 3}, {"text": f"{SECRET} second"}],
        "letters": [f"{SECRET} letter", {"to": "ward"}],
    }


def key_versions(value: object) -> list[int]:
    """Of all envelopes in a document; 0 stands for a string in clear."""
    if isinstance(value, Binary) and value.subtype == SUBTYPE:
        return [parse_header(value).key_version]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [0] if isinstance(value, str) else [found for each in inside for found in key_versions(each)]


def forms(stored: Any) -> set[int]:
    return {found for document in stored.find() for found in key_versions(document | {"_id": 0})}
