"""What a stored value is judged to be, and what a scan counts in documents as they are stored."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary

from sealwire.crypto.envelope import SUBTYPE, EnvelopeMode
from sealwire.keys.contexts.cache import ContextCache, ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.keyring.data_key import DataKey, KeyIds, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import ClassRecord, KeyRecord, KeyringRecord
from sealwire.policies.file.schema import FieldClass, Mode, ValueType
from sealwire.policies.planning.contexts import stored_context
from sealwire.sidecars.direct import array, element, identity_of, is_envelope_value, one_of
from sealwire.sidecars.drift.scan import Census, Condition, ContextJudge, Keys, PathReport
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import enclosed
from tests.keys.samples import NOW
from tests.sidecars.drift_samples import KEYS, NHS, NOTE, NOTES, OLD, envelope, policy, stored
from tests.support.policies import policy_of

OURS = envelope()


def reports(rules: str, *documents: dict[str, Any]) -> dict[str, PathReport]:
    found = Census(policy(rules), KEYS)
    for each in documents:
        found.read(bson.encode(each))
    assert found.documents == len(documents)
    return {each.path: each for each in found.report()}


def counts(rules: str, *documents: dict[str, Any]) -> dict[str, dict[Condition, int]]:
    return {path: each.values for path, each in reports(rules, *documents).items()}


def test_values_are_counted_by_path_and_condition() -> None:
    found = reports(
        "nhs: nhs, notes: notes",
        {"nhs": OURS, "notes": NOTE},
        {"nhs": "943", "notes": None},
        {"nhs": envelope(version=2)},
        {},
    )
    nhs = {Condition.PROTECTED: 1, Condition.PLAINTEXT: 1, Condition.LEFT_BEHIND: 1}
    assert found["nhs"] == PathReport("nhs", "nhs", 3, nhs)
    assert found["notes"] == PathReport("notes", "notes", 2, {Condition.PROTECTED: 1})
    assert (found["nhs"].is_sound, found["notes"].is_sound) == (False, True)


def test_paths_see_through_arrays_documents_and_numbers() -> None:
    contact = {"nhs": OURS}
    assert counts("a.nhs: nhs", {"a": [contact, [contact], {"5": contact}, 1, None]}) == {
        "a.nhs": {Condition.PROTECTED: 3}
    }


def test_each_element_of_a_deterministic_array_counts_and_a_random_one_is_one_value() -> None:
    array = [OURS, [OURS, "x"], None]
    found = counts("nhs: nhs, notes: notes", {"nhs": array, "notes": ["a", "b"]})
    assert found["nhs"] == {Condition.PROTECTED: 2, Condition.PLAINTEXT: 1}
    assert found["notes"] == {Condition.PLAINTEXT: 1}


def test_a_document_in_a_covered_path_is_plaintext_whatever_it_holds() -> None:
    assert counts("nhs: nhs", {"nhs": {"x": OURS}}) == {"nhs": {Condition.PLAINTEXT: 1}}


def test_an_empty_array_is_present_and_holds_nothing() -> None:
    assert reports("nhs: nhs", {"nhs": []})["nhs"] == PathReport("nhs", "nhs", 1, {})


@pytest.mark.parametrize(
    ("rules", "path", "document", "hint"),
    [
        ("nhs_numbr: nhs", "nhs_numbr", {"nhs_number": "x"}, "nhs_number"),
        ("adress.post: nhs", "adress.post", {"address": {"post": "x"}}, "address.post"),
        ("address.pst: nhs", "address.pst", {"address": [{"post": "x"}]}, "address.post"),
        ("nhs: nhs", "nhs", {"colour": "x"}, ""),
    ],
)
def test_a_path_that_nobody_has_gets_the_nearest_name(
    rules: str, path: str, document: dict[str, Any], hint: str
) -> None:
    found = reports(rules, document)[path]
    assert (found.documents, found.hint) == (0, hint)


def test_names_for_hints_are_bounded() -> None:
    many = {f"field{number}": 1 for number in range(600)} | {"nhs_number": 1}
    assert reports("nhs_numbr: nhs", many)["nhs_numbr"].hint == ""


def test_nothing_of_a_value_is_in_a_report() -> None:
    assert "SECRET" not in repr(reports("nhs: nhs, notes: notes", {"nhs": "SECRET", "notes": {"SECRET": 1}}))


def test_what_is_no_document_is_said() -> None:
    with pytest.raises(BsonError):
        Census(policy("nhs: nhs"), KEYS).read(b"\x05\0\0\0")


def test_a_document_without_end_of_depth_is_read_to_a_bound() -> None:
    deep: dict[str, Any] = {"nhs": "x"}
    for _ in range(150):
        deep = {"1": deep}
    assert counts("nhs: nhs", deep) == {"nhs": {Condition.PLAINTEXT: 1}}


# ------------------------------------------------------------------------ the condition of one stored value


FIELD = FieldClass("nhs", Mode.DETERMINISTIC, ValueType.STRING)


@pytest.mark.parametrize(
    ("value", "condition"),
    [
        (envelope(), Condition.PROTECTED),
        (envelope(version=2), Condition.LEFT_BEHIND),
        (envelope(version=1), Condition.DESTROYED_KEY),
        (envelope(version=4), Condition.UNKNOWN_KEY),
        (envelope(class_id=12), Condition.UNKNOWN_KEY),
        (envelope(mode=EnvelopeMode.RANDOM), Condition.OTHER_CLASS),
        (envelope(NOTES, 1), Condition.OTHER_CLASS),
        (envelope(OLD, 1), Condition.OTHER_CLASS),
        (NOTE, Condition.OTHER_CLASS),
        (Binary(bytes(envelope())[:20], SUBTYPE), Condition.DAMAGED),
        (Binary(b"SW\x02" + bytes(60), SUBTYPE), Condition.DAMAGED),
        (Binary(b"SX\x01" + bytes(60), SUBTYPE), Condition.PLAINTEXT),
        (Binary(bytes(envelope()), 0), Condition.PLAINTEXT),
        (Binary(bytes(envelope()), 6), Condition.PLAINTEXT),
        (Binary(b"", SUBTYPE), Condition.PLAINTEXT),
    ],
)
def test_a_binary_is_what_its_header_and_the_keyring_say(value: Binary, condition: Condition) -> None:
    assert KEYS.judge(kinds.BIN_DATA, stored(value), FIELD) is condition


@pytest.mark.parametrize("kind", [kinds.STRING, kinds.OBJECT, kinds.ARRAY, kinds.BOOL])
def test_what_is_no_binary_is_plaintext_whatever_its_bytes(kind: int) -> None:
    assert KEYS.judge(kind, stored(envelope()), FIELD) is Condition.PLAINTEXT


def test_a_retired_key_is_told_apart_from_one_that_opens_and_one_that_is_gone() -> None:
    versions = (KeyRecord(1, KeyState.RETIRED, NOW, b"w"), KeyRecord(2, KeyState.ACTIVE, NOW, b"w"))
    record = KeyringRecord(1, "local:0", b"m", (ClassRecord("nhs", 7, versions),), bytes(32), NOW)
    retired = Keys.of(record)
    found = [retired.judge(kinds.BIN_DATA, stored(envelope(version=version)), FIELD) for version in (1, 2)]
    assert found == [Condition.RETIRED_KEY, Condition.PROTECTED]


def test_the_class_s_own_key_is_an_older_one_where_each_context_has_one() -> None:
    keyed = FieldClass("nhs", Mode.DETERMINISTIC, ValueType.STRING, per=b"tenant")
    assert KEYS.judge(kinds.BIN_DATA, stored(envelope()), keyed) is Condition.LEFT_BEHIND


@pytest.mark.parametrize(
    ("mode", "newest", "expected"),
    [
        (
            Mode.DETERMINISTIC,
            KeyState.ACTIVE,
            [Condition.LEFT_BEHIND, Condition.LEFT_BEHIND, Condition.PROTECTED],
        ),
        # while it moves, what the frontier has not passed is where it should be
        (
            Mode.DETERMINISTIC,
            KeyState.PENDING,
            [Condition.OLDER_KEY, Condition.OLDER_KEY, Condition.PROTECTED],
        ),
        # a key that was cancelled is none that values move to
        (
            Mode.DETERMINISTIC,
            KeyState.RETIRED,
            [Condition.LEFT_BEHIND, Condition.PROTECTED, Condition.RETIRED_KEY],
        ),
        (Mode.RANDOM, KeyState.ACTIVE, [Condition.OLDER_KEY, Condition.OLDER_KEY, Condition.PROTECTED]),
    ],
)
def test_what_an_older_key_encrypted_is_left_behind_in_a_deterministic_class_that_does_not_move(
    mode: Mode, newest: KeyState, expected: list[Condition]
) -> None:
    second = KeyState.DECRYPT_ONLY if newest is KeyState.ACTIVE else KeyState.ACTIVE
    states = (KeyState.DECRYPT_ONLY, second, newest)
    versions = tuple(KeyRecord(number + 1, state, NOW, b"w") for number, state in enumerate(states))
    keys = Keys.of(KeyringRecord(1, "local:0", b"m", (ClassRecord("nhs", 7, versions),), bytes(32), NOW))
    kind = EnvelopeMode.RANDOM if mode is Mode.RANDOM else EnvelopeMode.DETERMINISTIC
    field_class = FieldClass("nhs", mode, ValueType.STRING)
    found = [stored(envelope(version=version, mode=kind)) for version in (1, 2, 3)]
    assert [keys.judge(kinds.BIN_DATA, each, field_class) for each in found] == expected


def test_a_class_without_a_key_has_no_envelope() -> None:
    other = FieldClass("none", Mode.DETERMINISTIC, ValueType.STRING)
    assert KEYS.judge(kinds.BIN_DATA, stored(envelope()), other) is Condition.OTHER_CLASS


def test_only_ciphertext_that_opens_is_sound() -> None:
    sound = {each for each in Condition if each.is_sound}
    assert sound == {Condition.PROTECTED, Condition.OLDER_KEY, Condition.DECLARED}


def test_a_class_in_clear_is_sound_only_if_the_policy_declares_it() -> None:
    keys = replace(KEYS, in_clear=frozenset({"nhs"}))
    declared = replace(FIELD, accepts_plaintext=True)
    found = [keys.judge(kinds.STRING, b"x", each) for each in (FIELD, declared)]
    assert found == [Condition.IN_CLEAR, Condition.DECLARED]
    # what the policy says of a class that is encrypted in the keyring makes no plaintext right
    assert KEYS.judge(kinds.STRING, b"x", declared) is Condition.PLAINTEXT


@pytest.mark.parametrize(
    ("old", "new", "condition"),
    [
        (True, None, Condition.IN_CLEAR),
        (True, False, Condition.IN_CLEAR),
        (False, True, Condition.IN_CLEAR),
        (False, None, Condition.PLAINTEXT),
        (False, False, Condition.PLAINTEXT),
    ],
)
def test_a_class_that_is_in_clear_or_moves_from_or_to_it_may_be(
    old: bool, new: bool | None, condition: Condition
) -> None:
    def key(version: int, state: KeyState, is_plaintext: bool) -> KeyRecord:
        return KeyRecord(version, state, NOW, b"w", is_plaintext=is_plaintext)

    versions = [key(1, KeyState.ACTIVE, old), *([] if new is None else [key(2, KeyState.PENDING, new)])]
    record = KeyringRecord(1, "local:0", b"m", (ClassRecord("nhs", 7, tuple(versions)),), bytes(32), NOW)
    keys = Keys.of(record)
    assert keys.judge(kinds.STRING, b"", FIELD) is condition
    # a random class is never in clear on purpose
    random = FieldClass("nhs", Mode.RANDOM, None)
    assert keys.judge(kinds.STRING, b"", random) is Condition.PLAINTEXT


def test_a_class_that_was_taken_in_is_in_clear_no_more() -> None:
    versions = (
        KeyRecord(1, KeyState.DECRYPT_ONLY, NOW, b"w", is_plaintext=True),
        KeyRecord(2, KeyState.ACTIVE, NOW, b"w"),
    )
    record = KeyringRecord(1, "local:0", b"m", (ClassRecord("nhs", 7, versions),), bytes(32), NOW)
    assert Keys.of(record).judge(kinds.STRING, b"", FIELD) is Condition.PLAINTEXT


def test_an_envelope_of_a_borrowed_key_is_right_in_both_classes() -> None:
    lent = KeyRecord(3, KeyState.ACTIVE, NOW, b"w")
    versions = (
        KeyRecord(1, KeyState.DECRYPT_ONLY, NOW, b"w", lender=KeyIds(7, 3)),
        KeyRecord(2, KeyState.ACTIVE, NOW, b"w"),
    )
    joined = (KeyRecord(9, KeyState.ACTIVE, NOW, b"w", lender=KeyIds(7, 3)),)
    classes = (ClassRecord("nhs", 7, (lent,)), ClassRecord("left", 8, versions), ClassRecord("in", 9, joined))
    keys = Keys.of(
        KeyringRecord(1, "local:0", b"m", (*classes, ClassRecord("x", 10, (lent,))), bytes(32), NOW)
    )

    def judge(name: str, value: Binary = envelope(7, 3)) -> Condition:  # noqa: B008 - it never changes
        field = FieldClass(name, Mode.DETERMINISTIC, ValueType.STRING)
        return keys.judge(kinds.BIN_DATA, stored(value), field)

    assert [judge(name) for name in ("nhs", "in", "left", "x")] == [
        Condition.PROTECTED,
        Condition.PROTECTED,
        Condition.LEFT_BEHIND,
        Condition.OTHER_CLASS,
    ]
    assert judge("left", envelope(8, 2)) is Condition.PROTECTED
    # no envelope names a version that is borrowed
    assert judge("in", envelope(9, 9)) is Condition.UNKNOWN_KEY
    assert judge("nhs", envelope(8, 2)) is Condition.OTHER_CLASS
    assert judge("in", envelope(7, 2)) is Condition.UNKNOWN_KEY


# ---------------------------------------------------------------- envelopes in documents of another context


KEYRING = Keyring([DataKey("nhs", NHS, 3, KeyState.ACTIVE, NOW, bytes(range(64)))])
POLICY = policy_of("""
version: 1
classes:
  nhs: {mode: deterministic, type: string, key: {per: tenant}}
collections:
  clinic.patients: {nhs: nhs, kin.nhs: nhs}
""")
TREE = POLICY.collections["clinic.patients"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteContextStore]:
    with closing(SqliteContextStore(tmp_path / "contexts.db", create=True)) as store:
        yield store


def tenant_envelope(store: SqliteContextStore, tenant: Any) -> Binary:
    """The same value for each tenant."""
    context = stored_context(b"tenant", "clinic.patients", "nhs", bson.encode({"tenant": tenant}), 0)
    assert context is not None
    cache, wanted = ContextCache(), ContextWanted("nhs", context, True)
    cache.put(Resolver(store).find(KEYRING, [wanted]))
    cipher = cache.cipher_for(wanted)
    assert cipher is not None
    inside = bson.encode({"v": "943"})[7:-1]
    return Binary(cipher.encrypt_deterministically(kinds.STRING, inside), SUBTYPE)


def conditions(store: SqliteContextStore | None, *documents: dict[str, Any]) -> dict[Condition, int]:
    judge = None if store is None else ContextJudge(store, KEYRING)
    census = Census(TREE, KEYS, "clinic.patients", judge)
    for each in documents:
        census.read(bson.encode(each))
    found: dict[Condition, int] = {}
    for path in census.report():
        for condition, count in path.values.items():
            found[condition] = found.get(condition, 0) + count
    return found


def test_an_envelope_of_another_context_is_found_and_no_sound_one(store: SqliteContextStore) -> None:
    north, south = tenant_envelope(store, "north"), tenant_envelope(store, 5)
    documents = (
        {"tenant": "north", "nhs": north, "kin": [{"nhs": north}]},
        {"tenant": 5, "nhs": south},
        {"tenant": "south", "nhs": north},
        {"tenant": "north", "kin": [{"nhs": south}, {"nhs": north}]},
        {"nhs": north},
    )
    assert conditions(store, *documents) == {Condition.PROTECTED: 4, Condition.OTHER_CONTEXT: 3}
    # without the store nobody can say it
    assert conditions(None, *documents) == {Condition.PROTECTED: 7}
    assert not Condition.OTHER_CONTEXT.is_sound


def test_a_key_that_the_store_does_not_have_is_unknown(store: SqliteContextStore, tmp_path: Path) -> None:
    tenant_envelope(store, "north")
    with closing(SqliteContextStore(tmp_path / "another.db", create=True)) as another:
        foreign = tenant_envelope(another, "north")
    assert conditions(store, {"tenant": "north", "nhs": foreign}) == {Condition.UNKNOWN_KEY: 1}


# Documents put together as bytes are those that a driver would write.


ONE = (kinds.INT, b"\1\0\0\0")
TEXT = (kinds.STRING, b"\2\0\0\0x\0")


def test_what_a_driver_writes() -> None:
    assert enclosed() == bson.encode({})
    assert enclosed(element(ONE[0], b"a", ONE[1])) == bson.encode({"a": 1})
    assert array([ONE, TEXT]) == bson.encode({"0": 1, "1": "x"})
    assert enclosed(one_of(b"a.b", [ONE, TEXT])) == bson.encode({"a.b": {"$in": [1, "x"]}})


def test_the_element_that_names_a_document() -> None:
    assert identity_of(bson.encode({"a": 1, "_id": 5})) == element(kinds.INT, b"_id", b"\5\0\0\0")
    with pytest.raises(ValueError, match="without _id"):
        identity_of(bson.encode({"a": 1}))


def test_an_envelope_among_decoded_values() -> None:
    assert is_envelope_value(envelope())
    assert not is_envelope_value(Binary(bytes(envelope()), 0))
    assert not is_envelope_value(Binary(b"x", 0x80))
    assert not is_envelope_value(bytes(envelope()))
