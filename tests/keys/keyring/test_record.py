"""What has to hold between a borrowed version and its lender's: in a file, in bytes, after a change."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys.errors import DamagedFile, KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyIds, KeyState
from sealwire.keys.keyring.file import KeyringWriter, change_keys, open_record, read_record
from sealwire.keys.keyring.record import (
    Breach,
    ClassRecord,
    KeyRecord,
    KeyringRecord,
    authenticated_bytes,
    broken_loans,
    format_time,
    is_same_material,
    parse_record,
    refuse_broken_loans,
    serialize_record,
)
from sealwire.keys.strict_json import encode, serialize
from tests.keys.samples import NOW, edit_json, key_of_first_class, local_kek, stored
from tests.support.reasons import raising

DESTROYED = KeyRecord(1, KeyState.DESTROYED, NOW, None)
OLD = KeyRecord(2, KeyState.DECRYPT_ONLY, NOW, b"old wrapped")
ACTIVE = KeyRecord(5, KeyState.ACTIVE, NOW, b"new wrapped")
RECORD = KeyringRecord(
    3,
    "local:0011",
    b"mac key",
    (ClassRecord("a", 7, (DESTROYED, OLD, ACTIVE)), ClassRecord("b", 8, (ACTIVE,))),
    b"m" * 32,
)
RETIRED = KeyRecord(3, KeyState.RETIRED, NOW, b"retired wrapped")
ENDING = replace(RETIRED, destroy_after=NOW)
PENDING = KeyRecord(6, KeyState.PENDING, NOW, b"newest wrapped")
SECOND = replace(
    RECORD, classes=(ClassRecord("a", 7, (DESTROYED, OLD, ENDING, ACTIVE, PENDING)),), wrapped_at=NOW
)
"""In the second format, with all that the first does not know."""


def document(record: KeyringRecord = RECORD) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(serialize_record(record))
    return parsed


def reason_after(change: Callable[[dict[str, Any]], object], record: KeyringRecord = RECORD) -> KeysReason:
    changed = document(record)
    change(changed)
    with pytest.raises(DamagedFile) as caught:
        parse_record(serialize(changed), "f")
    return caught.value.reason


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=NOW.tzinfo)
)


OLD_STATES = [KeyState.DECRYPT_ONLY, KeyState.RETIRED, KeyState.DESTROYED]


@st.composite
def key_lists(draw: st.DrawFn) -> tuple[KeyRecord, ...]:
    versions = sorted(draw(st.sets(st.integers(1, 2**32 - 1), min_size=1, max_size=4)))
    states = draw(st.lists(st.sampled_from(OLD_STATES), min_size=len(versions), max_size=len(versions)))
    states[draw(st.integers(0, len(versions) - 1))] = draw(st.sampled_from([KeyState.ACTIVE, *OLD_STATES]))
    if states[-1] is not KeyState.ACTIVE and draw(st.booleans()):
        states[-1] = KeyState.PENDING
    keys = []
    for state, version in zip(states, versions, strict=True):
        wrapped = None if state is KeyState.DESTROYED else draw(st.binary(min_size=1, max_size=90))
        destroy_after = draw(st.none() | moments) if state is KeyState.RETIRED else None
        keys.append(KeyRecord(version, state, draw(moments), wrapped, destroy_after))
    return tuple(keys)


@st.composite
def records(draw: st.DrawFn) -> KeyringRecord:
    ids = draw(st.lists(st.integers(1, 2**32 - 1), unique=True, max_size=4))
    class_names = draw(st.lists(names, unique=True, min_size=len(ids), max_size=len(ids)))
    classes = tuple(
        ClassRecord(name, class_id, draw(key_lists()))
        for name, class_id in zip(class_names, ids, strict=True)
    )
    mac_key = draw(st.binary(min_size=1, max_size=50))
    return KeyringRecord(draw(st.integers(1, 2**40)), "local:ab", mac_key, classes, bytes(32), draw(moments))


@given(record=records())
def test_what_is_serialized_is_parsed_again(record: KeyringRecord) -> None:
    assert parse_record(serialize_record(record), "f") == record


@given(raw=st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_what_is_documented(raw: bytes) -> None:
    with pytest.raises(DamagedFile):
        parse_record(raw, "f")


def first_class(change: dict[str, object]) -> Callable[[dict[str, Any]], None]:
    return lambda whole: whole["classes"][0].update(change)


SCHEMA_FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "other format": lambda whole: whole.update(format="something"),
    "unknown field": lambda whole: whole.update(extra=1),
    "missing mac": lambda whole: whole.pop("mac"),
    "short mac": lambda whole: whole.update(mac="AAAA"),
    "generation 0": lambda whole: whole.update(generation=0),
    "kek id with a space": lambda whole: whole.update(kek_id="a b"),
    "empty kek id": lambda whole: whole.update(kek_id=""),
    "empty mac key": lambda whole: whole.update(wrapped_mac_key=""),
    "classes an object": lambda whole: whole.update(classes={}),
    "long mac": lambda whole: whole.update(mac=encode(bytes(33))),
    "generation too large": lambda whole: whole.update(generation=2**63 + 1),
    "mac key too long": lambda whole: whole.update(wrapped_mac_key=encode(bytes(4097))),
    "material too long": key_of_first_class(2, {"wrapped": encode(bytes(4097))}),
    "empty material": key_of_first_class(2, {"wrapped": ""}),
    "kek id too long": lambda whole: whole.update(kek_id="a" * 10_000),
    "a class is a text": lambda whole: whole.update(classes=["a"]),
    "class name twice": lambda whole: whole["classes"][1].update(name="a"),
    "class id twice": lambda whole: whole["classes"][1].update(id=7),
    "class id 0": first_class({"id": 0}),
    "class id too large": first_class({"id": 2**32}),
    "class id a bool": first_class({"id": True}),
    "class name": first_class({"name": "9"}),
    "class without keys": first_class({"keys": []}),
    "unknown field in a class": first_class({"note": ""}),
    "versions out of order": lambda whole: whole["classes"][0]["keys"].reverse(),
    "version twice": key_of_first_class(1, {"version": 1}),
    "version 0": key_of_first_class(0, {"version": 0}),
    "unknown state": key_of_first_class(0, {"state": "sleeping"}),
    "two active keys": key_of_first_class(1, {"state": "active"}),
    "destroyed with material": key_of_first_class(1, {"state": "destroyed"}),
    "active without material": key_of_first_class(2, {"wrapped": None}),
    "material not base64": key_of_first_class(2, {"wrapped": "***"}),
    "time without zone": key_of_first_class(0, {"created": "2026-01-31T12:30:15"}),
    "no time": key_of_first_class(0, {"created": "yesterday"}),
    "unknown field in a key": key_of_first_class(0, {"material": ""}),
}


SECOND_FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no wrapped_at": lambda whole: whole.pop("wrapped_at"),
    "wrapped_at no time": lambda whole: whole.update(wrapped_at="today"),
    "pending and not the newest": key_of_first_class(1, {"state": "pending"}),
    "pending and last but one": key_of_first_class(3, {"state": "pending"}),
    "pending without material": key_of_first_class(4, {"wrapped": None}),
    "retired without material": key_of_first_class(2, {"wrapped": None}),
    "two active keys": key_of_first_class(4, {"state": "active"}),
    "waits and is not retired": key_of_first_class(2, {"state": "decrypt-only"}),
    "destroy_after no time": key_of_first_class(2, {"destroy_after": "soon"}),
    "destroy_after null": key_of_first_class(2, {"destroy_after": None}),
}
NEWER: dict[str, Callable[[dict[str, Any]], object]] = {
    "pending": key_of_first_class(2, {"state": "pending"}),
    "retired": key_of_first_class(1, {"state": "retired"}),
    "waits for its destruction": key_of_first_class(
        1, {"state": "retired", "destroy_after": "2026-01-31T12:30:15Z"}
    ),
    "wrapped_at": lambda whole: whole.update(wrapped_at="2026-01-31T12:30:15Z"),
}


@pytest.mark.parametrize("change", SECOND_FAULTS.values(), ids=SECOND_FAULTS)
def test_what_does_not_fit_the_second_format_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    assert parse_record(serialize_record(SECOND), "f") == SECOND
    assert reason_after(change, SECOND) is KeysReason.SCHEMA


@pytest.mark.parametrize("change", NEWER.values(), ids=NEWER)
def test_what_the_first_format_did_not_have_it_refuses(change: Callable[[dict[str, Any]], object]) -> None:
    assert reason_after(change) is KeysReason.SCHEMA


@pytest.mark.parametrize("change", SCHEMA_FAULTS.values(), ids=SCHEMA_FAULTS)
def test_what_does_not_fit_the_schema_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    assert reason_after(change) is KeysReason.SCHEMA


def test_a_record_as_large_as_it_may_be_is_read() -> None:
    keys = tuple(
        KeyRecord(version, KeyState.DECRYPT_ONLY, NOW, bytes(4096) if version == 1 else b"w")
        for version in range(1, 4097)
    )
    classes = [ClassRecord("c1", 2**32 - 1, keys)]
    classes += [ClassRecord(f"c{number}", number, (DESTROYED,)) for number in range(2, 4097)]
    record = KeyringRecord(1, "local:0011", bytes(4096), tuple(classes), bytes(32))
    assert parse_record(serialize_record(record), "f") == record

    too_long = KeyRecord(4097, KeyState.DECRYPT_ONLY, NOW, b"w")
    for changed in (
        [*classes, ClassRecord("c4097", 4097, (DESTROYED,))],
        [ClassRecord("c1", 1, (*keys, too_long))],
    ):
        larger = KeyringRecord(1, "local:0011", bytes(4096), tuple(changed), bytes(32))
        with raising(DamagedFile, KeysReason.SCHEMA):
            parse_record(serialize_record(larger), "f")


def test_numbers_at_their_bounds_are_read() -> None:
    keys = (KeyRecord(2**32 - 1, KeyState.ACTIVE, NOW, b"w"),)
    record = KeyringRecord(2**63, "a", b"m", (ClassRecord("c", 2**32 - 1, keys),), bytes(32))
    assert parse_record(serialize_record(record), "f") == record


def test_the_format_is_the_first_without_a_time_and_else_the_second() -> None:
    assert document()["version"] == 1
    assert document(SECOND)["version"] == 2
    assert list(document(SECOND)) == [
        "format",
        "version",
        "generation",
        "kek_id",
        "wrapped_at",
        "wrapped_mac_key",
        "classes",
        "mac",
    ]


def test_a_later_format_is_told_apart() -> None:
    changed = {**document(), "version": 3}
    with raising(DamagedFile, KeysReason.FORMAT_VERSION) as caught:
        parse_record(serialize(changed), "f")
    assert "version 3" in str(caught.value)
    assert "later" in caught.value.hint


@pytest.mark.parametrize(
    "edit",
    [
        lambda raw: raw + b"\n",
        lambda raw: raw.replace(b"\n ", b"\n  ", 1),
        lambda raw: raw.replace(b'"a"', b'"\\u0061"'),
        lambda raw: raw.replace(b"2026-01-31", b"2026-1-31"),
    ],
)
def test_the_same_content_in_other_bytes_is_an_alteration(edit: Callable[[bytes], bytes]) -> None:
    raw = serialize_record(RECORD)
    assert edit(raw) != raw
    with raising(DamagedFile, KeysReason.TAMPERED):
        parse_record(edit(raw), "f")


def test_the_mac_covers_all_but_itself() -> None:
    other_mac = KeyringRecord(3, "local:0011", b"mac key", RECORD.classes, bytes(32))
    other_generation = KeyringRecord(4, "local:0011", b"mac key", RECORD.classes, RECORD.mac)
    assert authenticated_bytes(other_mac) == authenticated_bytes(RECORD)
    assert authenticated_bytes(other_generation) != authenticated_bytes(RECORD)


def test_wrapped_bytes_are_not_shown() -> None:
    for key in (OLD, ACTIVE):
        assert repr(key.wrapped) not in repr(RECORD)
    assert "mac" not in repr(RECORD)


def test_times_are_utc_to_the_second() -> None:
    assert format_time(NOW) == "2026-01-31T12:30:15Z"


KEK = local_kek()
MATERIAL, OTHER = bytes(range(64)), bytes(range(1, 65))

NHS = DataKey("nhs", 7, 3, KeyState.ACTIVE, NOW, MATERIAL)
CLEAR = DataKey("intake", 8, 1, KeyState.DECRYPT_ONLY, NOW, OTHER, is_plaintext=True)
INTAKE = DataKey("intake", 8, 2, KeyState.ACTIVE, NOW, MATERIAL, lender=NHS.ids)
KEYS = (NHS, CLEAR, INTAKE)


def breaches(*keys: DataKey) -> list[Breach]:
    return [each.breach for each in broken_loans(key.listed for key in keys)]


def borrowing(state: KeyState) -> list[DataKey]:
    """The class that borrows, with a version that it moves from where it does."""
    before = [replace(CLEAR, state=KeyState.ACTIVE)] if state is KeyState.PENDING else []
    return [*before, in_state(INTAKE, state)]


def in_state(key: DataKey, state: KeyState) -> DataKey:
    return replace(key, state=state, material=None if state is KeyState.DESTROYED else key.material)


@pytest.mark.parametrize("state", KeyState)
def test_a_loan_holds_while_the_lender_encrypts(state: KeyState) -> None:
    assert breaches(NHS, *borrowing(state)) == []


@pytest.mark.parametrize("lender", [KeyState.DECRYPT_ONLY, KeyState.RETIRED, KeyState.PENDING])
@pytest.mark.parametrize("state", KeyState)
def test_what_opens_anything_needs_a_lender_that_encrypts(lender: KeyState, state: KeyState) -> None:
    found = breaches(in_state(NHS, lender), *borrowing(state))
    assert found == ([Breach.TURNED] if state.decrypts else [])


@pytest.mark.parametrize("is_plaintext", [False, True])
def test_a_lender_must_not_be_about_to_turn(is_plaintext: bool) -> None:
    newer = DataKey("nhs", 7, 4, KeyState.PENDING, NOW, OTHER, is_plaintext=is_plaintext)
    assert breaches(NHS, newer, INTAKE) == [Breach.TURNED]
    assert breaches(NHS, newer, in_state(INTAKE, KeyState.RETIRED)) == []


@pytest.mark.parametrize("state", [KeyState.RETIRED, KeyState.DESTROYED])
def test_a_class_that_moves_keeps_what_it_moves_from(state: KeyState) -> None:
    newer = DataKey("intake", 8, 3, KeyState.PENDING, NOW, OTHER)
    assert breaches(NHS, INTAKE, newer) == []
    assert breaches(NHS, in_state(INTAKE, state), newer) == [Breach.HALF_WAY]
    assert breaches(NHS, in_state(INTAKE, state), replace(newer, state=KeyState.ACTIVE)) == []


def test_a_lender_is_destroyed_after_all_its_copies() -> None:
    gone = in_state(NHS, KeyState.DESTROYED)
    assert breaches(gone, in_state(INTAKE, KeyState.RETIRED)) == [Breach.DESTROYED]
    assert breaches(gone, in_state(INTAKE, KeyState.DESTROYED)) == []


def test_only_a_key_of_its_own_is_lent() -> None:
    second = DataKey("third", 9, 1, KeyState.ACTIVE, NOW, MATERIAL, lender=INTAKE.ids)
    assert breaches(*KEYS, second) == [Breach.NO_LENDER]
    assert breaches(INTAKE) == [Breach.NO_LENDER]
    plain = replace(NHS, is_plaintext=True)
    assert breaches(plain, INTAKE) == [Breach.NO_LENDER]


@pytest.mark.parametrize(
    ("keys", "step"),
    [
        ((in_state(NHS, KeyState.DECRYPT_ONLY), INTAKE), "policy"),
        ((in_state(NHS, KeyState.RETIRED), in_state(INTAKE, KeyState.DECRYPT_ONLY)), "keys retire intake 2"),
        ((in_state(NHS, KeyState.DESTROYED), in_state(INTAKE, KeyState.RETIRED)), "keys destroy intake 2"),
        ((INTAKE,), "keys retire intake 2"),
        (
            (NHS, in_state(INTAKE, KeyState.RETIRED), DataKey("intake", 8, 3, KeyState.PENDING, NOW, OTHER)),
            "move",
        ),
    ],
)
def test_a_change_that_breaks_a_loan_names_the_next_step(keys: tuple[DataKey, ...], step: str) -> None:
    with raising(KeySettingError, KeysReason.LENT) as caught:
        refuse_broken_loans(keys)
    assert step in caught.value.hint
    refuse_broken_loans(KEYS)


def test_a_borrowed_key_is_the_lenders() -> None:
    assert is_same_material(KEYS)
    assert is_same_material((in_state(NHS, KeyState.DESTROYED), in_state(INTAKE, KeyState.DESTROYED)))
    assert not is_same_material((NHS, replace(INTAKE, material=OTHER)))
    assert not is_same_material((in_state(NHS, KeyState.DESTROYED), INTAKE))
    assert not is_same_material((INTAKE,))


def test_a_keyring_file_keeps_whose_key_it_is(tmp_path: Path) -> None:
    path = stored(tmp_path / "k", KEYS)
    record = read_record(path)
    assert record.classes[1].keys[1].lender == KeyIds(7, 3)
    assert open_record(record, KEK, path) == KEYS
    assert [key.material for key in open_record(record, KEK, path)] == [MATERIAL, OTHER, MATERIAL]
    assert record.lenders == {"nhs"}


def test_a_file_whose_copy_is_another_key_is_refused_though_its_mac_is_right(tmp_path: Path) -> None:
    path = stored(tmp_path / "k", (NHS, replace(INTAKE, material=OTHER)))
    with raising(DamagedFile, KeysReason.TAMPERED):
        open_record(read_record(path), KEK, path)


@pytest.mark.parametrize(
    "lender",
    [
        {"id": 7, "version": 2},
        {"id": 8, "version": 1},
        {"id": 6, "version": 3},
        {"id": 7},
        {"id": 0, "version": 3},
    ],
)
def test_a_file_with_a_lender_that_does_not_lend_is_no_keyring(tmp_path: Path, lender: Any) -> None:
    path = stored(tmp_path / "k", KEYS)
    edit_json(path, lambda whole: whole["classes"][1]["keys"][1].update(lender=lender))
    with raising(DamagedFile, KeysReason.SCHEMA):
        parse_record(path.read_bytes(), "k")


def test_plaintext_is_not_borrowed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="borrowed"):
        replace(INTAKE, is_plaintext=True)
    with pytest.raises(ValueError, match="borrowed"):
        replace(INTAKE, lender=KeyIds(8, 1))
    path = stored(tmp_path / "k", KEYS)

    def change(whole: dict[str, Any]) -> None:
        key = whole["classes"][1]["keys"][1]
        wrapped, lender = key.pop("wrapped"), key.pop("lender")
        key.update(plaintext=True, lender=lender, wrapped=wrapped)

    edit_json(path, change)
    with raising(DamagedFile, KeysReason.SCHEMA):
        parse_record(path.read_bytes(), "k")


def test_whose_a_key_is_cannot_be_changed_without_the_kek(tmp_path: Path) -> None:
    second = DataKey("other", 9, 1, KeyState.ACTIVE, NOW, OTHER)
    path = stored(tmp_path / "k", (NHS, INTAKE, second))
    edit_json(path, lambda whole: whole["classes"][1]["keys"][0].update(lender={"id": 9, "version": 1}))
    with raising(DamagedFile, KeysReason.TAMPERED):
        open_record(read_record(path), KEK, path)


def test_no_change_of_a_keyring_breaks_a_loan(tmp_path: Path) -> None:
    path = stored(tmp_path / "k", KEYS)
    content = path.read_bytes()
    with raising(KeySettingError, KeysReason.LENT):
        change_keys(
            KeyringWriter(path, KEK, NOW), lambda keys: (in_state(keys[0], KeyState.DECRYPT_ONLY), *keys[1:])
        )
    assert path.read_bytes() == content
