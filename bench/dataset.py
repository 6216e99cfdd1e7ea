"""The documents that are measured, and the policy that covers them.

Patients are flat, with four covered fields, in groups of 100. `fields_N` have twenty text fields of which the
policy covers N. `sized_N` are patients with a text that fills them up to N KiB. `wide` documents have 1,500
covered text fields. Values do not repeat where the kind of value allows it (there are only so many dates).
"""

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from sealwire.examples.patients import generate_patients

Document = dict[str, Any]

DATABASE = "bench"
COVERED = ("nhs_number", "mrn", "postcode", "date_of_birth")
GROUP = 100
FIELDS = tuple(f"field_{number:02}" for number in range(1, 21))
COVERED_FIELDS = (0, 1, 4, 20)
SIZES_KIB = (1, 16, 128, 1024)
WIDE_FIELDS = tuple(f"key{number:04}" for number in range(1500))
WARDS = 20

_LETTERS = "abcdefghijklmnopqrstuvwxyz "


LARGE_REPLIES = {"slow-reader": 1_000_000, "slow-reader-16mb": 16_000_000}
"""Collections whose every find has one reply of so many bytes, which is not read."""


def policy() -> Document:
    """The policy as the file holds it: everything deterministic, one class for each kind of value."""
    patients = {name: name for name in COVERED}
    collections: dict[str, dict[str, str]] = dict.fromkeys(("patients", "arrivals", "cohorts"), patients)
    for covered in COVERED_FIELDS:
        # without a covered field in its documents, a collection is still protected by a rule
        names = FIELDS[:covered] or ("not_there",)
        collections |= {f"fields_{covered}": dict.fromkeys(names, "text")}
    collections |= {f"sized_{size}": patients for size in SIZES_KIB}
    collections |= dict.fromkeys(LARGE_REPLIES, patients)
    collections |= {"wide": dict.fromkeys(WIDE_FIELDS, "text")}
    kinds = dict.fromkeys(("nhs_number", "mrn", "postcode", "text"), "string") | {"date_of_birth": "date"}
    return {
        "version": 1,
        # recorded answers have a document for every question, also for one about plaintext
        "classes": {
            name: {"mode": "deterministic", "type": kind, "accept_plaintext": True}
            for name, kind in kinds.items()
        },
        "collections": {f"{DATABASE}.{name}": dict(rules) for name, rules in collections.items()},
        # not declared, each command on it would be preceded by a question to the server (ADR 23)
        "plain": [f"{DATABASE}.wards"],
    }


def write_policy(folder: Path) -> Path:
    """The policy's file, made in `folder`."""
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump(policy(), sort_keys=False))
    return path


def documents(seed: int) -> Iterator[Document]:
    """Patients without end. `group` holds the same number for each 100 in a row."""
    for position, patient in zip(count(), generate_patients(seed), strict=False):
        yield {
            "nhs_number": patient["nhs_number"],
            "mrn": patient["mrn"],
            "postcode": patient["postcode"] or "ZZ99 9ZZ",
            "date_of_birth": patient["date_of_birth"],
            "name": patient["name"],
            "sex": patient["sex"],
            "ward": patient["ward"],
            "registered": patient["registered"],
            "group": position // GROUP,
        }


def field_documents(seed: int) -> Iterator[Document]:
    """Documents with twenty texts of 12 characters, without end; `number` counts them."""
    source = random.Random(seed)  # noqa: S311 - documents to measure with, not secrets
    for number in count():
        yield {"number": number} | {name: _text(source, 12) for name in FIELDS}


def sized_documents(seed: int, kib: int) -> Iterator[Document]:
    """Patients of about `kib` KiB each, without end; `number` counts them."""
    source = random.Random(seed)  # noqa: S311 - documents to measure with, not secrets
    block = _text(source, 64 << 10)
    for number, patient in enumerate(documents(seed)):
        wanted = max(0, (kib << 10) - 330)
        start = source.randrange(len(block) // 2)
        history = (block[start:] * (wanted // (len(block) // 2) + 1))[:wanted]
        yield {"number": number} | patient | {"history": history}


def wide_documents(seed: int) -> Iterator[Document]:
    """Documents whose 1,500 fields are covered texts of 10 characters, without end."""
    source = random.Random(seed)  # noqa: S311 - documents to measure with, not secrets
    while True:
        yield {name: _text(source, 10) for name in WIDE_FIELDS}


def _text(source: random.Random, length: int) -> str:
    return "".join(source.choices(_LETTERS, k=length))
