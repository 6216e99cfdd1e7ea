"""Commands on record, by a driver through a real proxy and server: counts, persons, and no value anywhere."""

import json
import os
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import InsertOne, MongoClient, UpdateOne
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.write_concern import WriteConcern

from sealwire.audit.files import files_of
from sealwire.audit.line import read_line
from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.keys.private_file import create_private
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import DirectReason, Unusable
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyProcess
from tests.integration.outside.chosen import own_server
from tests.proxy.session.world import value_bytes
from tests.support import warm
from tests.support.audit_log import assert_whole, lines_of, until_written
from tests.support.proxied import proxied
from tests.support.reasons import raising
from tests.support.secantus import secantus
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, own_server("it has one of its own")]

POLICY = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs, notes: notes}
  clinic.visits: {report: notes}
subjects:
  class: nhs
  links:
    clinic.visits.patient_id: clinic.patients._id
    clinic.letters.patient_id: clinic.patients._id
"""
MARKER = "MARKER-"
KEY = PseudonymKey(bytes(range(32)))
ANN, BOB = f"{MARKER}943", f"{MARKER}944"


def person(identifier: str) -> str:
    return KEY.name_of("", *value_bytes(identifier))


class Log:
    """The lines of commands that came since the last look."""

    def __init__(self, path: Path, proxy: ProxyProcess, client: MongoClient[Any]) -> None:
        self.path = path
        self.proxy = proxy
        self._client = client
        self._seen = 0

    def new(self) -> list[dict[str, Any]]:
        until_written(self.path, self._client, "nhs_number")
        found = lines_of(self.path, "command")
        new, self._seen = found[self._seen :], len(found)
        return new

    def decrypted(self) -> int:
        """What the metric counts."""
        address = f"http://127.0.0.1:{self.proxy.admin_port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            found = re.search(r"^sealwire_values_decrypted_total (\S+)", answer.read().decode(), re.MULTILINE)
        return 0 if found is None else int(float(found[1]))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MongoClient[Any], Log]]:
    folder = tmp_path_factory.mktemp("audited")
    path, key = folder / "audit.jsonl", folder / "subjects.key"
    create_private(key, KEY.written())
    settings = {"audit": {"path": str(path), "subjects_key": str(key)}}
    with (
        secantus(folder) as database,
        proxied(folder, POLICY, database.address, settings=settings) as proxy,
        MongoClient[Any](proxy.uri(), appname="rounds") as client,
    ):
        yield client, Log(path, proxy, client)


@pytest.fixture
def client(running: tuple[MongoClient[Any], Log]) -> MongoClient[Any]:
    client, log = running
    for name in ("patients", "visits", "letters"):
        client["clinic"][name].drop()
    documents = [{"_id": n, "nhs_number": who, "notes": MARKER} for n, who in ((1, ANN), (2, BOB))]
    client["clinic"]["patients"].insert_many(documents)
    log.new()
    return client


@pytest.fixture
def log(running: tuple[MongoClient[Any], Log]) -> Iterator[Log]:
    yield running[1]
    assert MARKER.encode() not in running[1].path.read_bytes()


def said(line: dict[str, Any]) -> dict[str, Any]:
    """What a line says, without what every line has."""
    assert line["us"] >= 0
    assert line["application"] == "rounds"
    left_out = {"n", "prev", "time", "event", "client", "connection", "application", "driver", "us"}
    return {name: value for name, value in line.items() if name not in left_out}


def test_a_find_says_what_was_shown_of_whom_and_why(client: MongoClient[Any], log: Log) -> None:
    comment = {"sealwire": {"purpose": "direct-care"}}
    assert client["clinic"]["patients"].find_one({"nhs_number": ANN}, comment=comment)
    (line,) = log.new()
    assert said(line) == {
        **{"namespace": "clinic.patients", "command": "find", "purpose": "direct-care", "outcome": "ok"},
        **{"read": {"nhs": 1, "notes": 1}, "filtered": {"nhs": 1}, "documents": 1, "subjects": [person(ANN)]},
    }


def test_writes_and_those_that_fail(client: MongoClient[Any], log: Log) -> None:
    patients = client["clinic"]["patients"]
    patients.update_one({"nhs_number": BOB}, {"$set": {"notes": MARKER}})
    with pytest.raises(DuplicateKeyError):
        patients.insert_one({"_id": 1, "nhs_number": ANN})
    patients.find_one_and_delete({"nhs_number": BOB})
    update, insert, removal = log.new()
    assert (update["written"], update["filtered"], update["outcome"]) == ({"notes": 1}, {"nhs": 1}, "ok")
    assert (insert["outcome"], insert["reason"], insert["subjects"]) == (
        "failed",
        "code 11000",
        [person(ANN)],
    )
    assert (removal["documents"], removal["subjects"]) == (1, [person(BOB)])


def test_a_write_that_nobody_acknowledges(client: MongoClient[Any], log: Log) -> None:
    patients = client["clinic"].get_collection("patients", write_concern=WriteConcern(w=0))
    patients.insert_one({"nhs_number": ANN})
    assert client["clinic"]["patients"].count_documents({"nhs_number": ANN}) >= 1
    write, count = log.new()
    assert (write["outcome"], write["written"]) == ("unanswered", {"nhs": 1})
    assert (count["command"], count["filtered"]) == ("aggregate", {"nhs": 1})


def test_batches_aggregations_bulk_writes_and_transactions(client: MongoClient[Any], log: Log) -> None:
    clinic = client["clinic"]
    assert len(list(clinic["patients"].find(batch_size=1))) == 2
    lines = log.new()
    assert [line["command"] for line in lines][:2] == ["find", "getMore"]
    assert {who for line in lines for who in line.get("subjects", [])} == {person(ANN), person(BOB)}
    list(clinic["patients"].aggregate([{"$group": {"_id": "$nhs_number"}}]))
    (line,) = log.new()
    assert (line["read"], line["subjects_unknown"], "subjects" in line) == ({"nhs": 2}, 2, False)
    clinic["patients"].bulk_write(
        [InsertOne({"nhs_number": ANN}), UpdateOne({"_id": 1}, {"$set": {"notes": 1}})]
    )
    assert [line["written"] for line in log.new()] == [{"nhs": 1}, {"notes": 1}]
    clinic["visits"].insert_one({"patient_id": 1, "report": MARKER})
    log.new()
    clinic["visits"].find_one({"patient_id": 1})
    (line,) = log.new()
    assert line["subjects"] == [KEY.name_of("clinic.patients._id", *value_bytes(1))]


def test_values_that_were_read_are_those_of_the_metric(client: MongoClient[Any], log: Log) -> None:
    before = log.decrypted()
    list(client["clinic"]["patients"].find())
    list(client["clinic"]["patients"].find({}, {"notes": 1}))
    read = sum(sum(line.get("read", {}).values()) for line in log.new())
    assert read == log.decrypted() - before == 6


def test_who_saw_a_person_is_listed_with_linked_documents(
    client: MongoClient[Any], log: Log, tmp_path: Path
) -> None:
    client["clinic"]["visits"].insert_many([{"patient_id": n, "report": MARKER} for n in (1, 2)])
    client["clinic"]["visits"].find_one({"patient_id": 1}, comment="purpose=direct-care")
    client["clinic"]["visits"].find_one({"patient_id": 2}, comment="purpose=research")
    client["clinic"]["letters"].insert_many([{"_id": n, "patient_id": n} for n in (1, 2)])
    client["clinic"]["letters"].update_one({"_id": 1}, {"$set": {"x": 1}}, comment="purpose=letter")
    client["clinic"]["letters"].update_one({"_id": 2}, {"$set": {"x": 1}}, comment="purpose=research")
    client["clinic"]["patients"].update_one({"_id": 1}, {"$set": {"x": 1}}, comment="purpose=by-id")
    client["clinic"]["patients"].update_many({"x": 1}, {"$set": {"x": 2}}, comment="purpose=blind")
    lines = log.new()
    assert all(line.get("subjects") or line.get("ids") or line.get("unnamed") for line in lines)
    through = ("--through-file", str(tmp_path / "through"))
    create_private(tmp_path / "through", log.proxy.uri().encode())
    known = listed(log)
    assert not [each for each in known["lines"] if each["namespace"] == "clinic.visits"]
    assert {"clinic.visits", "clinic.letters"} <= set(known["not_covered"])
    asked = listed(log, *through)
    purposes = [each["purpose"] for each in asked["lines"]]
    stated = [each for each in purposes if each not in ("", "subject-report")]
    assert stated[-3:] == ["direct-care", "letter", "by-id"]
    assert "research" not in purposes
    assert [each.partition(" ")[0] for each in asked["not_covered"]] == ["clinic.letters"]
    assert asked["writes_of_unknown_persons"] >= 1
    assert log.new()[-1]["purpose"] == "subject-report"


def test_linked_documents_that_a_pipeline_replaces_are_on_record(client: MongoClient[Any], log: Log) -> None:
    clinic = client["clinic"]
    clinic["letters"].insert_many([{"_id": n, "patient_id": n} for n in (1, 2)])
    clinic["plain"].insert_one({"_id": 9})
    log.new()
    list(clinic["plain"].aggregate([{"$out": "letters"}]))
    assert [each["_id"] for each in clinic["letters"].find()] == [9]
    line, _ = log.new()
    assert (line["namespace"], line["command"], line["unnamed"]) == ("clinic.letters", "aggregate", 1)


def test_a_document_that_was_deleted_by_its_id_is_still_the_persons(
    client: MongoClient[Any], log: Log
) -> None:
    client["clinic"]["patients"].find_one({"_id": 1})
    client["clinic"]["patients"].delete_one({"_id": 1}, comment="purpose=removal")
    client["clinic"]["patients"].delete_one({"_id": 2}, comment="purpose=other")
    log.new()
    purposes = [each["purpose"] for each in listed(log)["lines"]]
    assert (purposes[-1], "other" in purposes) == ("removal", False)


def listed(log: Log, *options: str) -> dict[str, Any]:
    """What `sealwire audit subject` says of one person."""
    folder = log.path.parent
    arguments = ["audit", "subject", str(log.path), "--policy", str(folder / "policy.yaml"), "--json"]
    arguments += ["--subjects-key", str(folder / "subjects.key"), *options]
    done = warm.sealwire(*arguments, input=f"{ANN}\n", check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_identifier_is_not_sent_past_sealwire(database: DatabaseProcess) -> None:
    with raising(Unusable, DirectReason.NOT_SEALWIRE), connected(database.uri(), is_through=True):
        pass


# What was answered is on record: while the audit writer and the workers are killed under load.


NHS_POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""
CLIENTS = 3
ROUNDS = 4


class Clients:
    """Threads that insert, each command with a purpose of its own, and remember what was answered."""

    def __init__(self, uri: str) -> None:
        self.answered: list[str] = []
        self._uri = uri
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def until_more(self, count: int) -> None:
        wanted, end_s = len(self.answered) + count, time.monotonic() + 20
        while len(self.answered) < wanted:
            assert time.monotonic() < end_s
            time.sleep(0.005)

    def _run(self, number: int) -> None:
        done = 0
        with MongoClient[Any](self._uri, retryWrites=False, serverSelectionTimeoutMS=10_000) as client:
            patients = client["clinic"]["patients"]
            while not self._ending.is_set():
                done += 1
                purpose = f"{number}-{done}"
                try:
                    patients.insert_one({"nhs_number": purpose}, comment={"sealwire": {"purpose": purpose}})
                except PyMongoError:
                    continue  # its worker was killed
                self.answered.append(purpose)


def children(pid: int) -> tuple[list[int], list[int]]:
    """The audit writer, and the workers."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    programs = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in found}
    writers = [child for child, program in programs.items() if b"audit_writer" in program]
    return writers, [child for child, program in programs.items() if b"--worker" in program]


def test_what_was_answered_is_on_record_whoever_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    settings = {"audit": {"path": str(log), "file_bytes": 1 << 16}, "workers": 2}
    with secantus(tmp_path) as database:
        before = proxied(tmp_path, NHS_POLICY, database.address, settings=settings)
        with before as proxy, Clients(proxy.uri()) as clients:
            for turn in range(ROUNDS):
                clients.until_more(50)
                writers, workers = children(proxy.pid)
                for victim in (*writers, *workers[: turn % 2]):
                    os.kill(victim, signal.SIGKILL)
            clients.until_more(50)
            # else its start, on a busy machine, takes the time that the end leaves a writer
            until(lambda: children(proxy.pid)[0] != [])
    recorded = set()
    for file in files_of(log):
        for line in file.read_bytes().splitlines(keepends=True):
            recorded.add(str(read_line(line).fields.get("purpose")))
    assert len(clients.answered) >= 50 * ROUNDS
    assert set(clients.answered) - recorded == set()
    assert_whole(log)
