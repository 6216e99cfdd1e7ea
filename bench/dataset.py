"""The documents that are measured, and the policy that covers them.

Patients are flat, with four covered fields, in groups of 100. `sized` documents are patients with a text that
fills them up to a KiB. `wide` documents have 1,500 covered text fields. Values do not repeat if the kind of
value allows it (there are only so many dates).
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
WIDE_FIELDS = tuple(f"key{number:04}" for number in range(1500))
WARDS = 20
NAMES = (100, 1_000, 5_000, 10_000, 100_000)
"""How many distinct surnames a collection of `people` may have: one for each, such as `people_100`."""
ASKED = ("indexed", "scanned")
"""The fields with the surname, with and without an index."""
SIZED_BYTES = 1 << 10

_LETTERS = "abcdefghijklmnopqrstuvwxyz "

LARGE_REPLIES = {"slow-reader": 1_000_000, "slow-reader-16mb": 16_000_000}
"""Collections whose every find has one reply of so many bytes, which is not read."""


def policy() -> Document:
    """The policy as the file holds it: everything deterministic, one class for each kind of value."""
    patients = {name: name for name in COVERED}
    collections = dict.fromkeys(("patients", "arrivals", "cohorts", "sized", *LARGE_REPLIES), patients)
    collections |= {"wide": dict.fromkeys(WIDE_FIELDS, "text")}
    collections |= {f"people_{each}": patients | dict.fromkeys(ASKED, "surname") for each in NAMES}
    kinds = dict.fromkeys(("nhs_number", "mrn", "postcode", "text"), "string") | {"date_of_birth": "date"}
    return {
        "version": 1,
        # recorded answers have a document for every question, also for one about plaintext
        "classes": {
            name: {"mode": "deterministic", "type": kind, "accept_plaintext": True}
            for name, kind in kinds.items()
        }
        | {"surname": {"mode": "deterministic", "type": "string", "ask": True}},
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


def sized_documents(seed: int) -> Iterator[Document]:
    """Patients of about a KiB each, without end; `number` counts them."""
    source = random.Random(seed)  # noqa: S311 - documents to measure with, not secrets
    block = _text(source, 64 << 10)
    for number, patient in enumerate(documents(seed)):
        start = source.randrange(len(block) // 2)
        yield {"number": number} | patient | {"history": block[start : start + SIZED_BYTES - 330]}


def people(number_of: int, names: int) -> Iterator[Document]:
    """So many patients with a surname. Each of the surnames comes equally often."""
    for number, patient in zip(range(number_of), documents(1), strict=False):
        # so that neighbours are not alike
        yield patient | dict.fromkeys(ASKED, f"S{number * 7919 % names:05}son")


def wide_documents(seed: int) -> Iterator[Document]:
    """Documents whose 1,500 fields are covered texts of 10 characters, without end."""
    source = random.Random(seed)  # noqa: S311 - documents to measure with, not secrets
    while True:
        yield {name: _text(source, 10) for name in WIDE_FIELDS}


def _text(source: random.Random, length: int) -> str:
    return "".join(source.choices(_LETTERS, k=length))
