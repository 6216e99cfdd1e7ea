"""A job is killed, paused, aborted and resumed, and says what it left and why."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from bson import MinKey
from bson.binary import Binary

from sealwire.sidecars.errors import MigrationReason, Missing, Unsound
from tests.integration.migrate.clinics import Clinic
from tests.integration.migrate.patients import LESS, PATIENTS, forms, patient

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
