"""A deterministic class goes back in clear where values lie in clear already: named, and left or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from sealwire.keys.frontier.record import DATABASE, FRONTIERS
from sealwire.sidecars.migration import engine
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.migrate.clinics import SECRET, Clinic, new_clinic
from tests.integration.migrate.numbers import NHS, POLICY, fill

pytestmark = pytest.mark.integration

LEFT = [
    {"namespace": "clinic.patients", "path": NHS, "document": "'odd'", "reason": "in-clear", "code": None},
    {"namespace": "clinic.visits", "path": "patient", "document": "77", "reason": "in-clear", "code": None},
]


@pytest.fixture
def encrypted(
    database: DatabaseProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Clinic, MongoClient[Document]]]:
    """A class with a key, and two values that were written past Sealwire."""
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    with (
        new_clinic(database, tmp_path, POLICY, (NHS, "notes")) as clinic,
        clinic.database.connect() as client,
    ):
        clinic.policy()
        fill(clinic, client, 40)
        client["clinic"]["patients"].insert_one({"_id": "odd", NHS: f"{SECRET} 1"})
        client["clinic"]["visits"].insert_one({"_id": 77, "patient": f"{SECRET} 2"})
        yield clinic, client


def decryption(clinic: Clinic) -> list[str]:
    return ["decrypt", str(clinic.policy_file), NHS, "--proxies", "0", "--confirm", NHS]


def stored(client: MongoClient[Document]) -> list[Any]:
    patients, visits = client["clinic"]["patients"].find(), client["clinic"]["visits"].find()
    return [*(each[NHS] for each in patients), *(each["patient"] for each in visits)]


def test_they_are_named_before_anything_moves_and_the_job_goes_on_once_they_are_mended(
    encrypted: tuple[Clinic, MongoClient[Document]],
) -> None:
    clinic, client = encrypted
    job = clinic.job(*decryption(clinic), code=1)
    assert (job["state"], job["values"], job["refusal"]) == ("refused", 0, LEFT)
    shown = clinic.migrate(*decryption(clinic))
    assert SECRET not in shown.output
    assert client[DATABASE][FRONTIERS].count_documents({}) == 0
    assert sum(isinstance(each, str) for each in stored(client)) == 2
    client["clinic"]["patients"].delete_one({"_id": "odd"})
    client["clinic"]["visits"].delete_one({"_id": 77})
    done = clinic.job("resume", str(clinic.policy_file), job["job"], "--proxies", "0")
    assert (done["state"], done["refusal"]) == ("done", [])
    assert all(isinstance(each, str) for each in stored(client))


def test_they_are_left_where_that_is_said_and_named_all_the_same(
    encrypted: tuple[Clinic, MongoClient[Document]],
) -> None:
    clinic, client = encrypted
    job = clinic.job(*decryption(clinic), "--in-clear", "skip")
    assert (job["state"], job["left"], job["reported"]) == ("done", [], LEFT)
    assert all(isinstance(each, str) for each in stored(client))
    assert len(stored(client)) == 82
    assert clinic.migrate("verify", str(clinic.policy_file)).exit_code == 0
