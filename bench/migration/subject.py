"""What is migrated: patients with two fields of deterministic classes and two of random ones."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any, Final

import bson
import yaml
from bson.binary import Binary

from bench.dataset import DATABASE, documents
from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet

NAMESPACE: Final = f"{DATABASE}.patients"
COLLECTION: Final = "patients"
DETERMINISTIC: Final = ("nhs_number", "mrn")
RANDOM: Final = ("name", "date_of_birth")
FIELDS: Final = DETERMINISTIC + RANDOM
_SEED: Final = 14
_A_SEED: Final = 500_000
"""Patients of one seed: there are no more than 909,091 numbers for tests."""
_HEAD_BYTES: Final = 7
"""Of a document with one element `v`: its length, the element's type, its name."""


def policy_text() -> str:
    """The policy as the file holds it; each field has a class of its own name."""
    classes: dict[str, dict[str, str]] = {
        name: {"mode": "deterministic", "type": "string"} for name in DETERMINISTIC
    }
    classes |= {name: {"mode": "random"} for name in RANDOM}
    rules = {NAMESPACE: {name: name for name in FIELDS}}
    return yaml.safe_dump({"version": 1, "classes": classes, "collections": rules}, sort_keys=False)


def policies() -> PolicySet:
    """The same as a job has it."""
    return load_policy(policy_text().encode(), "policy.yaml")


def keyring_of(states: tuple[KeyState, ...], *, to_plaintext: bool = False) -> Keyring:
    """A version of each class's key in each of these states, always of the same material.

    `to_plaintext`: the last of them is plaintext.
    """
    now = datetime.now(UTC)
    return Keyring(
        DataKey(
            *(name, class_id, version, state, now, bytes((class_id, version)) * 32),
            is_plaintext=to_plaintext and version == len(states),
        )
        for class_id, name in enumerate(FIELDS, 1)
        for version, state in enumerate(states, 1)
    )


def patients(wanted: int, keyring: Keyring, encrypted: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """`wanted` patients by `_id` from 0, with these fields under the active keys and all else in clear.

    No value of a deterministic field stands twice. Cost: some 20 us each, and 3 us for each encrypted field.
    """
    for number, patient in zip(range(wanted), _without_end(), strict=False):
        sealed = {name: _sealed(keyring, name, patient[name]) for name in encrypted}
        yield {"_id": number} | patient | sealed


def _without_end() -> Iterator[dict[str, Any]]:
    for turn in count():
        for patient in islice(documents(_SEED + turn), _A_SEED):
            longer = {name: f"{patient[name]}{turn}" for name in DETERMINISTIC} if turn else {}
            yield patient | longer


def _sealed(keyring: Keyring, name: str, value: object) -> Binary:
    raw = bson.encode({"v": value})
    kind, inside = raw[4], raw[_HEAD_BYTES:-1]
    cipher = keyring.cipher_for(name)
    encrypt = cipher.encrypt_deterministically if name in DETERMINISTIC else cipher.encrypt_randomly
    return Binary(encrypt(kind, inside), SUBTYPE)
