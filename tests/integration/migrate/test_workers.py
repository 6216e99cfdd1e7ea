"""Processes that move a class, as the server knows them: no later move begins beside an earlier one's."""

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from sealwire.keys.frontier.record import DATABASE, STANDS
from sealwire.keys.keyring.data_key import KeyState
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import JobTaken, MigrationReason, SidecarError
from sealwire.sidecars.migration.windows.workers import WORKERS, Workers
from tests.integration.conftest import Document
from tests.integration.migrate.clinics import Clinic
from tests.integration.migrate.numbers import NHS, fill, reencryption
from tests.integration.migrate.stand_in_proxies import StandInProxies
from tests.integration.migrate.test_classes import wait_for_frontier
from tests.sidecars.migration.windows.doubles import job

pytestmark = pytest.mark.integration

ELSEWHERE = {"host": "jobs-1", "pid": 4711, "machine": "another"}


@pytest.fixture
def registered(rotating: Clinic) -> Iterator[Collection[Document]]:
    """What is registered on the server of a clinic whose numbers rotate."""
    with rotating.database.connect() as client:
        fill(rotating, client, 30)
        yield client[DATABASE][WORKERS]


def kill_in_the_middle(clinic: Clinic, client: MongoClient[Document]) -> None:
    with StandInProxies(clinic) as proxies:
        proxies.stubborn.update(proxies.names)
        with clinic.start(*reencryption(clinic, proxies=2)) as process:
            wait_for_frontier(client)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        client[DATABASE]["leases"].delete_many({"_id": {"$ne": STANDS}})


def status(clinic: Clinic) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(clinic.migrate("status", "--json").stdout)["workers"]
    return found


def test_a_process_takes_itself_off_when_it_ends(rotating: Clinic, registered: Collection[Document]) -> None:
    assert rotating.job(*reencryption(rotating))["state"] == "done"
    assert registered.count_documents({}) == 0


def test_a_killed_process_does_not_hinder_its_own_job(
    rotating: Clinic, registered: Collection[Document]
) -> None:
    kill_in_the_middle(rotating, registered.database.client)
    registered.update_many({}, {"$set": ELSEWHERE})
    (worker,) = status(rotating)
    assert (worker["host"], worker["pid"]) == ("jobs-1", 4711)
    assert "jobs-1:4711" in rotating.migrate("status").stdout
    name = rotating.jobs()[0]["job"]
    assert rotating.job("resume", str(rotating.policy_file), name, "--proxies", "0")["state"] == "done"


def test_a_later_move_waits_for_the_operator_s_word(
    rotating: Clinic, registered: Collection[Document]
) -> None:
    kill_in_the_middle(rotating, registered.database.client)
    registered.update_many({}, {"$set": ELSEWHERE})
    name = rotating.jobs()[0]["job"]
    rotating.job("resume", str(rotating.policy_file), name, "--proxies", "0")
    rotating.rotate(NHS, pending=True)
    refused = rotating.refused(*reencryption(rotating))
    assert refused.reason is MigrationReason.EARLIER_WORKER
    assert "jobs-1:4711" in str(refused)
    assert [each["host"] for each in registered.find()] == ["jobs-1"]
    assert rotating.refused("forget-worker", "jobs-1:4712").reason is MigrationReason.MISSING
    assert rotating.migrate("forget-worker", "jobs-1:4711", "--dry-run").exit_code == 0
    assert registered.count_documents({}) == 1
    assert rotating.migrate("forget-worker", "jobs-1:4711").exit_code == 0
    assert len(rotating.jobs()) == 1
    assert rotating.job(*reencryption(rotating))["state"] == "done"
    states = [key.state for key in rotating.data_keys() if key.class_name == NHS]
    assert states == [KeyState.DECRYPT_ONLY, KeyState.DECRYPT_ONLY, KeyState.ACTIVE]


def test_a_process_that_ended_on_this_machine_is_taken_off(
    rotating: Clinic, registered: Collection[Document]
) -> None:
    kill_in_the_middle(rotating, registered.database.client)
    assert registered.count_documents({}) == 1
    assert status(rotating) == []
    assert registered.count_documents({}) == 0


def test_one_that_still_runs_here_is_not_forgotten(
    rotating: Clinic, registered: Collection[Document]
) -> None:
    with connected(rotating.database.uri()) as client:
        workers = Workers(client)
        with workers.at_work(job(), 1, 2):
            (mine,) = workers.listed()
            assert rotating.refused("forget-worker", mine.place).reason is MigrationReason.EARLIER_WORKER
        assert workers.listed() == []


def test_a_process_that_somebody_said_has_ended_goes_no_further(rotating: Clinic) -> None:
    with connected(rotating.database.uri()) as client:
        workers = Workers(client)
        with workers.at_work(job(), 1, 2) as seat:
            seat.show(["a proxy"], 3.0)
            (mine,) = workers.listed()
            assert (mine.waits, mine.rate) == (("a proxy",), 3.0)
            with rotating.database.connect() as plain:
                plain[DATABASE][WORKERS].delete_many({})
            with pytest.raises(JobTaken):
                seat.show([], 3.0)


def test_what_was_sent_and_not_answered_leaves_a_process_registered(rotating: Clinic) -> None:
    with rotating.database.connect() as plain:
        with (
            pytest.raises(SidecarError),
            connected(rotating.database.uri()) as client,
            Workers(client).at_work(job(), 1, 2),
        ):
            raise AutoReconnect("cut")
        assert plain[DATABASE][WORKERS].count_documents({}) == 1
        plain[DATABASE][WORKERS].insert_one({"_id": "is none", "host": 3})
        with connected(rotating.database.uri()) as client:
            assert len(Workers(client).listed()) == 1
