"""`sealwire migrate rehearse`: what it says, and that nothing of it is left."""

import json
import signal
import time
from typing import Any

import pytest
from bson import MinKey

from sealwire.sidecars.errors import MigrationReason
from sealwire.sidecars.migration.rehearsal import SCRATCH_PREFIX
from tests.integration.migrate.clinics import SECRET, Clinic
from tests.integration.migrate.numbers import PATIENTS, forms, patient

pytestmark = pytest.mark.integration


def left_over(clinic: Clinic) -> list[str]:
    with clinic.database.connect() as client:
        return [
            name
            for name in client.list_database_names()
            if name.startswith(SCRATCH_PREFIX)
            or client[name].list_collection_names(filter={"name": PATIENTS})
        ]


def rehearsed(clinic: Clinic, *words: str, code: int = 0) -> dict[str, Any]:
    done = clinic.migrate("rehearse", clinic.policy(), *words, "--json")
    assert (done.exit_code, SECRET in done.output) == (code, False), done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_sample_is_encrypted_elsewhere_and_nothing_is_left(clinic: Clinic, stored: Any) -> None:
    stored.insert_many(patient(number) | {"nhs_number": f"{number}"} for number in range(40))
    schema = {"$jsonSchema": {"properties": {"notes": {"bsonType": "string"}, "nhs_number": {"enum": ["1"]}}}}
    with clinic.database.connect() as client:
        client["clinic"].command("collMod", "patients", validator=schema, validationLevel="off")
        stored.create_index("nhs_number", unique=True)
        before = list(stored.find())
        found = rehearsed(clinic, "--sample", "30")
        assert {each["name"]: (each["ends"], each["left"]) for each in found["jobs"]} == {
            "random": ("done", []),
            "nhs_number": ("done", []),
        }
        assert found["sampled"] == [{"namespace": PATIENTS, "documents": 40, "sampled": 30}]
        by_name = {each["name"]: each for each in found["jobs"]}
        assert (by_name["random"]["values"], by_name["nhs_number"]["values"]) == (120, 30)
        assert all(each["whole_seconds"] > each["seconds"] > 0 for each in found["jobs"])
        assert list(stored.find()) == before
        assert client["sealwire"].list_collection_names() == ["leases"]
    assert left_over(clinic) == []


def test_what_a_job_will_meet_is_said(clinic: Clinic, stored: Any) -> None:
    stored.insert_many([patient(1), {"_id": 2, "notes": MinKey()}, {"_id": 3, "nhs_number": 5}])
    stored.create_index("notes", unique=True, sparse=True)
    found = rehearsed(clinic, code=1)
    left = {(one["path"], one["reason"]) for each in found["jobs"] for one in each["left"]}
    assert left == {("notes", "wrong-type"), ("nhs_number", "wrong-type")}
    assert [each["judgement"] for each in found["definitions"]] == ["lost"]
    done = clinic.migrate("rehearse", clinic.policy())
    assert (done.exit_code, "wrong-type" in done.stdout, "all of it takes about" in done.stdout) == (
        1,
        True,
        True,
    )
    assert forms(stored) == {0}
    assert left_over(clinic) == []


def test_what_is_encrypted_already_is_nothing_to_meet(clinic: Clinic, stored: Any) -> None:
    stored.insert_many(map(patient, range(5)))
    clinic.job("encrypt", clinic.policy(), PATIENTS, "notes")
    found = rehearsed(clinic)
    assert [each["left"] for each in found["jobs"]] == [[], []]


def test_a_database_that_holds_anything_is_not_taken(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    refused = clinic.refused("rehearse", clinic.policy(), "--into", "clinic")
    assert refused.reason is MigrationReason.TAKEN
    assert stored.count_documents({}) == 1


def test_a_signal_leaves_no_copy_behind(clinic: Clinic, stored: Any) -> None:
    stored.insert_many(map(patient, range(6000)))
    with clinic.database.connect() as client:
        with clinic.start("rehearse", clinic.policy(), "--into", "elsewhere") as process:
            deadline = time.monotonic() + 60
            while not client["elsewhere"].list_collection_names():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        assert process.returncode != 0
        assert client["elsewhere"].list_collection_names() == []
