"""A deterministic class gets another key while an application goes on by two proxies; the job is killed."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.binary import Binary
from click.testing import CliRunner
from pymongo import MongoClient

from sealwire.cli.groups import migrate as command
from sealwire.crypto.envelope import SUBTYPE, parse_header
from sealwire.keys.frontier.record import DATABASE
from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import KeyringWriter, create_keyring, open_record, read_record, rewrap
from sealwire.keys.keyring.turning import change_version, retire, rotate, take_back
from sealwire.sidecars.migration import engine
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.rotating_clinic import FIXED, VISITS, Application, fill, number_of
from tests.integration.running_site import (
    NHS,
    client_of,
    first_move,
    moving_site,
    new_environ,
    new_site,
    site_at,
)
from tests.proxy.server.site import Running, Site, serving
from tests.support import warm
from tests.support.reasons import failing

pytestmark = pytest.mark.integration

TRANSACTIONS_S = 5
"""How long they may last on the server of these tests."""

KILLS = 2
PATIENCE_S = 120.0
LONGEST_S = 600.0
CANNOT_WAIT = 262
"""The code for a command that has waited for a window as long as one may."""
LATE_S = 8
"""Far longer than the job takes to ask for the leases."""


@pytest.fixture(autouse=True)
def emptied(database: DatabaseProcess) -> Iterator[None]:
    """All tests share a server, and each begins without a collection or a frontier."""
    yield
    with database.connect() as client:
        for name in ("clinic", DATABASE):
            client.drop_database(name)


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return moving_site(database, tmp_path)


def migrate(site: Site, *words: str) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "sealwire", "migrate", *words, "--json"]
    return warm.WarmProcess(line, env=site.environ, cwd=site.folder, stdout=subprocess.PIPE, text=True)


def job_of(site: Site) -> dict[str, Any]:
    """The one job, as soon as it is written down: a process may take long to begin."""
    until = time.monotonic() + PATIENCE_S
    while True:
        with migrate(site, "status") as process:
            said, _ = process.communicate(timeout=PATIENCE_S)
        jobs = json.loads(said)["jobs"]
        if jobs or time.monotonic() > until:
            (job,) = jobs
            return dict(job)


def versions(client: MongoClient[Document]) -> set[int]:
    """Under which versions of the key the values lie."""
    patients = [each[NHS] for each in client["clinic"]["patients"].find()]
    visits = [each["patient"] for each in client["clinic"]["visits"].find()]
    return {parse_header(bytes(value)).key_version for value in patients + visits}


def move_with_kills(site: Site) -> int:
    """Work on the move to its end, killed again and again; how often it was killed in the middle."""
    chance = random.Random(5)
    pace = [*first_move(site), "--share", "0.5"]
    words, killed = ["reencrypt", "policy.yaml", NHS, *pace], 0
    while killed < 2 * KILLS:
        with migrate(site, *words) as process:
            try:
                wait_s = 3.5 + chance.random() if killed < KILLS else PATIENCE_S
                said, _ = process.communicate(timeout=wait_s)
            except subprocess.TimeoutExpired:
                job = job_of(site)
                process.kill()
                killed += 1
            else:
                assert process.returncode == 0, said
                return killed
        words = ["resume", "policy.yaml", job["job"], *pace]
    raise AssertionError("the move does not end")


def assert_all_stored(client: MongoClient[Document]) -> None:
    """The fixed documents are as they were, and no number is there twice."""
    patients, visits = client["clinic"]["patients"], client["clinic"]["visits"]
    assert {each[NHS] for each in patients.find({"fixed": True})} == set(map(number_of, range(FIXED)))
    assert visits.count_documents({"fixed": True}) == FIXED * VISITS
    names = [each[NHS] for each in patients.find({}, {NHS: 1})]
    assert len(names) == len(set(names))


@contextmanager
def two_proxies(site: Site) -> Iterator[tuple[MongoClient[Document], MongoClient[Document]]]:
    """A client by each of two proxies."""
    with (
        serving(site, LONGEST_S) as first,
        serving(site, LONGEST_S) as second,
        client_of(first) as one,
        client_of(second) as two,
    ):
        yield one, two


@pytest.mark.slow
def test_a_move_waits_for_a_proxy_that_loads_the_new_key_late(
    database: DatabaseProcess, tmp_path: Path
) -> None:
    site = moving_site(database, tmp_path, refresh_s=LATE_S)
    with serving(site, LONGEST_S) as running, client_of(running) as one, client_of(running) as two:
        fill(one)
        application = Application((one, two))
        with application.at_work():
            time.sleep(0.5)
            rotate(site.keyring, EnvironmentKek(environ=site.environ), {NHS: True}, datetime.now(UTC))
            with migrate(site, "reencrypt", "policy.yaml", NHS, *first_move(site)) as process:
                said, _ = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, said
        application.assert_right(20)
    with database.connect() as raw:
        assert versions(raw) == {2}


@pytest.mark.slow
def test_every_answer_is_right_while_a_class_moves_to_another_key(
    site: Site, database: DatabaseProcess
) -> None:
    kek = EnvironmentKek(environ=site.environ)
    with two_proxies(site) as (one, two):
        fill(one)
        application = Application((one, two))
        with application.at_work():
            time.sleep(0.5)
            rotate(site.keyring, kek, {NHS: True}, datetime.now(UTC))
            killed = move_with_kills(site)
            time.sleep(2.5)  # both proxies load the keyring in which the new key is active
        # a command waits for ten seconds at most for a window that a killed process has left
        waited = [each for each in application.failed if each.endswith(f" {CANNOT_WAIT}")]
        assert killed
        assert len(waited) <= 2 * killed
        application.failed = [each for each in application.failed if each not in waited]
        application.assert_right(200)
        assert_all_stored(one)
    with database.connect() as client:
        assert versions(client) == {2}
    states = [key.state for key in open_record(read_record(site.keyring), kek, site.keyring)]
    assert states == [KeyState.DECRYPT_ONLY, KeyState.ACTIVE]


# A pending key is taken back while proxies run that have loaded it: none of them notices more than that.


def wait_for_keyring(proxy: Running) -> list[str]:
    """Until it has loaded a new one; what it logged meanwhile."""
    events: list[str] = []
    for line in proxy.said:
        events.append(line["event"])
        if line["event"] == "new keyring":
            return events
    raise AssertionError("it ended")


def cancel(site: Site) -> None:
    done = warm.sealwire("keys", "cancel", NHS, env=site.environ, cwd=site.folder, timeout=60)
    assert done.returncode == 0, done.stderr


def pend(site: Site) -> None:
    rotate(site.keyring, EnvironmentKek(environ=site.environ), {NHS: True}, datetime.now(UTC))


def fill_fifty(client: Any) -> Any:
    patients = client["clinic"]["patients"]
    patients.create_index(NHS, unique=True)
    patients.insert_many({"_id": each, NHS: str(each)} for each in range(50))
    return patients


def test_cursors_and_answers_go_on_when_a_pending_key_disappears(site: Site) -> None:
    with serving(site) as proxy, client_of(proxy) as client:
        patients = fill_fifty(client)
        pend(site)
        wait_for_keyring(proxy)
        with patients.find({NHS: {"$ne": "7"}}, batch_size=5).sort("_id") as cursor:
            first = next(cursor)
            cancel(site)
            events = wait_for_keyring(proxy)
            assert [first, *cursor] == [{"_id": each, NHS: str(each)} for each in range(50) if each != 7]
        assert patients.find_one({NHS: "8"}) == {"_id": 8, NHS: "8"}
        patients.insert_one({"_id": 50, NHS: "50"})
        # and another one is made, of the next version
        pend(site)
        events += wait_for_keyring(proxy)
        assert "frontier lease lost" not in events
        assert patients.find_one({NHS: "50"}) == {"_id": 50, NHS: "50"}


def test_a_proxy_that_follows_no_moves_serves_the_class_again(
    plain_site: Site, database: DatabaseProcess
) -> None:
    plain_site.environ |= {
        "SEALWIRE_KEYRING": str(plain_site.keyring),
        "SEALWIRE_SERVER_URI": database.uri(),
    }
    with serving(plain_site) as proxy, client_of(proxy) as client:
        patients = fill_fifty(client)
        pend(plain_site)
        wait_for_keyring(proxy)
        with pytest.raises(Exception, match="Sealwire"):
            patients.find_one({NHS: "8"})
        cancel(plain_site)
        wait_for_keyring(proxy)
        assert patients.find_one({NHS: "8"}) == {"_id": 8, NHS: "8"}


# A keyring gets another key-encryption key while a proxy runs on; a restart takes the new one.


NUMBER = "943 476 5919"


@pytest.fixture
def plain_site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return new_site(database, tmp_path)


def test_a_proxy_goes_on_and_its_successor_has_the_new_key(plain_site: Site) -> None:
    query = {"nhs_number": NUMBER}
    with serving(plain_site) as proxy, client_of(proxy) as client:
        patients = client["clinic"]["patients"]
        patients.insert_one({"_id": 1, **query})
        plain_site.environ["NEW_KEK"] = generate_encoded_kek()
        new = EnvironmentKek("NEW_KEK", plain_site.environ)
        rewrap(
            KeyringWriter(plain_site.keyring, EnvironmentKek(environ=plain_site.environ), datetime.now(UTC)),
            new,
        )
        refused = next(line for line in proxy.said if line.get("reason") == "kek-other")
        assert new.id in refused["problem"]
        patients.insert_one({"_id": 2, **query})
        assert patients.count_documents(query) == 2
    plain_site.config["kek"] = {"provider": "environment", "variable": "NEW_KEK"}
    with serving(plain_site) as proxy, client_of(proxy) as client:
        patients = client["clinic"]["patients"]
        patients.insert_one({"_id": 3, **query})
        assert list(patients.find(query, {"_id": 0})) == [query] * 3


# A random class is rotated, and an old key retired, while two proxies run: one hears of it late.


RULES = """
version: 1
classes:
  notes: {mode: random}
collections:
  clinic.patients: {notes: notes}
"""


def wait_for_generation(proxy: Running, generation: int) -> None:
    next(line for line in proxy.said if line.get("generation") == generation)


def test_every_proxy_reads_what_any_key_has_encrypted_until_it_is_retired(
    database: DatabaseProcess, tmp_path: Path
) -> None:
    environ = new_environ()
    kek, place, now = EnvironmentKek(environ=environ), tmp_path / "keyring.json", datetime.now(UTC)
    create_keyring(place, kek, ["notes"], now)
    early, late = (
        site_at(database, tmp_path / name, RULES, environ, keyring="../keyring.json", refresh_s=refresh_s)
        for name, refresh_s in (("early", 1), ("late", 3600))
    )
    with (
        serving(early) as first,
        serving(late) as second,
        client_of(first) as client,
        client_of(second) as other,
        MongoClient[Document](database.address) as direct,
    ):
        patients, others = client["clinic"]["patients"], other["clinic"]["patients"]
        patients.insert_one({"_id": 1, "notes": "before"})
        rotate(place, kek, {"notes": False}, now)
        wait_for_generation(first, 2)
        patients.insert_one({"_id": 2, "notes": "after"})
        stored = [bytes(each["notes"]) for each in direct["clinic"]["patients"].find(sort=[("_id", 1)])]
        assert [parse_header(each).key_version for each in stored] == [1, 2]
        # the other one has not looked at the keyring since, and meets the new key in a reply
        assert [each["notes"] for each in others.find(sort=[("_id", 1)])] == ["before", "after"]

        change_version(KeyringWriter(place, kek, now), ("notes", 1), retire)
        wait_for_generation(first, 3)
        assert patients.find_one({"_id": 2}) == {"_id": 2, "notes": "after"}
        with failing(211) as caught:
            patients.find_one({"_id": 1})
        assert "retired" in str(caught.value)
        said = next(line for line in first.said if line.get("reason") == "retired")
        assert said["hint"] == "sealwire keys retire notes 1 --undo"

        change_version(KeyringWriter(place, kek, now), ("notes", 1), take_back)
        wait_for_generation(first, 4)
        assert patients.find_one({"_id": 1}) == {"_id": 1, "notes": "before"}


# A class in clear is encrypted, and put back, while an application goes on by two proxies.


@pytest.fixture
def plaintext_site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return moving_site(database, tmp_path, is_plaintext=True)


def move(plaintext_site: Site, direction: str, *words: str) -> dict[str, Any]:
    line = [direction, str(plaintext_site.folder / "policy.yaml"), NHS, *words, "--json"]
    done = CliRunner().invoke(command, line, env=plaintext_site.environ)
    assert done.exit_code == 0, done.output
    # what the job says has none of the values
    assert not any(number_of(each) in done.output for each in range(FIXED))
    return dict(json.loads(done.stdout))


def in_clear(client: MongoClient[Document]) -> set[bool]:
    """Whether the values that lie on the server are plaintext."""
    patients = [each[NHS] for each in client["clinic"]["patients"].find()]
    visits = [each["patient"] for each in client["clinic"]["visits"].find()]
    return {not (isinstance(each, Binary) and each.subtype == SUBTYPE) for each in patients + visits}


def assert_no_number(client: MongoClient[Document]) -> None:
    for name in ("frontiers", "jobs", "leases"):
        for document in client[DATABASE][name].find():
            raw = bson.encode(document)
            assert not any(number_of(each).encode() in raw for each in range(FIXED))


@pytest.mark.slow
def test_every_answer_is_right_while_a_class_is_encrypted_and_put_back(
    plaintext_site: Site, database: DatabaseProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the application works as hard as it can: the job would give way to it for most of the time
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    with two_proxies(plaintext_site) as (one, two), database.connect() as direct:
        fill(one)
        assert in_clear(direct) == {True}
        application = Application((one, two))
        with application.at_work():
            assert move(plaintext_site, "encrypt", *first_move(plaintext_site))["state"] == "done"
            time.sleep(1.5)  # both proxies load the keyring in which the new version is active
            assert in_clear(direct) == {False}
            assert_no_number(direct)
            assert move(plaintext_site, "decrypt", "--confirm", NHS)["state"] == "done"
            time.sleep(1.5)
        application.assert_right(100)
        assert in_clear(direct) == {True}
        assert_all_stored(one)
