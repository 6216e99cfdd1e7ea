"""What a document is after its covered values are gone."""

from typing import Any

import bson
import pytest
from bson.binary import Binary

from sealwire.keys.keyring.data_key import KeyState, generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import FieldClass, Mode, ValueType
from sealwire.sidecars.erasure.overwriting import NULL, Replacements, emptied, null_of
from tests.keys.samples import NOW

RULES = b"""
version: 1
classes: {nhs: {mode: deterministic, type: string}, notes: {mode: random}}
collections: {clinic.patients: {nhs: nhs, phones: nhs, visits.note: notes, visits.nhs: nhs, box: notes}}
"""
TREE = load_policy(RULES, "policy.yaml").collections["clinic.patients"]
ENVELOPE = Binary(b"SW-and-more", 0x80)


def changed(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the filter says, and what is set."""
    made = emptied(bson.encode(document), TREE, null_of)
    assert made is not None
    conditions = bson.decode((len(made.conditions) + 5).to_bytes(4, "little") + made.conditions + b"\0")
    return conditions, bson.decode(made.update)["$set"]


def test_every_covered_value_becomes_null_and_nothing_else_is_named() -> None:
    document = {
        "_id": 1,
        "nhs": ENVELOPE,
        "phones": [ENVELOPE, "in clear", None],
        "visits": [{"note": ENVELOPE, "at": 5}, {"nhs": ENVELOPE, "more": [1]}, 7],
        "box": [ENVELOPE],
        "ward": "B",
    }
    conditions, news = changed(document)
    assert conditions == {
        "nhs": {"$eq": ENVELOPE},
        "phones.0": {"$eq": ENVELOPE},
        "phones.1": {"$type": 2},
        "visits.0.note": {"$eq": ENVELOPE},
        "visits.1.nhs": {"$eq": ENVELOPE},
        "box": {"$type": 4},
    }
    assert news == dict.fromkeys(conditions)


@pytest.mark.parametrize("document", [{}, {"_id": 1}, {"nhs": None, "visits": []}, {"other": ENVELOPE}])
def test_nothing_is_done_where_nothing_is_covered(document: dict[str, Any]) -> None:
    assert emptied(bson.encode(document), TREE, null_of) is None


def test_numbers_as_names_are_seen_through_as_everywhere() -> None:
    assert changed({"visits": {"3": {"note": ENVELOPE}}})[1] == {"visits.3.note": None}


def test_what_no_update_can_name_stays() -> None:
    twice = bson.encode({"nhs": ENVELOPE, "nhx": ENVELOPE}).replace(b"nhx", b"nhs")
    assert emptied(twice, TREE, null_of) is None


def ring(*, is_plaintext: bool = False) -> Keyring:
    return Keyring([generate_data_key("nhs", 1, 1, NOW, KeyState.ACTIVE, is_plaintext=is_plaintext)])


@pytest.mark.parametrize(
    "value_type", [each for each in ValueType if each not in (ValueType.DOUBLE, ValueType.BOOL)]
)
def test_a_replacement_opens_as_a_value_of_its_class(value_type: ValueType) -> None:
    keyring = ring()
    replacements = Replacements(keyring)
    made = [replacements.choose(FieldClass("nhs", Mode.DETERMINISTIC, value_type)) for _ in range(2)]
    assert made[0] != made[1]
    assert set(made) == replacements.made
    for _, value in made:
        kind, opened = keyring.open_envelope(value, 5, len(value))
        assert kind == value_type.kind
        bson.decode((len(opened) + 8).to_bytes(4, "little") + bytes((kind,)) + b"a\0" + opened + b"\0")


@pytest.mark.parametrize(
    ("field_class", "keyring"),
    [
        (FieldClass("notes", Mode.RANDOM, None), ring()),
        (FieldClass("other", Mode.DETERMINISTIC, ValueType.STRING), ring()),
        (FieldClass("nhs", Mode.DETERMINISTIC, ValueType.DOUBLE), ring()),
        (FieldClass("nhs", Mode.DETERMINISTIC, ValueType.STRING, per=b"tenant"), ring()),
        (FieldClass("nhs", Mode.DETERMINISTIC, ValueType.STRING), ring(is_plaintext=True)),
    ],
)
def test_what_is_not_sure_to_be_right_stays_null(field_class: FieldClass, keyring: Keyring) -> None:
    assert Replacements(keyring).choose(field_class) == NULL
