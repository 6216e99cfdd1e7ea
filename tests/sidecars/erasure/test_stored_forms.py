"""The forms in which an identifier is looked for, and whose a stored value is."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import bson
import pytest

from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import binary, is_envelope
from sealwire.keys.contexts import shredding
from sealwire.keys.contexts.cache import ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.keyring.data_key import DataKey, KeyState, generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import PER_DATABASE, FieldClass, Mode, ValueType
from sealwire.sidecars.direct import Value
from sealwire.sidecars.erasure.stored_forms import Persons, key_id_of, spellings, stored_forms
from sealwire.sidecars.errors import ErasureReason, Unusable
from sealwire.wire import kinds
from tests.keys.samples import NOW

KEY = PseudonymKey(bytes(range(32)))
NHS = FieldClass("nhs", Mode.DETERMINISTIC, ValueType.STRING)
KEYED = replace(NHS, per=PER_DATABASE)
ANNE = Identifier(kinds.STRING, b"\5\0\0\0anne\0")
BILL = Identifier(kinds.STRING, b"\5\0\0\0bill\0")


def key(version: int, state: KeyState, *, is_plaintext: bool = False) -> DataKey:
    return generate_data_key("nhs", 7, version, NOW, state, is_plaintext=is_plaintext)


def stored(keyring: Keyring, version: int, identifier: Identifier = ANNE) -> Value:
    cipher = keyring.cipher_by_id(7, version)
    return kinds.BIN_DATA, binary(cipher.encrypt_deterministically(*identifier))


@pytest.fixture
def contexts(tmp_path: Path) -> Iterator[SqliteContextStore]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        yield store


def test_every_version_that_opens_is_looked_for_and_nothing_in_clear() -> None:
    keyring = Keyring([key(1, KeyState.DECRYPT_ONLY), key(2, KeyState.ACTIVE), key(3, KeyState.PENDING)])
    found = stored_forms(ANNE, NHS, keyring, None)
    assert set(found.forms) == {stored(keyring, version) for version in (1, 2, 3)}
    assert found.not_searched == ()
    assert stored(keyring, 2) in found
    assert stored(keyring, 2, BILL) not in found


def test_a_retired_version_is_told_of_and_a_destroyed_one_holds_nothing() -> None:
    gone = replace(key(1, KeyState.ACTIVE), state=KeyState.DESTROYED, material=None)
    keyring = Keyring([gone, key(2, KeyState.RETIRED), key(3, KeyState.ACTIVE)])
    found = stored_forms(ANNE, NHS, keyring, None)
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
    assert set(stored_forms(ANNE, NHS, keyring, None).forms) == {tuple(ANNE), stored(keyring, encrypted)}


def test_the_batches_are_all_of_them() -> None:
    keyring = Keyring([key(1, KeyState.DECRYPT_ONLY), key(2, KeyState.ACTIVE), key(3, KeyState.PENDING)])
    found = stored_forms(ANNE, NHS, keyring, None)
    assert [len(batch) for batch in found.batches(2)] == [2, 1]
    assert sum(found.batches(2), ()) == found.forms


def test_in_contexts_there_is_a_form_under_each_key(contexts: SqliteContextStore) -> None:
    keyring = Keyring([key(1, KeyState.ACTIVE)])
    wanted = [ContextWanted("nhs", each, True) for each in (b"$clinic", b"$east")]
    found = Resolver(contexts).find(keyring, wanted).by_context
    keys = [each for each in found.values() if each is not None and each.key is not None]
    forms = [
        (kinds.BIN_DATA, binary(ContextCipher(each.key, 7, each.key_id).encrypt_deterministically(*ANNE)))
        for each in keys
        if each.key is not None
    ]
    made = stored_forms(ANNE, KEYED, keyring, contexts)
    assert set(made.forms) == set(forms)
    assert {key_id_of(*form) for form in forms} == {each.key_id for each in keys}
    persons = Persons(KEY, KEYED, keyring, contexts)
    assert {persons.pseudonym(*form) for form in forms} == {KEY.pseudonym(ANNE)}
    with pytest.raises(Unusable) as caught:
        stored_forms(ANNE, KEYED, keyring, None)
    assert caught.value.reason is ErasureReason.CONTEXTS


def test_a_stored_value_says_whose_it_is() -> None:
    keyring = Keyring([key(1, KeyState.ACTIVE)])
    persons = Persons(KEY, NHS, keyring, None)
    envelope = stored(keyring, 1, BILL)
    assert persons.pseudonym(*envelope) == persons.pseudonym(*BILL) == KEY.pseudonym(BILL)
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
    assert not persons.is_gone(*ANNE)
    assert not persons.is_gone(*stored(gone, 2))
    assert not persons.is_gone(kinds.BIN_DATA, stored(gone, 2)[1][:-1])

    keyring = Keyring([key(1, KeyState.ACTIVE)])
    found = Resolver(contexts).find(keyring, [ContextWanted("nhs", b"$clinic", True)])
    row = contexts.find_ids([each.key_id for each in found.by_context.values() if each is not None])[0]
    (envelope,) = stored_forms(ANNE, KEYED, keyring, contexts).forms
    assert not Persons(KEY, KEYED, keyring, contexts).is_gone(*envelope)
    shredding.shred(contexts, shredding.announce(contexts, row, NOW, timedelta(0)), NOW)
    persons = Persons(KEY, KEYED, keyring, contexts)
    assert (persons.pseudonym(*envelope), persons.is_gone(*envelope)) == (None, True)
    assert stored_forms(ANNE, KEYED, keyring, contexts).forms == ()


def test_what_is_no_envelope_has_no_key_of_a_context() -> None:
    keyring = Keyring([key(1, KeyState.ACTIVE)])
    assert key_id_of(*stored(keyring, 1)) is None
    assert key_id_of(*ANNE) is None
    short = b"\3\0\0\0\x80SW\2"
    assert is_envelope(kinds.BIN_DATA, short)
    assert key_id_of(kinds.BIN_DATA, short) is None


def test_nothing_of_a_person_is_shown() -> None:
    keyring = Keyring([key(1, KeyState.ACTIVE)])
    found = stored_forms(ANNE, NHS, keyring, None)
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
