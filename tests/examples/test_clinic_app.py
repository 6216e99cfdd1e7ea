"""The example applications on a real server: their results agree with what plain Python makes of the data."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from bson import json_util
from pymongo import MongoClient

from sealwire.demo.stage import CLINIC_APP
from sealwire.examples import clinic_app, clinic_desk
from sealwire.examples.clinic_desk import QUESTIONS, Desk, work
from sealwire.examples.patients import generate_appointments, generate_patients, write_lines
from sealwire.testbed.database import DatabaseProcess
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

PATIENTS = list(islice(generate_patients(1948), 400))
APPOINTMENTS = list(generate_appointments(1948, PATIENTS, 300))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with secantus(tmp_path_factory.mktemp("clinic")) as database:
        yield database


@pytest.fixture
def uri(server: DatabaseProcess) -> Iterator[str]:
    yield server.uri(database="clinic")
    with server.connect() as client:
        client.drop_database("clinic")


def run(uri: str) -> dict[str, dict[str, Any]]:
    patients: list[dict[str, Any]] = [dict(patient) for patient in PATIENTS]
    appointments: list[dict[str, Any]] = [dict(appointment) for appointment in APPOINTMENTS]
    with MongoClient[dict[str, Any]](uri) as client:
        return {step.name: step.result for step in clinic_app.run(client, patients, appointments)}


def test_the_results_are_what_the_data_says(uri: str) -> None:
    results = run(uri)
    assert results["register_patients"] == {"patients": 400}
    assert results["register_twice"]["error"] == 11000
    assert results["register_twice"]["keyValue"] == {"nhs_number": PATIENTS[0]["nhs_number"]}
    assert results["find_by_nhs_number"]["found"] == 200
    assert results["find_many"]["found"] == 100
    phones = [patient["contacts"][-1]["phone"] for patient in PATIENTS[::8][:50]]
    holders = Counter(phone for p in PATIENTS for phone in {contact["phone"] for contact in p["contacts"]})
    assert results["find_by_phone"]["found"] == sum(holders[phone] for phone in phones)
    beginning = " " + PATIENTS[0]["name"].rpartition(" ")[2][:3]
    assert results["find_by_surname"]["found"] == sum(beginning in p["name"] for p in PATIENTS)
    year = PATIENTS[0]["date_of_birth"].year
    assert results["find_by_birth"]["found"] == sum(p["date_of_birth"].year == year for p in PATIENTS)
    assert results["page_by_name"]["found"] == 100
    assert results["move_house"]["modified"] == 100
    assert results["register_if_new"]["upserted"] == [True, False]
    per_patient = Counter(appointment["patient_nhs"] for appointment in APPOINTMENTS)
    assert results["count_appointments"]["patients"] == len(per_patient)
    assert results["count_appointments"]["most"] == max(per_patient.values())
    assert results["transfer"] == {"transactions": "supported", "moved": 1, "booked": 1}
    assert results["remove_patients"]["left"] == 400 + 1 - 20
    assert sum(ward["patients"] for ward in results["count_by_ward"]["wards"]) == 401


def test_two_runs_on_the_same_data_give_the_same_results(uri: str, server: DatabaseProcess) -> None:
    first = run(uri)
    with server.connect() as client:
        client.drop_database("clinic")
    assert run(uri) == first


def test_as_a_program_it_prints_its_steps_and_gets_the_connection_string_from_the_environment(
    uri: str, tmp_path: Path
) -> None:
    (tmp_path / "patients").write_text("".join(write_lines(PATIENTS[:50])))
    (tmp_path / "appointments").write_text("".join(write_lines(APPOINTMENTS[:1])))
    command = [sys.executable, str(CLINIC_APP), str(tmp_path / "patients"), str(tmp_path / "appointments")]
    done = subprocess.run(
        command, env=os.environ | {"MONGODB_URI": uri}, capture_output=True, text=True, check=True
    )
    steps = [json_util.loads(line) for line in done.stdout.splitlines()]
    assert [step["step"] for step in steps] == [step.__name__ for step in clinic_app.STEPS]
    assert all(step["ms"] > 0 for step in steps)


# The desk's questions on a real server: known answers, and the same ones in the same order each time.


FEW_PATIENTS = list(islice(generate_patients(1948), 60))
FEW_APPOINTMENTS = list(generate_appointments(1948, FEW_PATIENTS, 40))
TURNS = 60


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoClient[dict[str, Any]]]:
    with secantus(tmp_path_factory.mktemp("desk")) as database, database.connect() as client:
        yield client


@pytest.fixture
def desk(client: MongoClient[dict[str, Any]]) -> Iterator[Desk]:
    clinic = client["clinic"]
    clinic.patients.create_index("nhs_number", unique=True)
    clinic.patients.insert_many(dict(each) for each in FEW_PATIENTS)
    clinic.appointments.insert_many(dict(each) for each in FEW_APPOINTMENTS)
    yield Desk(clinic, [dict(each) for each in FEW_PATIENTS[:-1]])
    client.drop_database("clinic")


def lines_of(desk: Desk) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    turns = count()
    work(desk, lambda: next(turns) == TURNS, lambda line: lines.append(json.loads(line)))
    return lines


def test_two_runs_see_the_same(desk: Desk) -> None:
    first, second = lines_of(desk), lines_of(desk)
    assert [line["place"] for line in first] == list(range(TURNS))
    assert {line["question"] for line in first} == {question.__name__ for question in QUESTIONS}
    # a note that was written stays, and is written again by the second run
    for one, other in zip(first, second, strict=True):
        if one["question"] != "find_by_number":
            assert (one["question"], one["answer"]) == (other["question"], other["answer"])


def test_the_answers_are_what_the_data_says(desk: Desk) -> None:
    homes = Counter(str(each["postcode"]) for each in FEW_PATIENTS)
    assert clinic_desk.group_by_postcode(desk, random.Random(1)) == sorted(homes.items())
    booked = sorted({each["patient_nhs"] for each in FEW_APPOINTMENTS})
    assert clinic_desk.list_numbers(desk, random.Random(1)) == booked
    assert clinic_desk.register(desk, random.Random(1)) == (True, 1, 1)
    asked = random.Random(3).choice(desk.known)
    booked_for = [
        each["reference"] for each in FEW_APPOINTMENTS if each["patient_nhs"] == asked["nhs_number"]
    ]
    assert clinic_desk.join_visits(desk, random.Random(3)) == sorted(booked_for)


def test_an_error_is_a_line_of_its_own(desk: Desk) -> None:
    closed = MongoClient[dict[str, Any]]("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50")
    with closed:
        broken = Desk(closed["clinic"], desk.known)
        lines: list[dict[str, Any]] = []
        turns = count()
        work(broken, lambda: next(turns) == 1, lambda line: lines.append(json.loads(line)))
    assert lines[0]["error"].startswith("ServerSelectionTimeoutError")
    assert "answer" not in lines[0]
