"""Whose each part of a document is, and what a change of the person's parts names."""

from typing import Any

import bson
import pytest
from bson.binary import Binary

from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.erasure.overwriting import Emptied, null_of
from sealwire.sidecars.erasure.ownership import Ownership, SharedParts, located
from sealwire.sidecars.raw_documents import Value
from sealwire.wire import kinds

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
