"""What a document is after its covered values are gone."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.binary import Binary

from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import binary, is_envelope
from sealwire.keys.contexts import shredding
from sealwire.keys.contexts.cache import ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.keyring.data_key import DataKey, KeyState, generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PER_DATABASE, FieldClass, Mode, ValueType
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
from sealwire.sidecars.erasure.stored_forms import Persons, key_id_of, spellings, stored_forms
from sealwire.sidecars.errors import ErasureReason, Unusable
from sealwire.wire import kinds
from tests.keys.samples import NOW
from tests.support.reasons import raising

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


# The forms in which an identifier is looked for, and whose a stored value is.


KEY = PseudonymKey(bytes(range(32)))
NHS = FieldClass("nhs", Mode.DETERMINISTIC, ValueType.STRING)
KEYED = replace(NHS, per=PER_DATABASE)
OF_ANNE = Identifier(kinds.STRING, b"\5\0\0\0anne\0")
OF_BILL = Identifier(kinds.STRING, b"\5\0\0\0bill\0")


def key(version: int, state: KeyState, *, is_plaintext: bool = False) -> DataKey:
    return generate_data_key("nhs", 7, version, NOW, state, is_plaintext=is_plaintext)


def stored(keyring: Keyring, version: int, identifier: Identifier = OF_ANNE) -> Value:
    cipher = keyring.cipher_by_id(7, version)
    return kinds.BIN_DATA, binary(cipher.encrypt_deterministically(*identifier))


@pytest.fixture
def contexts(tmp_path: Path) -> Iterator[SqliteContextStore]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        yield store


def test_every_version_that_opens_is_looked_for_and_nothing_in_clear() -> None:
    keyring = Keyring([key(1, KeyState.DECRYPT_ONLY), key(2, KeyState.ACTIVE), key(3, KeyState.PENDING)])
    found = stored_forms(OF_ANNE, NHS, keyring, None)
    assert set(found.forms) == {stored(keyring, version) for version in (1, 2, 3)}
    assert found.not_searched == ()
    assert stored(keyring, 2) in found
    assert stored(keyring, 2, OF_BILL) not in found


def test_a_retired_version_is_told_of_and_a_destroyed_one_holds_nothing() -> None:
    gone = replace(key(1, KeyState.ACTIVE), state=KeyState.DESTROYED, material=None)
    keyring = Keyring([gone, key(2, KeyState.RETIRED), key(3, KeyState.ACTIVE)])
    found = stored_forms(OF_ANNE, NHS, keyring, None)
    assert found.forms == (stored(keyring, 3),)
    assert found.not_searched == ("nhs version 2: retired",)


@pytest.mark.parametrize("states", [("in", "out"), ("out", "in")])
def test_while_a_class_is_taken_in_or_given_back_both_forms_are_looked_for(states: tuple[str, str]) -> None:
    keyring = Keyring(
        [
            key(1, KeyState.ACTIVE, is_plaintext=states[0] == "in"),
            key(2, KeyState.PENDING, is_plaintext=states[1] == "in"),
        ]
    )
    encrypted = 2 if states[0] == "in" else 1
    assert set(stored_forms(OF_ANNE, NHS, keyring, None).forms) == {
        tuple(OF_ANNE),
        stored(keyring, encrypted),
    }


def test_the_batches_are_all_of_them() -> None:
    keyring = Keyring([key(1, KeyState.DECRYPT_ONLY), key(2, KeyState.ACTIVE), key(3, KeyState.PENDING)])
    found = stored_forms(OF_ANNE, NHS, keyring, None)
    assert [len(batch) for batch in found.batches(2)] == [2, 1]
    assert sum(found.batches(2), ()) == found.forms


def test_in_contexts_there_is_a_form_under_each_key(contexts: SqliteContextStore) -> None:
    keyring = Keyring([key(1, KeyState.ACTIVE)])
    wanted = [ContextWanted("nhs", each, True) for each in (b"$clinic", b"$east")]
    found = Resolver(contexts).find(keyring, wanted).by_context
    keys = [each for each in found.values() if each is not None and each.key is not None]
    forms = [
        (kinds.BIN_DATA, binary(ContextCipher(each.key, 7, each.key_id).encrypt_deterministically(*OF_ANNE)))
        for each in keys
        if each.key is not None
    ]
    made = stored_forms(OF_ANNE, KEYED, keyring, contexts)
    assert set(made.forms) == set(forms)
    assert {key_id_of(*form) for form in forms} == {each.key_id for each in keys}
    persons = Persons(KEY, KEYED, keyring, contexts)
    assert {persons.pseudonym(*form) for form in forms} == {KEY.pseudonym(OF_ANNE)}
    with raising(Unusable, ErasureReason.CONTEXTS):
        stored_forms(OF_ANNE, KEYED, keyring, None)


def test_a_stored_value_says_whose_it_is() -> None:
    keyring = Keyring([key(1, KeyState.ACTIVE)])
    persons = Persons(KEY, NHS, keyring, None)
    envelope = stored(keyring, 1, OF_BILL)
    assert persons.pseudonym(*envelope) == persons.pseudonym(*OF_BILL) == KEY.pseudonym(OF_BILL)
    damaged = envelope[1][:-1] + bytes((envelope[1][-1] ^ 1,))
    unknown = stored(Keyring([key(1, KeyState.ACTIVE)]), 1)
    for value in ((kinds.BIN_DATA, damaged), unknown, (kinds.INT, b"\1\0\0\0")):
        assert persons.pseudonym(*value) is None


def test_a_value_whose_key_was_destroyed_is_nobodys(contexts: SqliteContextStore) -> None:
    first = key(1, KeyState.DECRYPT_ONLY)
    envelope = stored(Keyring([first]), 1)
    gone = Keyring([replace(first, state=KeyState.DESTROYED, material=None), key(2, KeyState.ACTIVE)])
    persons = Persons(KEY, NHS, gone, None)
    assert (persons.pseudonym(*envelope), persons.is_gone(*envelope)) == (None, True)
    assert not persons.is_gone(*OF_ANNE)
    assert not persons.is_gone(*stored(gone, 2))
    assert not persons.is_gone(kinds.BIN_DATA, stored(gone, 2)[1][:-1])

    keyring = Keyring([key(1, KeyState.ACTIVE)])
    found = Resolver(contexts).find(keyring, [ContextWanted("nhs", b"$clinic", True)])
    row = contexts.find_ids([each.key_id for each in found.by_context.values() if each is not None])[0]
    (envelope,) = stored_forms(OF_ANNE, KEYED, keyring, contexts).forms
    assert not Persons(KEY, KEYED, keyring, contexts).is_gone(*envelope)
    shredding.shred(contexts, shredding.announce(contexts, row, NOW, timedelta(0)), NOW)
    persons = Persons(KEY, KEYED, keyring, contexts)
    assert (persons.pseudonym(*envelope), persons.is_gone(*envelope)) == (None, True)
    assert stored_forms(OF_ANNE, KEYED, keyring, contexts).forms == ()


def test_what_is_no_envelope_has_no_key_of_a_context() -> None:
    keyring = Keyring([key(1, KeyState.ACTIVE)])
    assert key_id_of(*stored(keyring, 1)) is None
    assert key_id_of(*OF_ANNE) is None
    short = b"\3\0\0\0\x80SW\2"
    assert is_envelope(kinds.BIN_DATA, short)
    assert key_id_of(kinds.BIN_DATA, short) is None


def test_nothing_of_a_person_is_shown() -> None:
    keyring = Keyring([key(1, KeyState.ACTIVE)])
    found = stored_forms(OF_ANNE, NHS, keyring, None)
    assert "anne" not in repr(found) + repr(Persons(KEY, NHS, keyring, None))
    assert repr(found.forms[0][1]) not in repr(found)


# Which spellings of an identifier mean the same person, and which do not.


def written(text: str) -> list[str]:
    found = spellings(Identifier(kinds.STRING, bson.encode({"": text})[6:-1]))
    return [each.value[4:-1].decode() for each in found]


SPELLINGS = {"9434765870", "943 476 5870", "943-476-5870", "943476 5870", "943476-5870"}


@pytest.mark.parametrize("given", sorted(SPELLINGS))
def test_a_number_of_ten_digits_has_its_usual_groups(given: str) -> None:
    found = written(given)
    assert (found[0], set(found), len(found)) == (given, SPELLINGS, len(SPELLINGS))


def test_a_national_insurance_number() -> None:
    assert set(written("QQ 12 34 56 C")) == {"QQ123456C", "QQ 12 34 56 C", "QQ-12-34-56-C"}


@pytest.mark.parametrize("given", ["anne", "1-11", "11-1", "94 34 76 58 70", "94347658701", "é", ""])
def test_of_any_other_only_itself_is_looked_for(given: str) -> None:
    assert written(given) == [given]


def test_a_value_that_is_no_string_has_one_spelling() -> None:
    number = Identifier(kinds.LONG, bytes(8))
    assert spellings(number) == (number,)
