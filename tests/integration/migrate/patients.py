"""Patients whose fields have classes without a search, and the forms in which they are stored."""

from typing import Any

from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE, parse_header
from tests.integration.conftest import Document
from tests.integration.migrate.clinics import SECRET

HEAD = """
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  notes: {mode: random}
  letters: {mode: random}
collections:
"""
WHOLE = (
    HEAD + "  clinic.patients: {nhs_number: nhs_number, notes: notes, visits.text: notes, letters: letters}\n"
)
LESS = HEAD + "  clinic.patients: {nhs_number: nhs_number, visits.text: notes, letters: letters}\n"
CLASSES = ("nhs_number", "notes", "letters")
PATIENTS = "clinic.patients"


def patient(number: object) -> Document:
    return {
        "_id": number,
        "notes": f"{SECRET} {number}",
        "visits": [{"text": f"{SECRET} first"}, {"ward": 3}, {"text": f"{SECRET} second"}],
        "letters": [f"{SECRET} letter", {"to": "ward"}],
    }


def key_versions(value: object) -> list[int]:
    """Of all envelopes in a document; 0 stands for a string in clear."""
    if isinstance(value, Binary) and value.subtype == SUBTYPE:
        return [parse_header(value).key_version]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [0] if isinstance(value, str) else [found for each in inside for found in key_versions(each)]


def forms(stored: Any) -> set[int]:
    return {found for document in stored.find() for found in key_versions(document | {"_id": 0})}
