"""A clinic's front desk: an ordinary pymongo program that asks and writes without a pause.

    python clinic_desk.py PATIENTS

The file holds extended JSON lines, as patients.py prints them; these patients are in the database already.
The connection string comes from the environment variable MONGODB_URI; its database is used. Prints one JSON
object a line: a question, a digest of its answer, how long it took. Ends when its standard input does. Two
desks with the same file ask the same questions in the same order, and on equal databases see equal answers.
The last patient of the file is never asked for by name.
"""

import argparse
import hashlib
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import json_util
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Desk:
    """The database, and the patients that are asked for."""

    database: Database[Document]
    known: list[Document]

    def somebody(self, chance: random.Random) -> Document:
        return chance.choice(self.known)


def find_by_number(desk: Desk, chance: random.Random) -> object:
    """Who is this?"""
    return desk.database.patients.find_one({"nhs_number": desk.somebody(chance)["nhs_number"]}, {"_id": 0})


def find_several(desk: Desk, chance: random.Random) -> object:
    """The next ten patients in one question."""
    numbers = [each["nhs_number"] for each in chance.sample(desk.known, 10)]
    found = desk.database.patients.find({"nhs_number": {"$in": numbers}}, {"_id": 0, "name": 1})
    return sorted(each["name"] for each in found)


def count_neighbours(desk: Desk, chance: random.Random) -> object:
    """Who else lives there?"""
    return desk.database.patients.count_documents({"postcode": desk.somebody(chance)["postcode"]})


def group_by_postcode(desk: Desk, _chance: random.Random) -> object:
    """How many patients live where."""
    groups = desk.database.patients.aggregate([{"$group": {"_id": "$postcode", "patients": {"$sum": 1}}}])
    return sorted((str(each["_id"]), each["patients"]) for each in groups)


def list_numbers(desk: Desk, _chance: random.Random) -> object:
    """Every NHS number that has an appointment."""
    return sorted(desk.database.appointments.distinct("patient_nhs"))


def join_visits(desk: Desk, chance: random.Random) -> object:
    """A patient beside the appointments, joined by the server."""
    join = {"from": "appointments", "localField": "nhs_number", "foreignField": "patient_nhs", "as": "booked"}
    stages: list[Document] = [{"$match": {"mrn": desk.somebody(chance)["mrn"]}}, {"$lookup": join}]
    (found,) = desk.database.patients.aggregate(stages)
    return sorted(each["reference"] for each in found["booked"])


def register(desk: Desk, chance: random.Random) -> object:
    """Somebody new is registered, cannot be a second time, is found, and leaves again."""
    patients = desk.database.patients
    number = f"{chance.randrange(10**10):010d}"
    patients.insert_one({"mrn": f"new {number}", "nhs_number": number, "postcode": "ZZ99 9ZZ"})
    try:
        patients.insert_one({"mrn": f"twin {number}", "nhs_number": number})
        is_unique = False
    except DuplicateKeyError:
        is_unique = True
    found = patients.count_documents({"nhs_number": number})
    return is_unique, found, patients.delete_many({"nhs_number": number}).deleted_count


def write_notes(desk: Desk, chance: random.Random) -> object:
    """A note is written, and read again."""
    patient, patients = desk.somebody(chance), desk.database.patients
    note = {"$set": {"notes": f"Called at the desk, {chance.randrange(1000)}."}}
    patients.update_one({"mrn": patient["mrn"]}, note)
    return patients.find_one({"mrn": patient["mrn"]}, {"_id": 0, "notes": 1, "nhs_number": 1})


QUESTIONS: tuple[Callable[[Desk, random.Random], object], ...] = (
    find_by_number,
    find_several,
    count_neighbours,
    group_by_postcode,
    list_numbers,
    join_visits,
    register,
    write_notes,
)


def work(desk: Desk, is_over: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Ask until it is over; one line for each question."""
    place = 0
    while not is_over():
        chance = random.Random(place)
        question = chance.choice(QUESTIONS)
        began = time.perf_counter()
        try:
            seen = json_util.dumps(question(desk, chance), sort_keys=True)
            line = {"answer": hashlib.sha256(seen.encode()).hexdigest()}
        except PyMongoError as error:
            line = {"error": f"{type(error).__name__}: {error}"}
        milliseconds = (time.perf_counter() - began) * 1000
        say(json.dumps({"place": place, "question": question.__name__, "ms": milliseconds} | line))
        place += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("patients", type=Path)
    lines = parser.parse_args().patients.read_text(encoding="utf-8").splitlines()
    known: list[Document] = [json_util.loads(line) for line in lines[:-1]]
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    with MongoClient[Document](os.environ["MONGODB_URI"]) as client:
        desk = Desk(client.get_default_database(), known)
        work(desk, ended.is_set, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
