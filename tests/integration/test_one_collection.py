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
from pymongo.errors import OperationFailure, PyMongoError

from sealwire.cli import sealwire
from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.errors import KeysReason
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring, read_record
from sealwire.sidecars.migration import engine
from sealwire.testbed.database import DatabaseProcess, vouch_for_leases
from tests.integration.conftest import Document
from tests.integration.rotating_clinic import number_of
from tests.integration.running_site import at_work, client_of, first_move, new_environ, site_at
from tests.proxy.server.site import Running, Site, serving
from tests.support import warm

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
