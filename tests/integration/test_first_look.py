"""A newcomer's path: each block of docs/first-look.md, in its order, while an application works."""

import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from sealwire.examples.patients import generate_appointments, generate_patients
from sealwire.testbed.child import free_port
from tests.build_context import ROOT
from tests.integration.outside.chosen import own_server
from tests.support.doc_commands import run_document
from tests.support.secantus import secantus

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow(minutes=2),
    own_server("it encrypts a database from its first policy on"),
]

PAGE = ROOT / "docs" / "first-look.md"
PATIENTS = list(islice(generate_patients(7), 60))
APPOINTMENTS = list(generate_appointments(8, PATIENTS, 90))
ONE = PATIENTS[3]


def fill(clinic: Database[Any]) -> None:
    # a move takes some seconds for each deterministic class: two of them are enough
    kept = ("nhs_number", "name", "date_of_birth", "sex", "notes")
    clinic["patients"].insert_many([{k: v for k, v in each.items() if k in kept} for each in PATIENTS])
    clinic["patients"].create_index("nhs_number", unique=True)
    clinic["patients"].create_index("date_of_birth")
    clinic["appointments"].insert_many([dict(each) for each in APPOINTMENTS])


def application(clinic: Database[Any]) -> list[Any]:
    """What an application that knows nothing of Sealwire does, and what it gets."""
    patients = clinic["patients"]
    born = ONE["date_of_birth"]
    found = patients.find_one({"nhs_number": ONE["nhs_number"]}, {"_id": 0})
    day = patients.count_documents({"date_of_birth": {"$gte": born, "$lt": born + timedelta(days=2)}})
    joined = clinic["appointments"].aggregate(
        [
            {"$match": {"patient_nhs": APPOINTMENTS[0]["patient_nhs"]}},
            {
                "$lookup": {
                    "from": "patients",
                    "localField": "patient_nhs",
                    "foreignField": "nhs_number",
                    "as": "patient",
                }
            },
            {"$unwind": "$patient"},
            {"$project": {"_id": 0, "name": "$patient.name"}},
        ]
    )
    return [found, day, sorted(each["name"] for each in joined)]


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server that has the clinic in plaintext; where Sealwire listens, which ends with the test."""
    with secantus(tmp_path, transaction_s=5) as database:
        uri = tmp_path / "server.uri"
        uri.touch(0o600)
        uri.write_text(database.uri())
        with MongoClient[Any](database.uri()) as client:
            fill(client["clinic"])
        yield {
            "SEALWIRE_UPSTREAM_ADDRESS": f"127.0.0.1:{database.port}",
            "SEALWIRE_LISTEN_ADDRESS": f"127.0.0.1:{free_port()}",
            "SEALWIRE_ADMIN_ADDRESS": f"127.0.0.1:{free_port()}",
            "SEALWIRE_KEYS_REFRESH_S": "1",  # a move waits for it, once a class
            "COLUMNS": "200",
        }
        pid = tmp_path / "sealwire.pid"
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGTERM)


def give_a_range(policy: Path) -> None:
    """What the page says of a refused range."""
    document = yaml.safe_load(policy.read_text())
    name = document["collections"]["clinic.patients"]["date_of_birth"]
    days = {"unit": "day", "from": datetime(1900, 1, 1).date(), "to": datetime(2099, 12, 31).date()}
    document["classes"][name]["range"] = days
    policy.write_text(yaml.safe_dump(document))


def test_from_a_first_look_to_protected_and_back(tmp_path: Path, environ: dict[str, str]) -> None:
    def step(name: str) -> str:
        return run_document(PAGE, tmp_path, name, environ)

    with (
        MongoClient[Any]((tmp_path / "server.uri").read_text()) as direct,
        MongoClient[Any](f"mongodb://{environ['SEALWIRE_LISTEN_ADDRESS']}/?directConnection=true") as through,
    ):
        raw, clinic = direct["clinic"], through["clinic"]
        said = step("suggest")
        assert "policy.yaml: 2 collections" in said
        covered = yaml.safe_load((tmp_path / "policy.yaml").read_text())["collections"]
        assert covered["clinic.appointments"]["patient_nhs"] == covered["clinic.patients"]["nhs_number"]
        raw.command("profile", 2)
        expected = application(raw)
        raw.command("profile", 0)
        assert "refused: range $gte at date_of_birth" in step("recorded")
        give_a_range(tmp_path / "policy.yaml")
        assert "0 refused, 0 not-judged" in step("fixed")
        assert "2 commands, 0 not as expected" in step("expected")
        assert '"reason": "pattern"' in (tmp_path / "commands.jsonl").read_text()
        step("begin")
        step("serve")
        assert application(clinic) == expected
        with pytest.raises(OperationFailure, match="pattern"):
            clinic["patients"].find_one({"nhs_number": {"$regex": "^9"}})
        assert raw["patients"].find_one({"nhs_number": ONE["nhs_number"]}) is not None
        step("encrypt")
        assert application(clinic) == expected
        assert raw["patients"].find_one({"nhs_number": ONE["nhs_number"]}) is None
        said = step("prove")
        assert "no field needs somebody" in said
        assert "<html" in (tmp_path / "page.html").read_text()
        with pytest.raises(OperationFailure) as caught:
            raw["patients"].insert_one({"nhs_number": "plaintext"})
        assert caught.value.code == 121
        step("back")
        assert application(clinic) == expected
        assert raw["patients"].find_one({"nhs_number": ONE["nhs_number"]}) is not None
