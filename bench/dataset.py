"""The documents that are measured: flat patients with four covered fields, in groups of 100."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from sealwire.examples.patients import generate_patients

Document = dict[str, Any]

POLICY_FILE = Path(__file__).with_name("policy.yaml")
COVERED = ("nhs_number", "mrn", "postcode", "date_of_birth")
GROUP = 100
DOCUMENTS = 5_000


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
