"""A clinic's records: an ordinary pymongo program.

    python clinic_app.py PATIENTS APPOINTMENTS

The two files hold extended JSON lines, as patients.py prints them. The connection string comes from the
environment variable MONGODB_URI (or --uri); its database is used, and its collections `patients` and
`appointments` are expected to be empty, or are emptied first (--anew). Prints one JSON object a line: each
step of the clinic's day with its result and how long it took. Two runs on the same files give the same
results.
"""

import argparse
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bson import json_util
from pymongo import ASCENDING, MongoClient, ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, OperationFailure

Document = dict[str, Any]
BATCH = 500


@dataclass(frozen=True, slots=True)
class Clinic:
    """The open database and the documents that the day starts with."""

    client: MongoClient[Document]
    patients: Collection[Document]
    appointments: Collection[Document]
    known: list[Document]
    booked: list[Document]

    def every(self, count: int) -> list[Document]:
        """`count` of the known patients, evenly spread (all of them where there are fewer)."""
        return self.known[:: max(1, len(self.known) // count)][:count]


@dataclass(frozen=True, slots=True)
class DayStep:
    """One finished step: what came out and what it took."""

    name: str
    result: Document
    milliseconds: float


def create_indexes(clinic: Clinic) -> Document:
    """An NHS number belongs to one patient; the desk searches by name, birth, telephone and postcode."""
    return {
        "patients": [
            clinic.patients.create_index("nhs_number", unique=True),
            clinic.patients.create_index("contacts.phone"),
            clinic.patients.create_index("name"),
            clinic.patients.create_index("date_of_birth"),
            clinic.patients.create_index("address.postcode"),
            clinic.patients.create_index([("ward", ASCENDING), ("registered", ASCENDING)]),
        ],
        "appointments": [clinic.appointments.create_index("patient_nhs")],
    }


def register_patients(clinic: Clinic) -> Document:
    """Insert everybody, 500 at a time."""
    for batch in _batches(clinic.known):
        clinic.patients.insert_many(batch)
    return {"patients": clinic.patients.estimated_document_count()}


def book_appointments(clinic: Clinic) -> Document:
    """Insert the appointment book."""
    for batch in _batches(clinic.booked):
        clinic.appointments.insert_many(batch)
    return {"appointments": clinic.appointments.count_documents({})}


def register_twice(clinic: Clinic) -> Document:
    """Somebody registers a patient who is there already: the unique index says so."""
    twin = {"nhs_number": clinic.known[0]["nhs_number"], "mrn": "MRN9999999", "ward": clinic.known[0]["ward"]}
    try:
        clinic.patients.insert_one(twin)
    except DuplicateKeyError as error:
        details = error.details or {}
        return {
            "error": error.code,
            "keyPattern": details.get("keyPattern"),
            "keyValue": details.get("keyValue"),
        }
    return {"error": None}


def find_by_nhs_number(clinic: Clinic) -> Document:
    """The most common question: who is this?"""
    found = [clinic.patients.find_one({"nhs_number": patient["nhs_number"]}) for patient in clinic.every(200)]
    return _seen(document for document in found if document is not None)


def find_by_phone(clinic: Clinic) -> Document:
    """Somebody calls; the number may stand at any place of any patient's contacts."""
    phones = [patient["contacts"][-1]["phone"] for patient in clinic.every(50)]
    return _seen(document for phone in phones for document in clinic.patients.find({"contacts.phone": phone}))


def find_by_postcode(clinic: Clinic) -> Document:
    """Who lives there? Everybody without an address, too."""
    postcodes = [patient["address"].get("postcode") for patient in clinic.every(50)]
    return _seen(
        document for code in postcodes for document in clinic.patients.find({"address.postcode": code})
    )


def find_many(clinic: Clinic) -> Document:
    """The day's list: 100 patients in one question."""
    numbers = [patient["nhs_number"] for patient in clinic.every(100)]
    return _seen(clinic.patients.find({"nhs_number": {"$in": numbers}}))


def list_ward(clinic: Clinic) -> Document:
    """A ward's list in order of registration, read page by page."""
    cursor = clinic.patients.find({"ward": "renal"}, {"_id": 0, "sex": 0}, batch_size=50)
    return _seen(cursor.sort("registered").limit(200))


def join_appointments(clinic: Clinic) -> Document:
    """The appointments of the day's patients: found by the number that both collections hold."""
    numbers = [patient["nhs_number"] for patient in clinic.every(100)]
    return _seen(clinic.appointments.find({"patient_nhs": {"$in": numbers}}))


def lookup_visits(clinic: Clinic) -> Document:
    """The day's patients beside each of their appointments: joined by the server, on the NHS number."""
    numbers = [patient["nhs_number"] for patient in clinic.every(100)]
    join = {"from": "appointments", "localField": "nhs_number", "foreignField": "patient_nhs", "as": "booked"}
    pipeline: list[Document] = [
        {"$match": {"nhs_number": {"$in": numbers}}},
        {"$lookup": join},
        {"$unwind": "$booked"},
        {"$project": {"name": 1, "nhs_number": 1, "booked.visit": 1, "booked.patient_nhs": 1}},
    ]
    return _seen(clinic.patients.aggregate(pipeline))


def move_house(clinic: Clinic) -> Document:
    """Patients move and get another telephone: $set in a sub-document and $push to an array."""
    modified = 0
    for position, patient in enumerate(clinic.every(100)):
        postcode = f"ZZ{position % 99 + 1} 1AA"
        change = {
            "$set": {
                "postcode": postcode,
                "address.postcode": postcode,
                "address.line1": f"{position} New Road",
            },
            "$push": {"contacts": {"kind": "home", "phone": f"01632960{position:03d}"}},
        }
        modified += clinic.patients.update_one({"nhs_number": patient["nhs_number"]}, change).modified_count
    return {"modified": modified} | _seen(clinic.patients.find({"postcode": "ZZ1 1AA"}))


def write_notes(clinic: Clinic) -> Document:
    """A doctor adds to the notes and goes on with the new record."""
    after = []
    for patient in clinic.every(10):
        change = {"$set": {"notes": f"{patient['notes'] or ''} Reviewed, no change."}}
        where = {"nhs_number": patient["nhs_number"]}
        after.append(clinic.patients.find_one_and_update(where, change, return_document=ReturnDocument.AFTER))
    return _seen(document for document in after if document is not None)


def register_if_new(clinic: Clinic) -> Document:
    """An upsert: the first call inserts, the second finds."""
    walk_in = {"nhs_number": "9990000018", "mrn": "MRN9000001"}
    change = {
        "$set": {"ward": "renal", "notes": "Walked in."},
        "$setOnInsert": {"date_of_birth": datetime(1980, 5, 17)},
    }
    outcomes = [clinic.patients.update_one(walk_in, change, upsert=True) for _ in range(2)]
    upserted = [outcome.upserted_id is not None for outcome in outcomes]
    return {"upserted": upserted} | _seen(clinic.patients.find(walk_in))


def count_patients(clinic: Clinic) -> Document:
    """Counts for the monthly return: by birthday, by missing address, by missing notes."""
    born = clinic.known[1]["date_of_birth"]
    return {
        "born_that_day": clinic.patients.count_documents({"date_of_birth": born}),
        "without_address": clinic.patients.count_documents({"postcode": None}),
        "without_notes": clinic.patients.count_documents({"notes": None}),
        "with_two_contacts": clinic.patients.count_documents({"contacts": {"$size": 2}}),
    }


def find_by_birth(clinic: Clinic) -> Document:
    """Everybody born in one year, for a screening programme, youngest last."""
    year = clinic.known[0]["date_of_birth"].year
    born = {"$gte": datetime(year, 1, 1), "$lt": datetime(year + 1, 1, 1)}
    return _seen(clinic.patients.find({"date_of_birth": born}).sort("registered"))


def find_by_surname(clinic: Clinic) -> Document:
    """Somebody is on the telephone, and only the beginning of the surname can be understood."""
    heard = clinic.known[0]["name"].rpartition(" ")[2][:3].lower()
    return _seen(clinic.patients.find({"name": {"$regex": f" {re.escape(heard)}", "$options": "i"}}))


def page_by_name(clinic: Clinic) -> Document:
    """The index of patients in alphabetical order: two pages, the second from the end of the first."""
    read: list[Document] = []
    for _ in range(2):
        following = {"name": {"$gt": read[-1]["name"]}} if read else {}
        page = clinic.patients.find(following, {"_id": 0}).sort([("name", ASCENDING), ("_id", ASCENDING)])
        read += page.limit(50)
    return {"found": len(read), "digest": _digest([_canonical(each) for each in read])}


def distinct_postcodes(clinic: Clinic) -> Document:
    """Where a ward's patients come from."""
    postcodes = clinic.patients.distinct("postcode", {"ward": "oncology"})
    return {"distinct": len(postcodes), "digest": _digest(sorted(code or "" for code in postcodes))}


def count_by_ward(clinic: Clinic) -> Document:
    """Patients by ward, and those of some postcodes by sex: grouped by fields that are not secret."""
    chosen = clinic.known[1 :: max(1, len(clinic.known) // 20)]
    postcodes = [patient["postcode"] for patient in chosen]
    wards = clinic.patients.aggregate(
        [{"$group": {"_id": "$ward", "patients": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
    )
    match = {"$match": {"postcode": {"$in": postcodes}}}
    sexes = clinic.patients.aggregate(
        [match, {"$group": {"_id": "$sex", "patients": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
    )
    return {"wards": list(wards), "sexes": list(sexes)}


def count_appointments(clinic: Clinic) -> Document:
    """Who has how many appointments: grouped by the NHS number itself."""
    groups = list(
        clinic.appointments.aggregate([{"$group": {"_id": "$patient_nhs", "appointments": {"$sum": 1}}}])
    )
    most = max((group["appointments"] for group in groups), default=0)
    return {"patients": len(groups), "most": most, "digest": _digest(sorted(map(_canonical, groups)))}


def transfer(clinic: Clinic) -> Document:
    """Move a patient to another ward and book there, both or neither; then begin another and give it up."""
    number = clinic.known[2]["nhs_number"]

    def move(session: ClientSession) -> None:
        clinic.patients.update_one({"nhs_number": number}, {"$set": {"ward": "cardiology"}}, session=session)
        booking = {"reference": "T00000001", "patient_nhs": number, "visit": "transfer"}
        clinic.appointments.insert_one(booking, session=session)

    try:
        with clinic.client.start_session() as session:
            session.with_transaction(move)
            session.start_transaction()
            clinic.patients.delete_one({"nhs_number": number}, session=session)
            session.abort_transaction()
    except OperationFailure as error:
        if error.code != 20:  # a standalone server has no transactions
            raise
        return {"transactions": "not supported"}
    moved = clinic.patients.count_documents({"nhs_number": number, "ward": "cardiology"})
    booked = clinic.appointments.count_documents({"patient_nhs": number, "visit": "transfer"})
    return {"transactions": "supported", "moved": moved, "booked": booked}


def remove_patients(clinic: Clinic) -> Document:
    """Patients who left: deleted one by one, their appointments with them."""
    leaving = [patient["nhs_number"] for patient in clinic.every(20)]
    patients = sum(clinic.patients.delete_one({"nhs_number": number}).deleted_count for number in leaving)
    appointments = clinic.appointments.delete_many({"patient_nhs": {"$in": leaving}}).deleted_count
    return {"patients": patients, "appointments": appointments, "left": clinic.patients.count_documents({})}


# The clinic's day in order.
STEPS: tuple[Callable[[Clinic], Document], ...] = (
    create_indexes,
    register_patients,
    book_appointments,
    register_twice,
    find_by_nhs_number,
    find_by_phone,
    find_by_postcode,
    find_many,
    list_ward,
    join_appointments,
    lookup_visits,
    move_house,
    write_notes,
    register_if_new,
    count_patients,
    find_by_birth,
    find_by_surname,
    page_by_name,
    distinct_postcodes,
    count_by_ward,
    count_appointments,
    transfer,
    remove_patients,
)


def run(
    client: MongoClient[Document], patients: list[Document], appointments: list[Document]
) -> Iterator[DayStep]:
    """Work through the clinic's day on the client's default database, step by step."""
    database = client.get_default_database()
    clinic = Clinic(client, database["patients"], database["appointments"], patients, appointments)
    for step in STEPS:
        started = time.perf_counter()
        result = step(clinic)
        yield DayStep(step.__name__, result, (time.perf_counter() - started) * 1000)


def _batches(documents: list[Document]) -> Iterator[list[Document]]:
    for start in range(0, len(documents), BATCH):
        # Copies: insert_many adds `_id` to what it is given, and the originals are used again.
        yield [dict(document) for document in documents[start : start + BATCH]]


def _seen(documents: Iterable[Document]) -> Document:
    """How many documents came and a digest of all that they hold, whatever their order and `_id`."""
    lines = sorted(
        _canonical({key: value for key, value in document.items() if key != "_id"}) for document in documents
    )
    return {
        "found": len(lines),
        "first": json_util.loads(lines[0]) if lines else None,
        "digest": _digest(lines),
    }


def _canonical(document: Document) -> str:
    return json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS)


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _read(file: Path) -> list[Document]:
    return [json_util.loads(line) for line in file.read_text().splitlines()]


def main() -> None:
    """Run the day and print each step as it ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("patients", type=Path)
    parser.add_argument("appointments", type=Path)
    parser.add_argument("--uri", default=os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017/clinic"))
    parser.add_argument("--anew", action="store_true", help="empty the two collections first")
    arguments = parser.parse_args()
    with MongoClient[Document](arguments.uri) as client:
        for name in ("patients", "appointments") if arguments.anew else ():
            client.get_default_database()[name].delete_many({})
        for step in run(client, _read(arguments.patients), _read(arguments.appointments)):
            line = {"step": step.name, "ms": round(step.milliseconds, 3), "result": step.result}
            print(json_util.dumps(line, json_options=json_util.RELAXED_JSON_OPTIONS), flush=True)


if __name__ == "__main__":
    main()
