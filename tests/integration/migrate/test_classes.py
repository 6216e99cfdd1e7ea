"""`sealwire migrate reencrypt` of a deterministic class on a server, with proxies that a test stands for."""

import json
import random
import signal
import time
from collections.abc import Sequence

import pytest
from pymongo import MongoClient

from sealwire.crypto.envelope import parse_header
from sealwire.keys.frontier.frontier import Form, Frontier, position_of
from sealwire.keys.frontier.record import DATABASE, FRONTIERS, parse_frontier, stated_documents
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import load_keyring
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.job import Standing
from sealwire.sidecars.migration.ledger import Ledger
from tests.integration.conftest import Document
from tests.integration.migrate.clinics import (
    NHS,
    POLICY,
    Clinic,
    envelopes,
    fill,
    opened,
    reencryption,
    sealed,
)
from tests.integration.migrate.stand_in_proxies import StandInProxies
from tests.support.waiting import until

pytestmark = pytest.mark.integration

DOCUMENTS = 400
WAITING = "waiting for proxies to follow the move, or to let a window go"


def test_a_class_moves_in_two_collections_with_proxies_that_follow(rotating: Clinic) -> None:
    with rotating.database.connect() as client, StandInProxies(rotating) as proxies:
        names = fill(rotating, client, DOCUMENTS)
        job = rotating.job(*reencryption(rotating, proxies=2))
        assert (job["state"], job["left"]) == ("done", [])
        assert job["values"] == 4 * DOCUMENTS
        assert_moved(rotating, client, names)
        told = client[DATABASE][FRONTIERS].find_one({"new": 2})
        assert told is not None
        read, of = stated_documents(told)  # with the last frontier, before the last sweep
        assert 0 < read <= of <= job["documents"]["read"]
    assert len(proxies.windows) > 9
    with rotating.database.connect() as client:
        assert rotating.job("verify", str(rotating.policy_file))


def assert_moved(clinic: Clinic, client: MongoClient[Document], names: Sequence[str]) -> None:
    keyring = load_keyring(clinic.keyring, clinic.kek)
    values = envelopes(client)
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


def test_a_killed_process_is_resumed_at_any_window(rotating: Clinic) -> None:
    chance = random.Random(5)
    with rotating.database.connect() as client, StandInProxies(rotating):
        names = fill(rotating, client, 150)
        words = reencryption(rotating, proxies=2)
        for _ in range(3):
            with rotating.start(*words) as process:
                wait_for_frontier(client)
                time.sleep(chance.random() * 2)
                process.send_signal(signal.SIGKILL)
                process.wait(30)
            assert_one_valid_form(rotating, client)
            words = ["resume", str(rotating.policy_file), rotating.jobs()[0]["job"]]
        assert rotating.job(*words[:3])["state"] == "done"
        assert_moved(rotating, client, names)


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
    for value in envelopes(client):
        form = frontier.form(position_of(bytes(sealed(keyring, opened(keyring, value)))))
        is_new = parse_header(bytes(value)).key_version == 2
        assert form is Form.MOVING or is_new == (form is Form.NEW)


def test_an_aborted_move_says_what_leads_on_and_that_is_right(rotating: Clinic) -> None:
    with rotating.database.connect() as client:
        names = fill(rotating, client, DOCUMENTS)
        with rotating.start(*reencryption(rotating), "--share", "0.05") as process:
            wait_for_frontier(client)
            name = rotating.jobs()[0]["job"]
            aborted = rotating.job("abort", name)
            assert process.wait(30) in (1, 69)
        assert aborted["state"] == "aborted"
        (way,) = aborted["half_way"]
        assert way == {"class": NHS, "on": f"sealwire migrate reencrypt POLICY {NHS}", "back": None}
        assert way["on"] in rotating.migrate("abort", name).stdout
        assert rotating.job(*reencryption(rotating))["state"] == "done"
        assert rotating.job("abort", name)["half_way"] == []
        assert_moved(rotating, client, names)


def waits_for(clinic: Clinic) -> list[str]:
    """Whom the one process at work says to wait for."""
    (worker,) = json.loads(clinic.migrate("status", "--json").stdout)["workers"]
    named: list[str] = worker["waits_for"]
    return named


def test_a_proxy_that_holds_windows_up_is_named_and_outlived(rotating: Clinic) -> None:
    with rotating.database.connect() as client, StandInProxies(rotating) as proxies:
        names = fill(rotating, client, 30)
        proxies.stubborn.add(proxies.names[0])
        with rotating.start(*reencryption(rotating, proxies=2)) as process:
            assert process.stdout is not None
            output = next(line for line in process.stdout if WAITING in line)
            assert process.poll() is None
            assert {parse_header(bytes(each)).key_version for each in envelopes(client)} == {1}
            # the first look may have met the other proxy too, before it followed; the note is renewed
            until(lambda: waits_for(rotating) == [next(iter(proxies.stubborn))])
            proxies.names.remove(proxies.names[0])
            more = process.stdout.read()
        assert process.returncode == 0
        assert f"{next(iter(proxies.stubborn))}, which has ended" in more
        assert next(iter(proxies.stubborn)) in output
        assert_moved(rotating, client, names)


def test_without_a_pending_key_there_is_nothing_to_do(rotating: Clinic) -> None:
    with rotating.database.connect() as client:
        fill(rotating, client, 3)
        rotating.job(*reencryption(rotating))
        done = rotating.migrate(*reencryption(rotating))
        assert "no key of the class is pending" in str(done.exception)
        rotating.rotate(NHS, pending=True)
        assert rotating.job(*reencryption(rotating))["values"] == 12
        found = client[DATABASE][FRONTIERS].find_one({})
        assert found is not None
        assert (found["old"], found["new"]) == (2, 3)
        assert found["generation"] > 3


def test_a_job_that_died_behind_the_activation_ends(rotating: Clinic) -> None:
    with rotating.database.connect() as client:
        names = fill(rotating, client, 3)
        name = rotating.job(*reencryption(rotating))["job"]
        put_back(rotating, name)
        policy = str(rotating.policy_file)
        assert rotating.job("resume", policy, name)["state"] == "done"
        assert rotating.job("resume", policy, name)["state"] == "done"
        assert_moved(rotating, client, names)


def put_back(clinic: Clinic, name: str) -> None:
    """Write a job down as its process did before its last note."""
    with connected(clinic.database.uri()) as client:
        ledger = Ledger(client, load_keyring(clinic.keyring, clinic.kek))
        job, _ = ledger.load(name)
        ledger.save(job.stopped(Standing.RUNNING, job.updated))


def test_a_policy_that_has_lost_a_path_carries_no_job_on(rotating: Clinic) -> None:
    with rotating.database.connect() as client:
        fill(rotating, client, 3)
        name = rotating.job(*reencryption(rotating))["job"]
        put_back(rotating, name)
        less = rotating.policy(POLICY.replace("kin.nhs_number: nhs_number, ", ""))
        done = rotating.migrate("resume", less, name)
        assert isinstance(done.exception, Unusable)
        assert done.exception.reason is MigrationReason.POLICY_CHANGED


def test_a_class_that_nothing_holds_has_nothing_to_move(rotating: Clinic) -> None:
    done = rotating.migrate(*reencryption(rotating))
    assert isinstance(done.exception, Unusable)
    assert done.exception.reason is MigrationReason.NOTHING


def test_a_dry_run_moves_nothing(rotating: Clinic) -> None:
    with rotating.database.connect() as client:
        fill(rotating, client, 3)
        assert rotating.job(*reencryption(rotating), "--dry-run")["values"] == 0
        assert client[DATABASE].list_collection_names() == ["leases"]


def test_a_first_move_needs_the_number_of_proxies_and_a_later_one_does_not(rotating: Clinic) -> None:
    words = reencryption(rotating)[:-2]
    with rotating.database.connect() as client:
        fill(rotating, client, 3)
        with StandInProxies(rotating) as proxies:
            for more in ((), ("--dry-run",)):
                refused = rotating.refused(*words, *more)
                assert refused.reason is MigrationReason.PROXIES
                assert all(name in refused.hint for name in ("--proxies", *proxies.names))
            assert rotating.jobs() == []
            assert client[DATABASE].list_collection_names() == ["leases"]
            assert rotating.job(*words, "--proxies", "2")["state"] == "done"
            rotating.rotate(NHS, pending=True)
            assert rotating.job(*words, "--dry-run")["state"] == "running"


def test_a_first_move_in_clear_makes_no_version_without_the_number_of_proxies(clear: Clinic) -> None:
    for words in (("encrypt", clear.policy(), NHS), ("encrypt", clear.policy())):
        with clear.database.connect() as client:
            client["clinic"]["patients"].insert_one({NHS: "1"})
        assert clear.refused(*words).reason is MigrationReason.PROXIES
    assert {key.version for key in clear.data_keys()} == {1}
    assert clear.jobs() == []


def test_a_first_move_waits_for_proxies_that_are_missing_and_says_so(rotating: Clinic) -> None:
    with rotating.database.connect() as client, StandInProxies(rotating) as proxies:
        names = fill(rotating, client, 3)
        with rotating.start(*reencryption(rotating, proxies=3)) as process:
            assert process.stdout is not None
            said = next(line for line in process.stdout if "2 of 3 proxies have a lease" in line)
            assert all(name in said for name in proxies.names)
            (worker,) = json.loads(rotating.migrate("status", "--json").stdout)["workers"]
            assert worker["waits_for"][0].startswith("2 of 3 proxies have a lease: ")
            assert client[DATABASE][FRONTIERS].find_one({}) is None
            process.send_signal(signal.SIGTERM)
            process.communicate()
        (job,) = rotating.jobs()
        assert job["state"] == "paused"
        resume = ("resume", str(rotating.policy_file), job["job"])
        assert rotating.refused(*resume).reason is MigrationReason.PROXIES
        assert rotating.job(*resume, "--proxies", "2")["state"] == "done"
        assert_moved(rotating, client, names)
