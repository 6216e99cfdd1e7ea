"""The desk's questions on a real server: known answers, and the same ones in the same order each time."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import pytest
from pymongo import MongoClient

from sealwire.examples import clinic_desk
from sealwire.examples.clinic_desk import QUESTIONS, Desk, work
from sealwire.examples.patients import generate_appointments, generate_patients
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

PATIENTS = list(islice(generate_patients(1948), 60))
APPOINTMENTS = list(generate_appointments(1948, PATIENTS, 40))
TURNS = 60


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoClient[dict[str, Any]]]:
    with secantus(tmp_path_factory.mktemp("desk")) as database, database.connect() as client:
        yield client


@pytest.fixture
def desk(client: MongoClient[dict[str, Any]]) -> Iterator[Desk]:
    clinic = client["clinic"]
    clinic.patients.create_index("nhs_number", unique=True)
    clinic.patients.insert_many(dict(each) for each in PATIENTS)
    clinic.appointments.insert_many(dict(each) for each in APPOINTMENTS)
    yield Desk(clinic, [dict(each) for each in PATIENTS[:-1]])
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
    homes = Counter(str(each["postcode"]) for each in PATIENTS)
    assert clinic_desk.group_by_postcode(desk, random.Random(1)) == sorted(homes.items())
    booked = sorted({each["patient_nhs"] for each in APPOINTMENTS})
    assert clinic_desk.list_numbers(desk, random.Random(1)) == booked
    assert clinic_desk.register(desk, random.Random(1)) == (True, 1, 1)
    asked = random.Random(3).choice(desk.known)
    booked_for = [each["reference"] for each in APPOINTMENTS if each["patient_nhs"] == asked["nhs_number"]]
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
