"""One collection joins a class and leaves it, by itself, while an application goes on by two proxies."""

import hashlib
import json
import operator
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from click.testing import CliRunner
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from sealwire.cli import sealwire
from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.errors import KeysReason
from sealwire.keys.frontier.frontier import (
    AFTER_ALL,
    ClassVersion,
    Frontier,
    Position,
    Window,
    pending_version_of,
    version_of,
)
from sealwire.keys.frontier.record import frontier_document
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import KeyringWriter, create_keyring, load_keyring, read_record
from sealwire.keys.keyring.turning import activate, rotate
from sealwire.sidecars.migration import engine
from sealwire.testbed.database import DatabaseProcess, vouch_for_leases
from sealwire.wire import kinds
from tests.integration.conftest import Document
from tests.integration.rotating_clinic import number_of
from tests.integration.running_site import at_work, client_of, first_move, new_environ, readiness, site_at
from tests.proxy.server.site import Running, Site, serving
from tests.support import warm
from tests.support.waiting import until

pytestmark = pytest.mark.integration

TRANSACTIONS_S = 5
"""How long they may last on the server of these tests."""

LONGEST_S = 240.0
TURNS = 5
"""How often each client asks everything while the proxies differ."""
PAUSE_S = 0.02
"""Between two times: the job and the proxies need the processor, too."""
PATIENTS = 60
OF_CLASS = "{mode: deterministic, type: string}"


def rules(*classes: str) -> str:
    """The policy in which the collection `intake` has the last of these classes."""
    declared = ", ".join(f"{name}: {OF_CLASS}" for name in classes)
    return f"""
version: 1
classes: {{{declared}}}
collections:
  clinic.patients: {{nhs: nhs}}
  clinic.intake: {{patient: {classes[-1]}}}
"""


@dataclass(slots=True)
class Application:
    """Two clients, each by its own proxy, that know every answer but that of a join."""

    clients: tuple[MongoClient[Document], MongoClient[Document]]
    wrong: list[str] = field(default_factory=list)
    asked: int = 0
    turns: list[int] = field(default_factory=lambda: [0, 0])
    """How often each client has asked everything."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def at_work(self) -> AbstractContextManager[None]:
        """Both ask until the block is over."""
        return at_work(self._work, self._stop)

    def go_on(self) -> None:
        """Wait until both have asked everything some more times."""
        wanted, deadline = [turns + TURNS for turns in self.turns], time.monotonic() + 60
        while any(map(operator.lt, self.turns, wanted)):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _work(self, place: int) -> None:
        chance = random.Random(place)
        database = self.clients[place]["clinic"]
        while not self._stop.is_set():
            self.asked += 1
            patient, tag = chance.randrange(PATIENTS), f"{place}-{self.asked}"
            try:
                self._ask(database, patient, tag)
            except PyMongoError as error:
                self.wrong.append(f"{type(error).__name__} {getattr(error, 'code', '')}")
            self.turns[place] += 1
            self._stop.wait(PAUSE_S)

    def _ask(self, database: Any, patient: int, tag: str) -> None:
        number = number_of(patient)
        if [each["_id"] for each in database.patients.find({"nhs": number})] != [patient]:
            self.wrong.append("patients")
        if database.intake.count_documents({"patient": number, "fixed": True}) != 2:
            self.wrong.append("intake")
        database.intake.insert_one({"_id": tag, "patient": tag})
        if database.intake.find_one({"patient": tag}) != {"_id": tag, "patient": tag}:
            self.wrong.append("what was written")
        if database.intake.update_one({"patient": tag}, {"$set": {"patient": number}}).modified_count != 1:
            self.wrong.append("an update")
        if database.intake.delete_one({"_id": tag, "patient": number}).deleted_count != 1:
            self.wrong.append("a deletion")
        groups = database.intake.aggregate(
            [{"$match": {"fixed": True}}, {"$group": {"_id": "$patient", "n": {"$sum": 1}}}]
        )
        if {each["_id"]: each["n"] for each in groups} != dict.fromkeys(map(number_of, range(PATIENTS)), 2):
            self.wrong.append("a group")


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """`nhs` has a key, `nhs_intake` is in clear."""
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    made = site_at(database, tmp_path, rules("nhs", "nhs_intake"), new_environ(), frontier_uri=database.uri())
    kek = EnvironmentKek(environ=made.environ)
    create_keyring(made.keyring, kek, ["nhs", "nhs_intake"], datetime.now(UTC), ["nhs_intake"])
    made.environ |= {
        "SEALWIRE_KEYRING": str(made.keyring),
        "SEALWIRE_SERVER_URI": database.uri(),
        "SEALWIRE_POLICY": str(made.folder / "policy.yaml"),
        "COLUMNS": "400",
    }
    with database.connect() as client:
        vouch_for_leases(client, made.keyring)
        yield made
        for name in ("clinic", "sealwire"):
            client.drop_database(name)


def typed(site: Site, *words: str, refused: KeysReason | None = None) -> str:
    """What an operator types, and reads."""
    done = CliRunner().invoke(sealwire, list(words), env=site.environ)
    assert getattr(done.exception, "reason", None) is refused, done.output
    assert refused or done.exit_code == 0, done.output
    assert not any(number_of(each) in done.output for each in range(PATIENTS))
    return done.stdout


def use_policy(site: Site, text: str, proxies: Sequence[Running], application: Application) -> None:
    """One proxy after the other reads it: for a while they have different ones."""
    file = site.folder / "policy.yaml"
    file.write_text(text)
    wanted = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    for proxy in proxies:
        proxy.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while shown_policy(proxy) != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        application.go_on()


def until_loaded(site: Site, proxies: Sequence[Running]) -> None:
    """Wait until each proxy says that it has loaded the keyring of now."""
    wanted = read_record(site.keyring).generation
    for proxy in proxies:
        next(line for line in proxy.said if line["event"] == "new keyring" and line["generation"] == wanted)


def waits_for(site: Site) -> list[str]:
    """Whom the one process that moves a class says to wait for."""
    workers = json.loads(typed(site, "migrate", "status", "--json"))["workers"]
    return [name for worker in workers for name in worker["waits_for"]]


def shown_policy(proxy: Running) -> str:
    with urllib.request.urlopen(f"http://{proxy.admin}/readyz", timeout=10) as answer:
        return str(json.loads(answer.read())["policy"])


def stored(direct: MongoClient[Document], name: str, path: str) -> dict[Any, Any]:
    found = direct["clinic"][name].find({"_id": {"$type": "int"}})
    return {each["_id"]: each[path] for each in found}


def is_envelope(value: Any) -> bool:
    return isinstance(value, Binary) and value.subtype == SUBTYPE


def joined(client: MongoClient[Document]) -> dict[int, int]:
    """By patient, how many intakes he has."""
    lookup = {"from": "intake", "localField": "nhs", "foreignField": "patient", "as": "found"}
    return {
        each["_id"]: len(each["found"])
        for each in client["clinic"]["patients"].aggregate([{"$lookup": lookup}])
    }


def test_a_collection_joins_a_class_and_leaves_it(site: Site, database: DatabaseProcess) -> None:
    with (
        serving(site, LONGEST_S) as first,
        serving(site, LONGEST_S) as second,
        client_of(first) as one,
        client_of(second) as two,
        database.connect() as direct,
    ):
        policy = str(site.folder / "policy.yaml")
        one["clinic"]["patients"].create_index("nhs", unique=True)
        one["clinic"]["patients"].insert_many({"_id": at, "nhs": number_of(at)} for at in range(PATIENTS))
        one["clinic"]["intake"].insert_many(
            {"_id": at, "patient": number_of(at // 2), "fixed": True} for at in range(2 * PATIENTS)
        )
        patients = stored(direct, "patients", "nhs")
        assert all(map(is_envelope, patients.values()))
        assert not any(map(is_envelope, stored(direct, "intake", "patient").values()))
        application, proxies = Application((one, two)), (first, second)
        with application.at_work():
            join(site, policy, proxies)
            assert_joined(direct, patients)
            for client in (one, two):
                with pytest.raises(OperationFailure):  # as between any two classes
                    joined(client)
            use_policy(site, rules("nhs"), proxies, application)
            for client in (one, two):
                assert {at: n for at, n in joined(client).items() if n < 2} == {}
            typed(site, "keys", "retire", "nhs_intake", "2", "--yes")
            typed(site, "migrate", "verify", policy)
            typed(site, "policy", "drift", policy)
            leave(site, policy, proxies, direct, application)
        assert_left(direct, patients)
        assert (application.wrong, application.asked > 20) == ([], True)


def join(site: Site, policy: str, proxies: Sequence[Running]) -> None:
    typed(site, "keys", "rotate", "nhs", "--dry-run")
    typed(site, "keys", "rotate", "nhs_intake", "--onto", "nhs")
    typed(site, "keys", "rotate", "nhs", "--dry-run", refused=KeysReason.LENT)
    job = json.loads(typed(site, "migrate", "encrypt", policy, "nhs_intake", *first_move(site), "--json"))
    assert (job["state"], job["left"]) == ("done", [])
    until_loaded(site, proxies)  # in which the borrowed version is active
    typed(site, "migrate", "verify", policy)
    typed(site, "policy", "drift", policy)


def leave(
    site: Site,
    policy: str,
    proxies: Sequence[Running],
    direct: MongoClient[Document],
    application: Application,
) -> None:
    """It begins too early, while the second proxy takes the values for those of the class that they leave."""
    use = rules("nhs", "nhs_out")
    (site.folder / "policy.yaml").write_text(use)
    typed(site, "keys", "create", "nhs_out", "--sharing", "nhs", "--policy", policy)
    use_policy(site, use, proxies[:1], application)
    words = ("decrypt", policy, "nhs_out", "--confirm", "nhs_out", *first_move(site), "--json")
    line = [sys.executable, "-m", "sealwire", "migrate", *words]
    with warm.WarmProcess(line, env=site.environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not waits_for(site):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            application.go_on()
            assert process.poll() is None
            assert all(is_envelope(each["patient"]) for each in direct["clinic"]["intake"].find())
            use_policy(site, use, proxies[1:], application)
            job = json.loads(process.communicate(timeout=180)[0])
        except BaseException:
            process.kill()
            raise
    assert (job["state"], job["left"]) == ("done", [])
    until_loaded(site, proxies)
    typed(site, "keys", "retire", "nhs_out", "1", "--yes")
    typed(site, "keys", "rotate", "nhs", "--dry-run")
    typed(site, "migrate", "verify", policy)
    drift = CliRunner().invoke(sealwire, ["policy", "drift", policy, "--json"], env=site.environ)
    assert (drift.exit_code, json.loads(drift.stdout)["in_clear"]) == (1, ["nhs_out"])


def assert_joined(direct: MongoClient[Document], patients: dict[Any, Any]) -> None:
    """Each value has the very bytes that the class has for it."""
    assert stored(direct, "patients", "nhs") == patients
    found = stored(direct, "intake", "patient")
    assert found == {at: patients[at // 2] for at in range(2 * PATIENTS)}
    assert all(is_envelope(each["patient"]) for each in direct["clinic"]["intake"].find())


def assert_left(direct: MongoClient[Document], patients: dict[Any, Any]) -> None:
    assert stored(direct, "patients", "nhs") == patients
    found = stored(direct, "intake", "patient")
    assert found == {at: number_of(at // 2) for at in range(2 * PATIENTS)}
    assert not any(is_envelope(each["patient"]) for each in direct["clinic"]["intake"].find())


# A class that is in clear, half taken in, encrypted, and half given back: the same answers throughout.


NHS = "nhs_number"
CLEAR_RULES = """
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  visits: {mode: deterministic, type: int, range: {from: 0, to: 100}}
collections:
  clinic.patients: {nhs_number: nhs_number, old_numbers: nhs_number, visits: visits}
  clinic.appointments: {patient: nhs_number}
"""
NUMBERS = ["111", "222", "333", "444"]
DEADLINE_S = 15.0


@pytest.fixture
def clear(database: DatabaseProcess, tmp_path: Path) -> Iterator[Site]:
    made = site_at(database, tmp_path, CLEAR_RULES, new_environ(), frontier_uri=database.uri())
    kek = EnvironmentKek(environ=made.environ)
    create_keyring(made.keyring, kek, [NHS, "visits"], datetime.now(UTC), [NHS, "visits"])
    yield made
    with database.connect() as client:
        for name in ("clinic", "sealwire"):
            client.drop_database(name)


def fill(clinic: Any) -> None:
    clinic["patients"].create_index(NHS, unique=True)
    clinic["patients"].insert_many(
        [
            {"_id": at, NHS: number, "old_numbers": [number, "000"], "visits": 10 * at}
            for at, number in enumerate(NUMBERS)
        ]
    )
    clinic["patients"].insert_one({"_id": 9, "visits": 99.0})
    clinic["appointments"].insert_many([{"patient": number} for number in NUMBERS * 2])


def answers(client: MongoClient[Document]) -> dict[str, Any]:
    """What an application asks, and what it is told."""
    patients, appointments = client["clinic"]["patients"], client["clinic"]["appointments"]
    joined = {"from": "appointments", "localField": NHS, "foreignField": "patient", "as": "found"}
    found: dict[str, Any] = {
        "all": list(patients.find().sort("_id")),
        "equal": [list(patients.find({NHS: number}).sort("_id")) for number in [*NUMBERS, "555"]],
        "in": sorted(each["_id"] for each in patients.find({NHS: {"$in": ["111", "444", None]}})),
        "among": sorted(each["_id"] for each in patients.find({"old_numbers": {"$all": ["000", "444"]}})),
        "distinct": sorted(appointments.distinct("patient")),
        "groups": sorted(
            (each["_id"], each["n"])
            for each in appointments.aggregate([{"$group": {"_id": "$patient", "n": {"$sum": 1}}}])
        ),
        "joined": sorted(
            (each["_id"], len(each["found"]))
            for each in patients.aggregate([{"$match": {NHS: {"$ne": None}}}, {"$lookup": joined}])
        ),
        "range": sorted(each["_id"] for each in patients.find({"visits": {"$gt": 5, "$lte": 20}})),
    }
    for types in ("string", ["string", "null"], "binData", "int", "null", "array", 2, "number"):
        for path in (NHS, "old_numbers", "visits"):
            met = patients.find({path: {"$type": types}}, {"_id": 1})
            found[f"{path} {types}"] = sorted(each["_id"] for each in met)
    found["not a string"] = sorted(
        each["_id"] for each in patients.find({NHS: {"$not": {"$type": "string"}}})
    )
    return found


def refuses_twins(client: MongoClient[Document]) -> bool:
    """Whether the unique index holds for every number, whichever form it has."""
    for number in NUMBERS:
        with pytest.raises(DuplicateKeyError):
            client["clinic"]["patients"].insert_one({NHS: number})
    upserted = client["clinic"]["patients"].update_one({NHS: "111"}, {"$set": {"seen": 1}}, upsert=True)
    return upserted.upserted_id is None


class Move:
    """A job in small: it moves the numbers up to a place, and says so in the frontier."""

    def __init__(self, clear: Site, server: MongoClient[Document], *, to_plaintext: bool = False) -> None:
        kek = EnvironmentKek(environ=clear.environ)
        rotate(clear.keyring, kek, {NHS: True}, datetime.now(UTC), to_plaintext=to_plaintext)
        keyring = load_keyring(clear.keyring, kek)
        new = pending_version_of(keyring, NHS)
        assert new is not None
        self._site, self._kek, self._server = clear, kek, server
        self.old, self.new = version_of(keyring, NHS), new

    def stored(self, version: ClassVersion, number: str) -> str | Binary:
        content = number.encode() + b"\0"
        kind, data = version.stored(kinds.STRING, len(content).to_bytes(4, "little") + content)
        return number if kind == kinds.STRING else Binary(data[5:], SUBTYPE)

    def place(self, number: str) -> Position:
        content = number.encode() + b"\0"
        return self.old.position(kinds.STRING, len(content).to_bytes(4, "little") + content)

    def acknowledged(self, generation: int) -> bool:
        class_id = str(self.new.cipher.class_id)
        leases = list(self._server["sealwire"]["leases"].find())
        return bool(leases) and all(each["acknowledged"].get(class_id) == generation for each in leases)

    def move_to(self, end: Position, generation: int) -> None:
        until(lambda: self.acknowledged(max(generation - 1, 1)))
        clinic = self._server["clinic"]
        for number in [*NUMBERS, "000"]:
            if self.place(number) < end:
                old, new = self.stored(self.old, number), self.stored(self.new, number)
                clinic["patients"].update_many({NHS: old}, {"$set": {NHS: new}})
                clinic["patients"].update_many({"old_numbers": old}, {"$set": {"old_numbers.$": new}})
                clinic["appointments"].update_many({"patient": old}, {"$set": {"patient": new}})
        versions = self.old.cipher.key_version, self.new.cipher.key_version
        frontier = Frontier(self.new.cipher.class_id, *versions, generation, Window(end, end))
        document = frontier_document(frontier, self.new.cipher)
        self._server["sealwire"]["frontiers"].replace_one({"_id": document["_id"]}, document, upsert=True)
        until(lambda: self.acknowledged(generation))

    def finish(self) -> None:
        activate(KeyringWriter(self._site.keyring, self._kek, datetime.now(UTC)), NHS)


def test_the_answers_are_the_same_in_clear_half_way_and_encrypted(
    clear: Site, database: DatabaseProcess
) -> None:
    with serving(clear) as proxy, client_of(proxy) as client, database.connect() as server:
        patients = server["clinic"]["patients"]
        fill(client["clinic"])
        expected = answers(client)
        assert answers(server) == expected
        assert refuses_twins(client)
        assert [each.get(NHS) for each in patients.find().sort("_id")] == [*NUMBERS, None]
        until(lambda: readiness(proxy).get("in_clear") == [NHS, "visits"])
        expected = answers(client)

        taken_in = Move(clear, server)
        taken_in.move_to(taken_in.place("333"), 2)
        assert sorted(type(each[NHS]).__name__ for each in patients.find({NHS: {"$ne": None}})) == [
            *("Binary", "Binary"),
            *("str", "str"),
        ]
        assert answers(client) == expected
        assert refuses_twins(client)
        taken_in.move_to(AFTER_ALL, 3)
        assert answers(client) == expected
        taken_in.finish()
        until(lambda: readiness(proxy).get("in_clear") == ["visits"])
        assert answers(client) == expected
        assert refuses_twins(client)
        assert patients.count_documents({NHS: {"$type": "string"}}) == 0

        given_back = Move(clear, server, to_plaintext=True)
        middle = sorted(map(given_back.place, NUMBERS))[2]
        given_back.move_to(middle, 2)
        assert patients.count_documents({NHS: {"$type": "string"}}) == 2
        assert answers(client) == expected
        assert refuses_twins(client)
        assert "plaintext" not in readiness(proxy)


def test_an_old_copy_of_the_keyring_brings_no_plaintext_back(clear: Site, database: DatabaseProcess) -> None:
    before = clear.keyring.read_bytes()
    with database.connect() as server:
        with serving(clear):
            taken_in = Move(clear, server)
            taken_in.move_to(AFTER_ALL, 2)
            taken_in.finish()
        clear.keyring.write_bytes(before)
        with serving(clear) as proxy, client_of(proxy) as client:
            patients = client["clinic"]["patients"]
            with pytest.raises(OperationFailure):
                patients.insert_one({NHS: "943 476 5919"})
            with pytest.raises(OperationFailure):
                patients.find_one({NHS: "943 476 5919"})
        assert server["clinic"]["patients"].count_documents({}) == 0


def test_without_a_frontier_a_class_in_clear_works_until_a_key_is_pending(
    clear: Site, database: DatabaseProcess
) -> None:
    del clear.config["frontier"]
    kek = EnvironmentKek(environ=clear.environ)
    with serving(clear) as proxy, client_of(proxy) as client, database.connect() as server:
        assert proxy.events["class is stored in clear"]["class_name"] in {NHS, "visits"}
        client["clinic"]["patients"].insert_one({"_id": 1, NHS: "111"})
        assert server["clinic"]["patients"].find_one() == {"_id": 1, NHS: "111"}
        rotate(clear.keyring, kek, {NHS: True}, datetime.now(UTC))
        until(lambda: readiness(proxy).get("frontier") == "lost")
        with pytest.raises(OperationFailure):
            client["clinic"]["patients"].insert_one({"_id": 2, NHS: "222"})
        assert server["clinic"]["patients"].count_documents({}) == 1
