"""A clinic whose deterministic classes are in clear: one of each type that a class may have."""

from datetime import UTC, datetime, timedelta
from typing import Any

from bson.binary import Binary
from bson.int64 import Int64
from bson.objectid import ObjectId

from tests.integration.conftest import Document
from tests.integration.migrate.clinics import SECRET

NHS = "nhs_number"
OTHERS = ("born", "ward", "bed", "dose", "device", "token", "alive")
CLEAR = (NHS, *OTHERS)
CLASSES = (*CLEAR, "notes")
POLICY = """
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  born: {mode: deterministic, type: date}
  ward: {mode: deterministic, type: int}
  bed: {mode: deterministic, type: long}
  dose: {mode: deterministic, type: double}
  device: {mode: deterministic, type: objectId}
  token: {mode: deterministic, type: binData}
  alive: {mode: deterministic, type: bool}
  notes: {mode: random}
collections:
  clinic.patients:
    nhs_number: nhs_number
    kin.nhs_number: nhs_number
    born: born
    ward: ward
    beds: bed
    dose: dose
    device: device
    token: token
    alive: alive
    notes: notes
  clinic.visits: {patient: nhs_number}
"""
_BEGINNING = datetime(1950, 1, 1, tzinfo=UTC)


def name_of(number: int) -> str:
    """What a test finds if it is anywhere in clear."""
    return f"{SECRET} {number * 7919:0{10 if number % 5 else 12}d}"


def patient(number: int) -> Document:
    return {
        "_id": number,
        NHS: name_of(number),
        "kin": [{NHS: name_of(number + 1)}, "none", {NHS: name_of(number // 2)}],
        "born": _BEGINNING + timedelta(days=number),
        "ward": number - 20 if number % 3 else float(number - 20),
        "beds": [Int64(number), number + 1],
        "dose": number / 4 - 3,
        "device": ObjectId(number.to_bytes(12, "big")),
        "token": Binary(bytes([number % 256]) * (1 + number % 3), (5, 4, 0x80)[number % 3]),
        "alive": bool(number % 2),
    }


def fill(client: Any, count: int) -> None:
    """Patients with a unique number, and visits."""
    patients = client["clinic"]["patients"]
    patients.create_index(NHS, unique=True)
    patients.insert_many([patient(number) for number in range(count)])
    client["clinic"]["visits"].insert_many(
        {"_id": number, "patient": name_of(number // 3)} for number in range(count)
    )
