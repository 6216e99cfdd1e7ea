"""A job is killed, paused, aborted and resumed, and says what it left and why."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bson import MinKey
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from sealwire.keys.frontier.record import DATABASE, STANDS
from sealwire.keys.keyring.data_key import KeyState
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import JobTaken, MigrationReason, Missing, SidecarError, Unsound
from sealwire.sidecars.migration.windows.workers import WORKERS, Workers
from tests.integration.migrate.clinics import LESS, NHS, PATIENTS, Clinic, fill, forms, patient, reencryption
from tests.integration.migrate.stand_in_proxies import StandInProxies
from tests.integration.migrate.test_classes import wait_for_frontier
from tests.sidecars.migration.windows.doubles import job
from tests.support.played_set import Document, play_mongos

pytestmark = pytest.mark.integration


def test_an_application_goes_on_while_a_job_is_killed_and_resumed(clinic: Clinic, stored: Any) -> None:
    """It changes each document once, and reads others, while the job dies twice."""
    count = 600
    stored.insert_many([patient(number) for number in range(count)])
    policy = clinic.policy()
    wrong: list[object] = []
    with clinic.proxy() as client:
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
        with clinic.start("encrypt", policy, "--batch", "20", "--workers", "2", "--share", "0.3") as first:
            wait_for_progress(clinic, 60)
            first.send_signal(signal.SIGKILL)
        name = clinic.jobs()[0]["job"]
        with clinic.start("resume", policy, name, "--batch", "20") as second:
            wait_for_progress(clinic, 200)
            second.send_signal(signal.SIGTERM)
        job = clinic.job("resume", policy, name)
        application.join()
    assert over.is_set()
    assert wrong == []
    assert job["state"] == "done"
    assert job["left"] == []
    assert forms(stored) == {1}
    assert clinic.migrate("verify", policy).exit_code == 0
    assert stored.count_documents({}) == count


def wait_for_progress(clinic: Clinic, documents: int) -> None:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        jobs = clinic.jobs()
        if jobs and jobs[0]["documents"]["read"] >= documents:
            return
        time.sleep(0.05)
    raise AssertionError("the job made no progress")


def test_a_wrong_type_stops_the_job_and_is_named(clinic: Clinic, stored: Any) -> None:
    stored.insert_many([patient(1), {"_id": 2, "notes": MinKey()}, patient(3)])
    policy = clinic.policy()
    stopped = clinic.migrate("encrypt", policy)
    assert stopped.exit_code == 1
    assert "wrong-type" in stopped.stdout
    assert "migrate resume" in stopped.stdout
    job = clinic.jobs()[0]
    assert (job["state"], job["refusal"][0]["document"]) == ("refused", "2")
    assert "wrong-type" in clinic.migrate("status", job["job"]).stdout
    taken = clinic.refused("encrypt", policy)
    assert taken.reason is MigrationReason.TAKEN
    assert f"sealwire migrate resume POLICY {job['job']}" in taken.hint
    stored.delete_one({"_id": 2})
    assert clinic.job("resume", policy, job["job"])["state"] == "done"
    again = clinic.job("resume", policy, job["job"])
    assert again["updated"] >= job["updated"]


def test_what_is_skipped_is_counted_and_ends_with_exit_code_1(clinic: Clinic, stored: Any) -> None:
    stored.insert_many([patient(1), {"_id": 2, "notes": ["x", None]}])
    job = clinic.job("encrypt", clinic.policy(), "--wrong-type", "skip", code=1)
    assert job["left"] == [{"namespace": PATIENTS, "path": "notes", "reason": "wrong-type", "values": 1}]
    job = clinic.job("encrypt", clinic.policy(), "--wrong-type", "encrypt")
    assert (job["values"], job["left"]) == (1, [])


def test_a_job_is_paused_and_aborted_from_elsewhere(clinic: Clinic, stored: Any) -> None:
    stored.insert_many([patient(number) for number in range(300)])
    policy = clinic.policy()
    with clinic.start("encrypt", policy, "--batch", "10", "--share", "0.2") as process:
        wait_for_progress(clinic, 20)
        name = clinic.jobs()[0]["job"]
        assert "asked to pause" in clinic.migrate("pause", name).stdout
        assert process.wait(30) == 1
    job = clinic.jobs(name)[0]
    assert job["state"] == "paused"
    assert forms(stored) == {0, 1}
    less = clinic.policy(LESS)
    assert clinic.refused("resume", less, name).reason is MigrationReason.POLICY_CHANGED
    assert clinic.job("abort", name)["state"] == "aborted"
    assert "is over" in clinic.migrate("pause", name).stdout
    assert "aborted" in clinic.migrate("abort", name).stdout
    assert clinic.job("resume", clinic.policy(), name, code=1)["state"] == "aborted"
    assert clinic.job("encrypt", clinic.policy())["state"] == "done"


def test_a_job_that_runs_is_aborted(clinic: Clinic, stored: Any) -> None:
    stored.insert_many([patient(number) for number in range(300)])
    with clinic.start("encrypt", clinic.policy(), "--batch", "10", "--share", "0.2") as process:
        wait_for_progress(clinic, 20)
        name = clinic.jobs()[0]["job"]
        assert clinic.job("abort", name)["state"] == "aborted"
        assert process.wait(30) in (1, 69)


def test_somebody_elses_edit_of_a_job_is_noticed(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    name = clinic.job("encrypt", clinic.policy())["job"]
    with clinic.database.connect() as client:
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
            assert isinstance(clinic.refused("status", name), Unsound)
        jobs.delete_one({"_id": name})
    assert isinstance(clinic.refused("abort", name), Missing)


def test_a_server_that_refuses_an_update_is_named_with_its_code(clinic: Clinic, stored: Any) -> None:
    with clinic.database.connect() as client:
        stored.insert_one(patient(1))
        client["clinic"].command("collMod", "patients", validator={"ward": {"$exists": True}})
    job = clinic.job("encrypt", clinic.policy(), code=1)
    assert [(each["reason"], each["code"]) for each in job["reported"]] == [("server", 121)]
    assert isinstance(stored.find_one()["notes"], str)
    assert job["state"] == "done"


def test_what_may_remain_after_a_move_is_told(clinic: Clinic, stored: Any, tmp_path: Path) -> None:
    stored.insert_many([patient(number) for number in range(3)])
    assert clinic.migrate("remains").exit_code == 2
    job = clinic.job("encrypt", clinic.policy())
    backups = tmp_path / "backups"
    backups.mkdir()
    for words in ((), (job["job"],)):
        found = clinic.job("remains", *words, "--backups", str(backups), code=1)
        assert (found["job"], found["ended"]) == (job["job"], job["updated"])
        verdicts = {each["place"]: each["verdict"] for each in found["places"]}
        assert verdicts.keys() == {"oplog", f"free pages of {PATIENTS}", "backups"}
        assert verdicts["backups"] == "gone"
    older = backups / "backup-1.tar.gz.enc"
    older.write_bytes(b"x")
    os.utime(older, (1, 1))
    found = clinic.job("remains", "--backups", str(backups), code=1)
    assert found["places"][-1]["verdict"] == "perhaps"
    assert job["job"] in clinic.migrate("remains").stdout


# `migrate plan` before a mongos says which shard keys keep values from moving, before anybody begins.


@contextmanager
def sharded(clinic: Clinic, answer: Document) -> Iterator[Clinic]:
    """The clinic behind what looks like a mongos, which answers a look at `config.collections` like this."""
    server = play_mongos(clinic.database.address)

    def play(name: str, command: Document) -> Document | None:
        return answer if name == "find" and command["$db"] == "config" else None

    server.play = play
    try:
        yield replace(clinic, environ=clinic.environ | {"SEALWIRE_SERVER_URI": f"mongodb://{server.name}/"})
    finally:
        server.stop()


def cursor(*found: Document) -> Document:
    return {"ok": 1.0, "cursor": {"id": 0, "ns": "config.collections", "firstBatch": list(found)}}


def test_a_shard_key_of_a_covered_path_is_in_the_plan(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    key = {"_id": PATIENTS, "key": {"ward": 1, "notes": 1}}
    with sharded(clinic, cursor(key)) as site:
        done = site.migrate("plan", site.policy(), "--json")
        (found,) = json.loads(done.stdout)["collections"]
        assert "notes" in found["shard_key"]
        assert found["refused"] is None
        assert found["documents"] == 1
        assert found["shard_key"] in site.migrate("plan", site.policy()).stdout


def test_another_shard_key_is_not(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    with sharded(clinic, cursor({"_id": PATIENTS, "key": {"ward": 1}})) as site:
        (found,) = json.loads(site.migrate("plan", site.policy(), "--json").stdout)["collections"]
        assert found["shard_key"] is None
        assert "in the way" not in site.migrate("plan", site.policy()).stdout


def test_a_plan_is_shown_where_the_shard_key_may_not_be_read(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    with sharded(clinic, {"ok": 0.0, "code": 13, "errmsg": "denied"}) as site:
        done = site.migrate("plan", site.policy(), "--json")
        assert done.exit_code == 0
        (found,) = json.loads(done.stdout)["collections"]
        assert "config.collections" in found["shard_key"]


# Processes that move a class, as the server knows them: no later move begins beside an earlier one's.


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
            seat(["a proxy"], 3.0)
            (mine,) = workers.listed()
            assert (mine.waits, mine.rate) == (("a proxy",), 3.0)
            with rotating.database.connect() as plain:
                plain[DATABASE][WORKERS].delete_many({})
            with pytest.raises(JobTaken):
                seat([], 3.0)


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
