"""A clinic's numbers, of a deterministic class that has a pending key."""

from typing import Any

from bson.binary import Binary
from pymongo import MongoClient

from sealwire.crypto.envelope import SUBTYPE, parse_header
from sealwire.keys.keyring.file import load_keyring
from sealwire.keys.keyring.keyring import Keyring
from sealwire.wire import kinds
from tests.integration.conftest import Document
from tests.integration.migrate.clinics import SECRET, Clinic

POLICY = """
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs_number, kin.nhs_number: nhs_number, notes: notes}
  clinic.visits*: {patient: nhs_number}
"""
NHS = "nhs_number"
PATIENTS = "clinic.patients"


def reencryption(clinic: Clinic, *, proxies: int = 0) -> list[str]:
    """What an operator types for the class to move; there are so many Sealwires."""
    return ["reencrypt", str(clinic.policy_file), NHS, "--proxies", str(proxies)]


def sealed(keyring: Keyring, value: str, *, new: bool = False) -> Binary:
    text = value.encode()
    inside = (len(text) + 1).to_bytes(4, "little") + text + b"\0"
    cipher = keyring.pending_cipher_for(NHS) if new else keyring.cipher_for(NHS)
    assert cipher is not None
    return Binary(cipher.encrypt_deterministically(kinds.STRING, inside), SUBTYPE)


def fill(clinic: Clinic, client: MongoClient[Document], count: int) -> list[str]:
    """Patients with kin in arrays and a unique number, and visits; the numbers."""
    keyring = load_keyring(clinic.keyring, clinic.kek)
    names = [f"{number * 7919:0{10 if number % 5 else 12}d}" for number in range(count)]
    patients, visits = client["clinic"]["patients"], client["clinic"]["visits"]
    patients.create_index(NHS, unique=True)
    patients.insert_many(
        {
            "_id": number,
            NHS: sealed(keyring, name),
            "kin": [
                {NHS: sealed(keyring, names[number - 1])},
                "none",
                {NHS: sealed(keyring, names[number // 2])},
            ],
        }
        for number, name in enumerate(names)
    )
    visits.insert_many(
        {"_id": number, "patient": sealed(keyring, names[number // 3])} for number in range(count)
    )
    return names


def opened(keyring: Keyring, value: Binary) -> str:
    return keyring.open_envelope(bytes(value), 0, len(value))[1][4:-1].decode()


def envelopes(client: MongoClient[Document]) -> list[Binary]:
    """Every envelope of the class, document after document."""
    found = []
    for document in client["clinic"]["patients"].find().sort("_id", 1):
        found += [document[NHS], *(each[NHS] for each in document.get("kin", ()) if isinstance(each, dict))]
    return found + [each["patient"] for each in client["clinic"]["visits"].find().sort("_id", 1)]


# Patients whose fields have classes without a search, and the forms in which they are stored.


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
