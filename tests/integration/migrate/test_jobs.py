"""A job is killed, paused, aborted and resumed, and says what it left and why."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import MinKey
from bson.binary import Binary
from click.testing import CliRunner
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from sealwire.cli.groups import keys as command
from sealwire.crypto.envelope import parse_header
from sealwire.keys.frontier.record import DATABASE, STANDS
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import load_keyring
from sealwire.keys.keyring.schedule import QuietHours
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import JobTaken, MigrationReason, Missing, SidecarError, Unsound
from sealwire.sidecars.migration import engine
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction, Move
from sealwire.sidecars.migration.windows.workers import WORKERS, Workers
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import found_in
from tests.integration.migrate.clinics import (
    LESS,
    NHS,
    PATIENTS,
    POLICY,
    Clinic,
    Direct,
    envelopes,
    fill,
    forms,
    new_clinic,
    opened,
    patient,
    reencryption,
)
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


def test_somebody_elses_edit_of_a_job_is_noticed(clinic: Clinic, stored: Any, client: Direct) -> None:
    stored.insert_one(patient(1))
    name = clinic.job("encrypt", clinic.policy())["job"]
    jobs = client["sealwire"]["jobs"]
    sound = found_in(jobs, {"_id": name})
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


# `sealwire keys rotate --due` where a policy says how often a class is rotated: its data moves as well.


QUARTERLY = POLICY.replace("type: string}", "type: string, rotate: quarterly}").replace(
    "mode: random}", "mode: random, rotate: quarterly}"
)
WHOLE_DAY = ("--quiet", "00:00-23:59")


@pytest.fixture
def due(database: DatabaseProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    """One whose keys are older than a quarter, but not by the days of grace."""
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    long_ago = datetime.now(UTC) - timedelta(days=95)
    with new_clinic(database, tmp_path, QUARTERLY, (NHS, "notes"), created=long_ago) as clinic:
        yield clinic


def calendar(clinic: Clinic, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """What the timer says of each class."""
    line = ["rotate", "--due", "--policy", str(clinic.policy_file), "--json", *words]
    done = CliRunner().invoke(command, line, env=clinic.environ)
    assert done.exit_code == code, done.output
    return {each["class"]: each for each in json.loads(done.stdout)["plan"]}


def states(clinic: Clinic, name: str = NHS) -> list[KeyState]:
    return [key.state for key in clinic.data_keys() if key.class_name == name]


def test_a_class_that_is_due_gets_a_key_and_its_data_moves_to_it(due: Clinic, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    due.environ["SEALWIRE_AUDIT_PATH"] = str(log)
    with due.database.connect() as client:
        names = fill(due, client, 40)
        dry = calendar(due, "--proxies", "0", "--dry-run")
        assert (dry[NHS]["outcome"], states(due)) == ("planned", [KeyState.ACTIVE])
        assert due.jobs() == []
        done = calendar(due, "--proxies", "0")
        assert {name: each["outcome"] for name, each in done.items()} == {NHS: "done", "notes": "done"}
        assert (done[NHS]["job"]["state"], done[NHS]["job"]["values"]) == ("done", 160)
        assert {parse_header(bytes(each)).key_version for each in envelopes(client)} == {2}
        keyring = load_keyring(due.keyring, due.kek)
        assert {opened(keyring, each) for each in envelopes(client)} == set(names)
    assert states(due) == states(due, "notes") == [KeyState.DECRYPT_ONLY, KeyState.ACTIVE]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["outcome"] for line in lines if line["event"] == "rotation"] == ["done", "done"]
    assert calendar(due) == {}


def test_a_move_pauses_at_the_end_of_the_quiet_hours_and_the_next_run_goes_on(
    due: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--proxies", "0", *WHOLE_DAY)
    with due.database.connect() as client:
        fill(due, client, 60)
        with monkeypatch.context() as patched:
            patched.setattr(QuietHours, "has", lambda *_: True)
            patched.setattr(QuietHours, "left", lambda *_: timedelta(0))
            paused = calendar(due, *words)[NHS]
            assert (paused["outcome"], paused["job"]["state"]) == ("paused", "paused")
            assert states(due) == [KeyState.ACTIVE, KeyState.PENDING]
            patched.setattr(QuietHours, "left", lambda *_: timedelta(hours=1))
            done = calendar(due, *words)[NHS]
        assert (done["outcome"], done["job"]["job"]) == ("done", paused["job"]["job"])
        assert (done["version"], done["new_version"]) == (2, False)
        assert {parse_header(bytes(each)).key_version for each in envelopes(client)} == {2}
    assert len(due.jobs()) == 1


def test_a_class_waits_while_something_else_moves(due: Clinic) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    moves = (Move(PATIENTS, "notes", "notes"),)
    job = Job("other", Direction.REENCRYPT, WrongType.SKIP, moves, (), now, now)
    with due.database.connect() as client, connected(due.database.uri()) as direct:
        fill(due, client, 5)
        ledger = Ledger(direct, load_keyring(due.keyring, due.kek))
        ledger.create(job)
        assert calendar(due, "--proxies", "0")[NHS]["outcome"] == "waits"
        ledger.save(job.stopped(Standing.ABORTED, now))
        elsewhere = replace(job, moves=(Move("clinic.others", "x", "others"),))
        with Workers(direct).at_work(elsewhere, 77, 2):
            assert calendar(due, "--proxies", "0")[NHS]["outcome"] == "waits"
        assert states(due) == [KeyState.ACTIVE]
        assert calendar(due, "--proxies", "0")[NHS]["outcome"] == "done"


def test_a_job_is_taken_over_once_its_process_has_said_nothing_for_long(
    due: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--proxies", "0", *WHOLE_DAY)
    monkeypatch.setattr(QuietHours, "has", lambda *_: True)
    with due.database.connect() as client, connected(due.database.uri()) as direct:
        fill(due, client, 5)
        with monkeypatch.context() as patched:
            patched.setattr(QuietHours, "left", lambda *_: timedelta(0))
            name = calendar(due, *words)[NHS]["job"]["job"]
        job, _ = Ledger(direct, load_keyring(due.keyring, due.kek)).load(name)
        (pending,) = (key for key in due.data_keys() if key.state is KeyState.PENDING)
        with Workers(direct).at_work(job, pending.class_id, pending.version):
            assert calendar(due, *words)[NHS]["outcome"] == "waits"
            monkeypatch.setattr("sealwire.cli.keys.calendar._SILENT_S", 0)
            done = calendar(due, *words)[NHS]
    assert (done["outcome"], done["job"]["job"]) == ("done", name)


@pytest.mark.parametrize("words", [(), ("--proxies", "2")])
def test_no_key_is_made_before_the_sealwires_are_counted(due: Clinic, words: tuple[str, ...]) -> None:
    with due.database.connect() as client:
        fill(due, client, 5)
        refused = calendar(due, *words, code=78)
    assert (refused[NHS]["outcome"], refused["notes"]["outcome"]) == ("refused", "done")
    assert states(due) == [KeyState.ACTIVE]
    assert due.jobs() == []


def test_values_that_cannot_move_stop_the_job_and_fail_the_run(due: Clinic) -> None:
    with due.database.connect() as client:
        fill(due, client, 5)
        (value, *_) = envelopes(client)
        client["clinic"]["visits"].insert_one({"_id": "odd", "patient": [[value]]})
        assert calendar(due, "--proxies", "0", code=1)[NHS]["outcome"] == "refused"
        client["clinic"]["visits"].delete_one({"_id": "odd"})
        assert calendar(due, "--proxies", "0")[NHS]["outcome"] == "done"
