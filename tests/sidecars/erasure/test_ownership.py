"""What a document is after its covered values are gone."""

from typing import Any

import bson
import pytest
from bson.binary import Binary

from sealwire.keys.keyring.data_key import KeyState, generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import FieldClass, Mode, ValueType
from sealwire.sidecars.direct import Value
from sealwire.sidecars.erasure.ownership import (
    NULL,
    Emptied,
    Ownership,
    Replacements,
    SharedParts,
    emptied,
    located,
    null_of,
)
from sealwire.wire import kinds
from tests.keys.samples import NOW

OVERWRITTEN_RULES = b"""
version: 1
classes: {nhs: {mode: deterministic, type: string}, notes: {mode: random}}
collections: {clinic.patients: {nhs: nhs, phones: nhs, visits.note: notes, visits.nhs: nhs, box: notes}}
"""
OVERWRITTEN_TREE = load_policy(OVERWRITTEN_RULES, "policy.yaml").collections["clinic.patients"]
ENVELOPE = Binary(b"SW-and-more", 0x80)


def changed(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the filter says, and what is set."""
    made = emptied(bson.encode(document), OVERWRITTEN_TREE, null_of)
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
    assert emptied(bson.encode(document), OVERWRITTEN_TREE, null_of) is None


def test_numbers_as_names_are_seen_through_as_everywhere() -> None:
    assert changed({"visits": {"3": {"note": ENVELOPE}}})[1] == {"visits.3.note": None}


def test_what_no_update_can_name_stays() -> None:
    twice = bson.encode({"nhs": ENVELOPE, "nhx": ENVELOPE}).replace(b"nhx", b"nhs")
    assert emptied(twice, OVERWRITTEN_TREE, null_of) is None


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


# Whose each part of a document is, and what a change of the person's parts names.

RULES = b"""
version: 1
classes: {nhs: {mode: deterministic, type: string}, notes: {mode: random}}
collections:
  clinic.patients: {nhs: nhs, kin_nhs: nhs, note: notes, kin.nhs: nhs, kin.note: notes, kin.of.nhs: nhs}
"""
TREE = load_policy(RULES, "policy.yaml").collections["clinic.patients"]
ANNE, BILL, GONE, NOTE = (Binary(b"SW-%b" % name, 0x80) for name in (b"anne", b"bill", b"gone", b"note"))


def whose(value: Value) -> bool | None:
    return None if value[1].endswith(b"gone") else value[1].endswith(b"anne")


def owned(content: dict[str, Any] | bytes) -> Ownership:
    raw = content if isinstance(content, bytes) else bson.encode(content)
    return Ownership(raw, TREE, "nhs", whose)


def parts(content: dict[str, Any] | bytes) -> SharedParts:
    found = owned(content)
    assert found.is_shared
    return found.parts(())


def update(change: Emptied | None) -> dict[str, Any] | None:
    return None if change is None else bson.decode(change.update)


@pytest.mark.parametrize(
    "content",
    [{"nhs": ANNE, "note": NOTE}, {"nhs": [ANNE, GONE], "kin": {"nhs": ANNE}}, {"kin": [{"nhs": ANNE}]}],
)
def test_a_document_of_one_person_is_not_shared(content: dict[str, Any]) -> None:
    assert not owned(content).is_shared


@pytest.mark.parametrize(
    ("content", "emptied", "removed", "undecided"),
    [
        (
            {"_id": 1, "nhs": BILL, "note": NOTE, "kin": {"nhs": ANNE, "note": NOTE, "town": "Ely"}},
            {"$set": {"kin.nhs": None, "kin.note": None}},
            {"$unset": {"kin": None}},
            0,
        ),
        (
            {"_id": 1, "nhs": BILL, "kin": [{"nhs": BILL, "note": NOTE}, {"nhs": ANNE, "note": NOTE}]},
            {"$set": {"kin.1.nhs": None, "kin.1.note": None}},
            {"$set": {"kin.1": None}},
            0,
        ),
        (
            {"_id": 1, "nhs": ANNE, "note": NOTE, "ward": "B", "kin": {"nhs": BILL, "note": NOTE}},
            {"$set": {"nhs": None, "note": None}},
            {"$unset": {"nhs": None, "note": None, "ward": None}},
            0,
        ),
        (
            {"_id": 1, "nhs": BILL, "kin_nhs": ANNE, "note": NOTE},
            {"$set": {"kin_nhs": None}},
            {"$unset": {"kin_nhs": None}},
            1,
        ),
        (
            {"_id": 1, "nhs": [BILL, ANNE], "kin": {"note": NOTE}},
            {"$set": {"nhs.1": None}},
            {"$set": {"nhs.1": None}},
            1,
        ),
        (
            {"_id": 1, "nhs": ANNE, "kin": {"nhs": BILL, "x": 1, "of": {"nhs": ANNE, "y": 1}}},
            {"$set": {"nhs": None, "kin.of.nhs": None}},
            {"$unset": {"nhs": None, "kin.of": None}},
            0,
        ),
    ],
)
def test_only_what_is_the_persons_is_changed(
    content: dict[str, Any], emptied: dict[str, Any], removed: dict[str, Any], undecided: int
) -> None:
    found = parts(content)
    assert update(found.emptied(null_of)) == emptied
    assert update(found.removed()) == removed
    assert found.undecided == undecided


def test_the_document_leads_on_only_if_it_is_the_persons_itself() -> None:
    assert parts({"nhs": ANNE, "kin": {"nhs": BILL}}).leads
    assert not parts({"nhs": BILL, "kin": {"nhs": ANNE}}).leads
    assert not parts({"nhs": [ANNE, BILL]}).leads


def test_a_change_names_what_was_read() -> None:
    change = parts({"nhs": BILL, "kin": {"nhs": ANNE, "note": "in clear"}}).removed()
    assert change is not None
    conditions = bson.decode((len(change.conditions) + 5).to_bytes(4, "little") + change.conditions + b"\0")
    assert conditions == {"kin.nhs": {"$eq": ANNE}, "kin.note": {"$type": 2}}


@pytest.mark.parametrize("name", [b"$x", b"a.b"])
def test_nothing_is_removed_if_an_update_would_mean_another_field(name: bytes) -> None:
    content = bson.encode({"nhs": ANNE, "z" * len(name): 1, "kin": {"nhs": BILL}})
    assert parts(content.replace(b"z" * len(name), name)).removed() is None


def test_links_say_whose_a_document_is_too() -> None:
    found = owned({"_id": 1, "of": [5, 6], "note": NOTE})
    found.led_by("of", lambda value: value[1][0] == 5)
    assert found.is_shared
    shared = found.parts(())
    assert (shared.paths, shared.undecided, shared.mine, shared.leads) == (("of",), 1, 1, False)
    assert shared.emptied(null_of) is None
    assert update(shared.removed()) == {"$set": {"of.0": None}}


def test_values_of_links_are_located_through_arrays() -> None:
    raw = bson.encode({"a": [{"b": 1}, {"b": [None]}, 5]})
    ((at, value),) = located(raw, "a.b")
    assert (value, raw[at]) == ((kinds.INT, b"\1\0\0\0"), 1)
