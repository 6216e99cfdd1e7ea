"""`sealwire migrate` on a server, with an application that reads and writes through Sealwire meanwhile."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Code, DBRef, Decimal128, Int64, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from click.testing import CliRunner, Result
from pymongo import MongoClient

from sealwire.cli.migrate import command
from sealwire.crypto.envelope import SUBTYPE, parse_header
from sealwire.keys.errors import UnknownKey
from sealwire.keys.kek.environment import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import create_keyring
from sealwire.keys.keyring.turning import rotate
from sealwire.sidecars.errors import DirectError
from sealwire.sidecars.migration.errors import (
    DecryptNotConfirmed,
    JobDamaged,
    JobMissing,
    MigrationError,
    MigrationReason,
    MigrationRefused,
)
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.conftest import Document
from tests.support.measuring import measuring
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

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
PATIENTS = "clinic.patients"
SECRET = "never shown anywhere"


@dataclass(frozen=True, slots=True)
class Place:
    """A server, the clinic's keyring, and what an operator's environment has."""

    database: DatabaseProcess
    folder: Path
    environ: dict[str, str]

    @property
    def keyring(self) -> Path:
        return self.folder / "keyring.json"

    @property
    def kek(self) -> EnvironmentKek:
        return EnvironmentKek(environ=self.environ)

    def policy(self, text: str = WHOLE) -> str:
        path = self.folder / "policy.yaml"
        path.write_text(text)
        return str(path)

    def migrate(self, *words: str) -> Result:
        return CliRunner().invoke(command, list(words), env=self.environ)

    def job(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What a command says of the job that it worked on."""
        done = self.migrate(*words, "--json")
        assert done.exit_code == code, done.output
        assert SECRET not in done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def refused(self, *words: str) -> MigrationError | DirectError | UnknownKey:
        done = self.migrate(*words)
        assert isinstance(done.exception, MigrationError | DirectError | UnknownKey), done.output
        return done.exception

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The same as a process of its own."""
        line = [sys.executable, "-m", "sealwire", "migrate", *words]
        return subprocess.Popen(
            line, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def rotate(self, class_name: str) -> None:
        """Give a class a second version, as a rotation does."""
        rotate(self.keyring, self.kek, {class_name: False}, datetime.now(UTC))

    @contextmanager
    def proxy(self) -> Iterator[MongoClient[Document]]:
        """Sealwire with the policy and keyring of now, and an application's connection."""
        options = ProxyOptions(
            self.folder,
            self.folder / "policy.yaml",
            self.database.address,
            access_control=False,
            kek=self.environ["SEALWIRE_KEK"],
        )
        with ProxyProcess(options) as proxy, MongoClient[Document](proxy.uri()) as client:
            yield client


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with secantus(tmp_path_factory.mktemp("database")) as process:
        yield process


@pytest.fixture
def place(database: DatabaseProcess, tmp_path: Path) -> Iterator[Place]:
    environ = measuring() | {
        "PATH": os.environ["PATH"],
        "COLUMNS": "400",
        "SEALWIRE_KEK": generate_encoded_kek(),
        "SEALWIRE_KEYRING": str(tmp_path / "keyring.json"),
        "SEALWIRE_SERVER_URI": database.uri(),
    }
    found = Place(database, tmp_path, environ)
    found.policy()
    create_keyring(found.keyring, found.kek, CLASSES, datetime.now(UTC))
    yield found
    with database.connect() as client:
        for name in ("clinic", "sealwire"):
            client.drop_database(name)


@pytest.fixture
def stored(place: Place) -> Iterator[Any]:
    """The collection past Sealwire."""
    with place.database.connect() as client:
        yield client["clinic"]["patients"]


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


def test_plaintext_of_every_type_of_id_is_encrypted_and_read_in_clear(place: Place, stored: Any) -> None:
    ids = [1, 2.5, "text", ObjectId(), {"a": 1}, b"x", datetime(2026, 1, 1), True]
    stored.insert_many([patient(each) for each in ids])
    job = place.job("encrypt", place.policy(), "--batch", "3")
    assert (job["state"], job["values"], job["left"]) == ("done", 4 * len(ids), [])
    assert job["documents"] == {"expected": len(ids), "read": len(ids), "changed": len(ids)}
    assert forms(stored) == {1}
    with place.proxy() as client:
        found = {str(each["_id"]): each for each in client["clinic"]["patients"].find()}
    assert found == {str(each): patient(each) for each in ids}
    verified = place.migrate("verify", place.policy(), "--json")
    assert (verified.exit_code, json.loads(verified.stdout)["holds"]) == (0, True)
    assert place.job("encrypt", place.policy())["values"] == 0


def test_several_workers_share_the_ranges_of_all_collections(place: Place, stored: Any) -> None:
    policy = place.policy(WHOLE + "  clinic.ward_*: {notes: notes}\n")
    stored.insert_many([patient(number) for number in range(200)])
    with place.database.connect() as client:
        client["clinic"]["ward_1"].insert_many([{"notes": SECRET} for _ in range(150)])
        job = place.job("encrypt", policy, "--workers", "3", "--batch", "20")
        assert (job["documents"]["read"], job["values"]) == (350, 950)
        assert forms(stored) == forms(client["clinic"]["ward_1"]) == {1}
        assert len(json.loads(place.migrate("status", "--json").stdout)["jobs"]) == 1
    assert job["job"] in place.migrate("status").stdout


def test_values_of_every_type_come_back_byte_for_byte(place: Place, stored: Any) -> None:
    values: list[Any] = [
        float("nan"),
        -0.0,
        5,
        Int64(5),
        Decimal128("5.00"),
        {"b": 1, "a": [{"$ref": "x", "$id": 1}]},
        [[1, 2], {}],
        [],
        Binary(b"old", 2),
        ObjectId(),
        False,
        datetime(2026, 1, 1),
        Regex("^a", "im"),
        DBRef("wards", 3),
        Code("f()"),
        Code("f()", {"x": 1}),
        Timestamp(7, 1),
        "",
        "text",
    ]
    stored.insert_many([{"_id": number, "notes": value} for number, value in enumerate(values)])
    before = raw_documents(place)
    assert place.job("encrypt", place.policy())["values"] == len(values)
    assert {key_versions(document["notes"])[0] for document in stored.find()} == {1}
    less = place.policy(LESS)
    job = place.job("decrypt", less, PATIENTS, "notes", "--confirm", PATIENTS)
    assert (job["values"], job["left"]) == (len(values), [])
    assert raw_documents(place) == before


def raw_documents(place: Place) -> list[bytes]:
    with MongoClient(place.database.uri(), document_class=RawBSONDocument) as client:
        return sorted(bytes(each.raw) for each in client["clinic"]["patients"].find())


def test_nothing_is_changed_by_a_dry_run(place: Place, stored: Any) -> None:
    stored.insert_many([patient(1), {"_id": 2, "notes": MinKey()}])
    policy = place.policy()
    intention = place.job("encrypt", policy, "--dry-run")
    assert (intention["dry_run"], len(intention["moves"])) == (True, 3)
    assert "would encrypt; about 2 documents" in place.migrate("encrypt", policy, "--dry-run").stdout
    assert json.loads(place.migrate("status", "--json").stdout)["jobs"] == []
    assert forms(stored) == {0}
    name = place.job("encrypt", policy, code=1)["job"]
    for words in (("resume", policy, name), ("pause", name), ("abort", name)):
        assert "would" in place.migrate(*words, "--dry-run").stdout
    assert json.loads(place.migrate("status", "--json").stdout)["jobs"][0]["state"] == "refused"
    less = place.policy(LESS)
    assert place.job("decrypt", less, PATIENTS, "notes", "--dry-run")["direction"] == "decrypt"


def test_a_plan_counts_what_there_is_and_names_what_is_in_the_way(place: Place, stored: Any) -> None:
    stored.insert_many([patient(number) | {"nhs_number": f"{number}"} for number in range(4)])
    stored.insert_one({"_id": "odd", "notes": MinKey()})
    stored.create_index("notes", unique=True, partialFilterExpression={"visits.text": {"$exists": True}})
    done = place.migrate("plan", place.policy(), "--json")
    assert (done.exit_code, SECRET in done.output) == (0, False)
    paths = {each["path"]: each for each in json.loads(done.stdout)["collections"][0]["paths"]}
    assert paths["notes"]["plaintext"] == 5
    assert paths["notes"]["wrong_type"] == 1
    assert paths["visits.text"]["plaintext"] == 8
    assert paths["nhs_number"]["refused"].startswith("not yet: its class is deterministic")
    assert "unique" in paths["notes"]["indexes"][0]["obstacle"]
    table = place.migrate("plan", place.policy(), PATIENTS, "--sample", "2")
    assert (table.exit_code, SECRET in table.output) == (0, False)
    assert "counted in 2 documents" in table.output
    refused = place.refused("encrypt", place.policy(), PATIENTS, "notes")
    assert refused.reason is MigrationReason.OBSTACLE


def test_what_cannot_be_moved_is_refused_with_the_reason(place: Place, stored: Any) -> None:
    stored.insert_one(patient(1))
    policy = place.policy()
    asked = {
        ("encrypt", policy, "clinic.others"): MigrationReason.NOT_COVERED,
        ("encrypt", policy, PATIENTS, "other"): MigrationReason.NOT_COVERED,
        ("encrypt", policy, PATIENTS, "nhs_number"): MigrationReason.DETERMINISTIC,
        ("reencrypt", policy, "nhs_number"): MigrationReason.NOTHING,
        ("reencrypt", policy, "other"): MigrationReason.NOT_COVERED,
        ("decrypt", policy, PATIENTS, "notes"): MigrationReason.STILL_COVERED,
        ("decrypt", policy, PATIENTS, "visits.0.text"): MigrationReason.NOT_COVERED,
        ("verify", policy, PATIENTS, "visits"): MigrationReason.NOT_COVERED,
        ("verify", policy, "clinic.others"): MigrationReason.NOT_COVERED,
        ("status", "job-of-nobody"): MigrationReason.MISSING,
    }
    for words, reason in asked.items():
        refused = place.refused(*words)
        assert (refused.reason, bool(str(refused))) == (reason, True)
    assert forms(stored) == {0}


def test_a_collection_whose_documents_may_not_change_is_refused(place: Place) -> None:
    with place.database.connect() as client:
        client["clinic"].create_collection("patients", capped=True, size=100_000)
        refused = place.refused("encrypt", place.policy(), PATIENTS)
        assert "capped" in str(refused)
        assert "is capped" in place.migrate("plan", place.policy()).stdout
        client["clinic"].drop_collection("patients")
        client["clinic"].create_collection("patients", viewOn="wards", pipeline=[])
        refused = place.refused("encrypt", place.policy(), PATIENTS)
        assert refused.reason is MigrationReason.NOTHING


def test_an_application_goes_on_while_a_job_is_killed_and_resumed(place: Place, stored: Any) -> None:
    """It changes each document once, and reads others, while the job dies twice."""
    count = 600
    stored.insert_many([patient(number) for number in range(count)])
    policy = place.policy()
    wrong: list[object] = []
    with place.proxy() as client:
        patients = client["clinic"]["patients"]
        over = threading.Event()

        def work() -> None:
            for number in range(0, count, 3):
                new = [{"text": "new"}]
                patients.update_one({"_id": number}, {"$push": {"visits": {"$each": new, "$position": 0}}})
                other = (number * 7) % count
                found = patients.find_one({"_id": other})
                meant = patient(other)
                if found is not None and found["visits"][0] == new[0]:
                    meant["visits"].insert(0, new[0])
                if found != meant:
                    wrong.append(found)
            over.set()

        application = threading.Thread(target=work)
        application.start()
        with place.start("encrypt", policy, "--batch", "20", "--workers", "2", "--share", "0.3") as first:
            _wait_for_progress(place, 60)
            first.send_signal(signal.SIGKILL)
        name = json.loads(place.migrate("status", "--json").stdout)["jobs"][0]["job"]
        with place.start("resume", policy, name, "--batch", "20") as second:
            _wait_for_progress(place, 200)
            second.send_signal(signal.SIGTERM)
        job = place.job("resume", policy, name)
        application.join()
    assert over.is_set()
    assert wrong == []
    assert job["state"] == "done"
    assert job["left"] == []
    assert forms(stored) == {1}
    assert place.migrate("verify", policy).exit_code == 0
    assert stored.count_documents({}) == count


def _wait_for_progress(place: Place, documents: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        jobs = json.loads(place.migrate("status", "--json").stdout)["jobs"]
        if jobs and jobs[0]["documents"]["read"] >= documents:
            return
        time.sleep(0.05)
    raise AssertionError("the job made no progress")


def test_a_new_key_takes_over(place: Place, stored: Any) -> None:
    with place.proxy() as client:
        client["clinic"]["patients"].insert_many([patient(number) for number in range(30)])
    place.rotate("notes")
    policy = place.policy()
    with place.proxy() as client:
        patients = client["clinic"]["patients"]
        patients.insert_one(patient(30))
        before = place.migrate("verify", policy, "--json")
        assert before.exit_code == 1
        paths = {each["path"]: each for each in json.loads(before.stdout)["collections"][0]["paths"]}
        assert paths["notes"]["versions"] == {"1": 30, "2": 1}
        job = place.job("reencrypt", policy, "notes")
        assert (job["values"], job["state"]) == (90, "done")
        assert list(patients.find()) == [patient(number) for number in range(31)]
    assert place.migrate("verify", policy).exit_code == 0
    assert {key_versions(document["notes"])[0] for document in stored.find()} == {2}
    assert {key_versions(document["letters"])[0] for document in stored.find()} == {1}


def test_a_path_goes_back_to_plaintext_while_its_collection_is_read(place: Place, stored: Any) -> None:
    with place.proxy() as client:
        client["clinic"]["patients"].insert_many([patient(number) for number in range(20)])
    less = place.policy(LESS)
    assert place.migrate("verify", less, PATIENTS, "notes").exit_code == 1
    refused = place.refused("decrypt", less, PATIENTS, "notes", "--confirm", "clinic")
    assert isinstance(refused, DecryptNotConfirmed)
    with place.proxy() as client:
        patients = client["clinic"]["patients"]
        patients.insert_one(patient(20))
        assert list(patients.find()) == [patient(number) for number in range(21)]
        job = place.job("decrypt", less, PATIENTS, "notes", "--confirm", PATIENTS)
        assert (job["values"], job["state"]) == (20, "done")
        assert list(patients.find()) == [patient(number) for number in range(21)]
    assert {type(document["notes"]) for document in stored.find()} == {str}
    assert place.migrate("verify", less, PATIENTS, "notes").exit_code == 0


def test_a_typed_confirmation_and_what_it_is_about(place: Place, stored: Any) -> None:
    stored.insert_one(patient(1))
    policy = place.policy(HEAD + "  clinic.wards: {notes: notes}\n")
    words = ["decrypt", policy, PATIENTS, "notes"]
    done = CliRunner().invoke(command, words, env=place.environ, input="clinic.patients\n")
    assert done.exit_code == 0
    assert "its application has to be stopped" in done.stderr


def test_a_wrong_type_stops_the_job_and_is_named(place: Place, stored: Any) -> None:
    stored.insert_many([patient(1), {"_id": 2, "notes": MinKey()}, patient(3)])
    policy = place.policy()
    stopped = place.migrate("encrypt", policy)
    assert stopped.exit_code == 1
    assert "wrong-type" in stopped.stdout
    assert "migrate resume" in stopped.stdout
    job = json.loads(place.migrate("status", "--json").stdout)["jobs"][0]
    assert (job["state"], job["refusal"][0]["document"]) == ("refused", "2")
    assert "wrong-type" in place.migrate("status", job["job"]).stdout
    assert place.refused("encrypt", policy).reason is MigrationReason.TAKEN
    stored.delete_one({"_id": 2})
    assert place.job("resume", policy, job["job"])["state"] == "done"
    again = place.job("resume", policy, job["job"])
    assert again["updated"] >= job["updated"]


def test_what_is_skipped_is_counted_and_ends_with_exit_code_1(place: Place, stored: Any) -> None:
    stored.insert_many([patient(1), {"_id": 2, "notes": ["x", None]}])
    job = place.job("encrypt", place.policy(), "--wrong-type", "skip", code=1)
    assert job["left"] == [{"namespace": PATIENTS, "path": "notes", "reason": "wrong-type", "values": 1}]
    job = place.job("encrypt", place.policy(), "--wrong-type", "encrypt")
    assert (job["values"], job["left"]) == (1, [])


def test_a_job_is_paused_and_aborted_from_elsewhere(place: Place, stored: Any) -> None:
    stored.insert_many([patient(number) for number in range(300)])
    policy = place.policy()
    with place.start("encrypt", policy, "--batch", "10", "--share", "0.2") as process:
        _wait_for_progress(place, 20)
        name = json.loads(place.migrate("status", "--json").stdout)["jobs"][0]["job"]
        assert "asked to pause" in place.migrate("pause", name).stdout
        assert process.wait(30) == 1
    job = json.loads(place.migrate("status", name, "--json").stdout)["jobs"][0]
    assert job["state"] == "paused"
    assert forms(stored) == {0, 1}
    less = place.policy(LESS)
    assert place.refused("resume", less, name).reason is MigrationReason.POLICY_CHANGED
    assert place.job("abort", name)["state"] == "aborted"
    assert "is over" in place.migrate("pause", name).stdout
    assert "aborted" in place.migrate("abort", name).stdout
    assert place.job("resume", place.policy(), name, code=1)["state"] == "aborted"
    assert place.job("encrypt", place.policy())["state"] == "done"


def test_a_job_that_runs_is_aborted(place: Place, stored: Any) -> None:
    stored.insert_many([patient(number) for number in range(300)])
    with place.start("encrypt", place.policy(), "--batch", "10", "--share", "0.2") as process:
        _wait_for_progress(place, 20)
        name = json.loads(place.migrate("status", "--json").stdout)["jobs"][0]["job"]
        assert place.job("abort", name)["state"] == "aborted"
        assert process.wait(30) in (1, 69)


def test_somebody_elses_edit_of_a_job_is_noticed(place: Place, stored: Any) -> None:
    stored.insert_one(patient(1))
    name = place.job("encrypt", place.policy())["job"]
    with place.database.connect() as client:
        jobs = client["sealwire"]["jobs"]
        sound = jobs.find_one({"_id": name})
        assert sound is not None
        for change in (
            {"body": Binary(bytes(sound["body"]).replace(b"done", b"gone"))},
            {"wish": "abort"},
            {"tag": "x"},
            {"tag": [1, 1, b"x"]},
            {"revision": 9},
        ):
            jobs.replace_one({"_id": name}, sound | change)
            assert isinstance(place.refused("status", name), JobDamaged)
        jobs.delete_one({"_id": name})
    assert isinstance(place.refused("abort", name), JobMissing)


def test_a_server_that_refuses_an_update_is_named_with_its_code(place: Place, stored: Any) -> None:
    with place.database.connect() as client:
        schema = {"$jsonSchema": {"properties": {"notes": {"bsonType": "string"}}}}
        stored.insert_one(patient(1))
        client["clinic"].command("collMod", "patients", validator=schema)
    job = place.job("encrypt", place.policy(), code=1)
    assert [(each["reason"], each["code"]) for each in job["reported"]] == [("server", 121)]
    assert isinstance(stored.find_one()["notes"], str)
    assert job["state"] == "done"


@pytest.mark.parametrize(
    ("options", "obstacle"),
    [
        ({"keys": "notes"}, ""),
        ({"keys": "visits"}, ""),
        ({"keys": "ward", "partialFilterExpression": {"notes": {"$exists": True}}}, "partial filter"),
        ({"keys": "notes", "expireAfterSeconds": 60}, "expire"),
        ({"keys": [("visits.text", "2dsphere")]}, "reads the values"),
    ],
)
def test_indexes_that_would_be_of_no_use_are_in_the_way(
    place: Place, stored: Any, options: dict[str, Any], obstacle: str
) -> None:
    stored.insert_one(patient(1))
    stored.create_index(**options)
    if obstacle:
        assert obstacle in str(place.refused("encrypt", place.policy()))
    else:
        assert "finds no encrypted value" in place.migrate("plan", place.policy()).stdout
        assert place.job("encrypt", place.policy())["state"] == "done"


def test_a_keyring_without_the_class_moves_nothing(place: Place, stored: Any) -> None:
    stored.insert_one(patient(1))
    place.keyring.unlink()
    create_keyring(place.keyring, place.kek, ["nhs_number"], datetime.now(UTC))
    assert isinstance(place.refused("encrypt", place.policy()), UnknownKey)
    with place.database.connect() as client:
        assert client["sealwire"].list_collection_names() == []


def test_a_refusal_is_one_error_with_an_exit_code(place: Place, stored: Any) -> None:
    stored.insert_one(patient(1))
    with place.start("encrypt", place.policy(), PATIENTS, "nhs_number") as process:
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 78
    assert output.startswith("sealwire: error: clinic.patients nhs_number cannot be moved")
    assert issubclass(MigrationRefused, MigrationError)
