import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.record import (
    ClassRecord,
    KeyRecord,
    KeyringRecord,
    authenticated_bytes,
    format_time,
    parse_record,
    serialize_record,
)
from sealwire.keys.strict_json import encode, serialize
from tests.keys.samples import NOW

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


def key_of_first_class(number: int, change: dict[str, object]) -> Callable[[dict[str, Any]], None]:
    return lambda whole: whole["classes"][0]["keys"][number].update(change)


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
def test_what_the_first_format_did_not_have_is_refused_in_it(
    change: Callable[[dict[str, Any]], object],
) -> None:
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
        with pytest.raises(DamagedFile) as caught:
            parse_record(serialize_record(larger), "f")
        assert caught.value.reason is KeysReason.SCHEMA


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
    with pytest.raises(DamagedFile) as caught:
        parse_record(serialize(changed), "f")
    assert caught.value.reason is KeysReason.FORMAT_VERSION
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
    with pytest.raises(DamagedFile) as caught:
        parse_record(edit(raw), "f")
    assert caught.value.reason is KeysReason.TAMPERED


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
