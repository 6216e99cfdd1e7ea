"""What stands in a keyring file, as types; and the only text that each of them has.

    {"format": "sealwire-keyring", "version": 2, "generation": ..., "kek_id": ..., "wrapped_at": ...,
     "wrapped_mac_key": 48 B,
     "classes": [{"name": ..., "id": ..., "keys": [
         {"version": ..., "state": ..., "created": ..., "destroy_after": ..., "plaintext": true,
          "lender": {"id": ..., "version": ...}, "begun": ..., "wrapped": 80 B or null}]}],
     "mac": 32 B}

`destroy_after` stands only where a destruction was announced, `plaintext` only where the class is stored in
clear, `lender` only where the key is another class's, `begun` only if data moves to a pending key. A release
that does not know one of them refuses the file. Version 1 has none of them nor `wrapped_at`, and no pending
or retired key. It is read, and every write makes version 2.

Nothing in it is secret without the KEK. Nothing here is authenticated yet: `file` does that.

A class may borrow. It may have, as one of its versions, the active key of another class: the same material,
and the lender's ids in its envelopes. So both make the same ciphertext of a value, and the values of one can
be taken over by the other without being touched. For policies they are two classes all the same.

While a borrowed version opens anything, the lender's version has to stay what encrypts: were the lender to
move to another key, or into clear, the two would part, and nobody would see it. So the lender's class does
not turn until all that it has lent is retired, and its key is not destroyed while a borrower has a copy.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from hmac import compare_digest
from typing import Any, NamedTuple

from sealwire.crypto.envelope import MAX_ID
from sealwire.keys import strict_json
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import CLASS_NAME, FIRST_STATES, DataKey, KeyIds, KeyState, ListedKey
from sealwire.keys.strict_json import Fields


class Breach(Enum):
    """What is wrong between a borrowed version and its lender's."""

    NO_LENDER = "there is no such key that could be lent"
    DESTROYED = "its lender's key is destroyed, and the copy is not"
    TURNED = "its lender's class encrypts with another key, or is about to"
    HALF_WAY = "its class has a pending version and none that it moves from"


class BrokenLoan(NamedTuple):
    """A borrowed version that may not be there as things are."""

    borrower: ListedKey
    lender: ListedKey | None
    breach: Breach


def broken_loans(versions: Iterable[ListedKey]) -> Iterator[BrokenLoan]:
    """Those of a keyring's versions that break a rule. Raises nothing. Cost: O(versions)."""
    by_ids = {each.ids: each for each in versions}
    moving = {each.ids.class_id for each in by_ids.values() if each.state is KeyState.PENDING}
    active = {each.ids.class_id for each in by_ids.values() if each.state is KeyState.ACTIVE}
    for each in by_ids.values():
        if each.lender is None:
            continue
        lender = by_ids.get(each.lender)
        if lender is None or lender.is_plaintext or lender.lender is not None:
            yield BrokenLoan(each, lender, Breach.NO_LENDER)
        elif each.ids.class_id in moving and each.ids.class_id not in active:
            yield BrokenLoan(each, lender, Breach.HALF_WAY)
        elif lender.state is KeyState.DESTROYED and each.state is not KeyState.DESTROYED:
            yield BrokenLoan(each, lender, Breach.DESTROYED)
        elif each.state.decrypts and (lender.state is not KeyState.ACTIVE or lender.ids.class_id in moving):
            yield BrokenLoan(each, lender, Breach.TURNED)


def refuse_broken_loans(keys: Iterable[DataKey]) -> None:
    """See that a change left every loan whole. Raises KeySettingError LENT for the first that it did not."""
    for borrower, lender, breach in broken_loans(key.listed for key in keys):
        name, version = borrower.class_name, borrower.ids.version
        whose = "of another class" if lender is None else f"{lender.ids.version} of class {lender.class_name}"
        state = borrower.state.value
        text = f"class {name} borrows version {whose} as its version {version} ({state}), and {breach.value}"
        raise KeySettingError(
            KeysReason.LENT,
            text,
            _next_step(borrower, breach),
        )


def _next_step(borrower: ListedKey, breach: Breach) -> str:
    key = f"{borrower.class_name} {borrower.ids.version}"
    if breach is Breach.DESTROYED:
        return f"destroy the copy first: sealwire keys destroy {key}"
    if breach is Breach.HALF_WAY:
        return "let its move end first; a class that gave its key back gets no other one: name a new class"
    if borrower.state in (KeyState.ACTIVE, KeyState.PENDING):
        name = borrower.class_name
        return (
            f"give the paths of class {name} the lender's class in the policy, or move them to another key; "
            f"then sealwire keys retire {key}"
        )
    return f"sealwire keys retire {key}; what it would open, its lender opens"


def is_same_material(keys: Iterable[DataKey]) -> bool:
    """Whether each borrowed key that is not destroyed is its lender's. Cost: O(keys)."""
    by_ids = {key.ids: key for key in keys}
    for key in by_ids.values():
        if key.lender is None or key.material is None:
            continue
        lender = by_ids.get(key.lender)
        if lender is None or lender.material is None or not compare_digest(key.material, lender.material):
            return False
    return True


FORMAT_NAME = "sealwire-keyring"
FORMAT_VERSION = 2
_FIRST_FORMAT = 1
# With `store.MAX_FILE_BYTES` these stop a wrong or hostile file before it costs memory.
MAX_CLASSES = 4096
MAX_VERSIONS = 4096
MAX_WRAPPED_BYTES = 4096  # a cloud provider's answer is longer than our own 80 bytes
MAC_BYTES = 32

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_PLACE = re.compile(r"[0-9a-f]{32}", re.ASCII)
_KEK_ID = re.compile(r"[!-~]{1,512}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One version of a class's key, wrapped."""

    version: int
    state: KeyState
    created: datetime
    wrapped: bytes | None = field(repr=False)
    """None exactly when destroyed."""
    destroy_after: datetime | None = None
    """When it may be destroyed, if that was announced."""
    is_plaintext: bool = False
    """Whether the class is stored in clear in this version."""
    lender: KeyIds | None = None
    """Whose key it is, if it is borrowed; then these ids are in its envelopes."""
    begun_in: str = ""
    """The place of its frontier, once data may have begun to move to it."""


@dataclass(frozen=True, slots=True)
class ClassRecord:
    """One class; `keys` in rising version. One is active at most, and only the last may be pending."""

    name: str
    class_id: int
    keys: tuple[KeyRecord, ...]

    def version_named(self, ids: KeyIds) -> int | None:
        """Which version of the class makes the envelopes that name `ids`, the newest if several do.

        It is None for those of another class. Of the class's own id any version is an answer, known or not.
        """
        borrowed = (key.version for key in reversed(self.keys) if key.lender == ids)
        return ids.version if ids.class_id == self.class_id else next(borrowed, None)


@dataclass(frozen=True, slots=True)
class KeyringRecord:
    """The whole file."""

    generation: int
    kek_id: str
    wrapped_mac_key: bytes = field(repr=False)
    classes: tuple[ClassRecord, ...]
    mac: bytes = field(repr=False)
    wrapped_at: datetime | None = None
    """When all of it was wrapped, which is when it was written. None exactly in format version 1."""

    @property
    def names(self) -> dict[int, str]:
        """The classes, by id."""
        return {entry.class_id: entry.name for entry in self.classes}

    @property
    def newest(self) -> dict[str, KeyRecord]:
        """By class its pending version, else its active one; a class without either is missing."""
        # in rising version: a pending one comes last
        return {entry.name: key for entry in self.classes for key in entry.keys if key.state in FIRST_STATES}

    @property
    def plaintext_classes(self) -> tuple[str, ...]:
        """Those whose active version is plaintext."""
        return tuple(
            entry.name
            for entry in self.classes
            if any(key.is_plaintext and key.state is KeyState.ACTIVE for key in entry.keys)
        )

    @property
    def lenders(self) -> frozenset[str]:
        """Those of which another class borrows a key that opens something: they cannot turn meanwhile."""
        lent = {
            key.lender.class_id
            for entry in self.classes
            for key in entry.keys
            if key.lender is not None and key.state.decrypts
        }
        return frozenset(name for class_id, name in self.names.items() if class_id in lent)


def authenticated_bytes(record: KeyringRecord) -> bytes:
    """What the MAC is computed over: everything but the MAC."""
    return strict_json.serialize(_document(record))


def serialize_record(record: KeyringRecord) -> bytes:
    """The file's bytes."""
    return strict_json.serialize({**_document(record), "mac": strict_json.encode(record.mac)})


def _document(record: KeyringRecord) -> dict[str, Any]:
    wrapped_at = record.wrapped_at
    return {
        "format": FORMAT_NAME,
        "version": _FIRST_FORMAT if wrapped_at is None else FORMAT_VERSION,
        "generation": record.generation,
        "kek_id": record.kek_id,
        **({} if wrapped_at is None else {"wrapped_at": format_time(wrapped_at)}),
        "wrapped_mac_key": strict_json.encode(record.wrapped_mac_key),
        "classes": [
            {"name": each.name, "id": each.class_id, "keys": list(map(_key_document, each.keys))}
            for each in record.classes
        ],
    }


def _key_document(key: KeyRecord) -> dict[str, Any]:
    announced, lender = key.destroy_after, key.lender
    return {
        "version": key.version,
        "state": key.state.value,
        "created": format_time(key.created),
        **({} if announced is None else {"destroy_after": format_time(announced)}),
        **({"plaintext": True} if key.is_plaintext else {}),
        **({} if lender is None else {"lender": {"id": lender.class_id, "version": lender.version}}),
        **({"begun": key.begun_in} if key.begun_in else {}),
        "wrapped": None if key.wrapped is None else strict_json.encode(key.wrapped),
    }


def format_time(moment: datetime) -> str:
    """UTC to the second, as `2026-01-31T23:59:59Z`."""
    return moment.astimezone(UTC).strftime(TIME_FORMAT)


def parse_record(raw: bytes, filename: str) -> KeyringRecord:
    """Read the file's bytes, which the caller has bounded by `store.MAX_FILE_BYTES`.

    Raises DamagedFile NOT_JSON, SCHEMA, FORMAT_VERSION, and TAMPERED for bytes that `serialize_record` would
    not have written. Cost: O(bytes).
    """
    fields = strict_json.parse(raw, filename)
    first = fields.format(FORMAT_NAME, FORMAT_VERSION, oldest=_FIRST_FORMAT) == _FIRST_FORMAT
    generation = fields.integer("generation", 1, 2**63)
    kek_id = fields.text("kek_id")
    if not _KEK_ID.fullmatch(kek_id):
        fields.refuse("has a kek_id of a strange form")
    wrapped_at = None if first else _parse_time(fields, "wrapped_at")
    wrapped_mac_key = fields.binary("wrapped_mac_key", 1, MAX_WRAPPED_BYTES)
    classes = tuple(
        _parse_class(Fields(entry, f"{filename}: class {number}"))
        for number, entry in enumerate(fields.sequence("classes", MAX_CLASSES), start=1)
    )
    _check_classes(fields, classes)
    if first and not all(_is_of_first_format(key) for entry in classes for key in entry.keys):
        fields.refuse("has a key that its format does not know")
    mac = fields.binary("mac", MAC_BYTES, MAC_BYTES)
    fields.done()
    record = KeyringRecord(generation, kek_id, wrapped_mac_key, classes, mac, wrapped_at)
    strict_json.require_exact(raw, serialize_record(record), filename)
    return record


def _check_classes(fields: Fields, classes: Sequence[ClassRecord]) -> None:
    if len({entry.name for entry in classes}) != len(classes):
        fields.refuse("names a class twice")
    if len({entry.class_id for entry in classes}) != len(classes):
        fields.refuse("gives a class id twice")
    if any(broken_loans(_versions(classes))):
        fields.refuse("has a borrowed key that its lender does not lend")


def _versions(classes: Iterable[ClassRecord]) -> Iterator[ListedKey]:
    for entry in classes:
        for key in entry.keys:
            ids, times = KeyIds(entry.class_id, key.version), (key.created, key.destroy_after)
            yield ListedKey(entry.name, ids, key.state, *times, key.is_plaintext, key.lender)


def _parse_class(fields: Fields) -> ClassRecord:
    name = fields.text("name")
    if not CLASS_NAME.fullmatch(name):
        fields.refuse("has a name of a strange form")
    class_id = fields.integer("id", 1, MAX_ID)
    keys = tuple(
        _parse_key(Fields(entry, f"a key of class {name}")) for entry in fields.sequence("keys", MAX_VERSIONS)
    )
    fields.done()
    versions = [key.version for key in keys]
    if any(key.lender is not None and key.lender.class_id == class_id for key in keys):
        fields.refuse("borrows a key of its own")
    if not keys or versions != sorted(set(versions)):
        fields.refuse("has no keys, or versions out of order")
    if sum(key.state is KeyState.ACTIVE for key in keys) > 1:
        fields.refuse("has two active keys")
    if any(key.state is KeyState.PENDING for key in keys[:-1]):
        fields.refuse("has a pending key that is not the newest")
    return ClassRecord(name, class_id, keys)


def _parse_key(fields: Fields) -> KeyRecord:
    version = fields.integer("version", 1, MAX_ID)
    state = _parse_state(fields, fields.text("state"))
    created = _parse_time(fields, "created")
    destroy_after = _parse_time(fields, "destroy_after") if fields.has("destroy_after") else None
    is_plaintext = fields.flag("plaintext")
    lender = _parse_lender(fields.object("lender")) if fields.has("lender") else None
    begun_in = fields.text("begun") if fields.has("begun") else ""
    encoded = fields.optional_text("wrapped")
    fields.done()
    if (encoded is None) != (state is KeyState.DESTROYED):
        fields.refuse("has material though destroyed, or none though not")
    wrapped = None if encoded is None else fields.decode("wrapped", encoded, 1, MAX_WRAPPED_BYTES)
    if destroy_after is not None and state is not KeyState.RETIRED:
        fields.refuse("waits for its destruction and is not retired")
    if is_plaintext and lender is not None:
        fields.refuse("borrows a key and has none")
    if begun_in and (state is not KeyState.PENDING or not _PLACE.fullmatch(begun_in)):
        fields.refuse("says that data moves to a key that is not pending, or by a strange place")
    return KeyRecord(version, state, created, wrapped, destroy_after, is_plaintext, lender, begun_in)


def _parse_lender(fields: Fields) -> KeyIds:
    lender = KeyIds(fields.integer("id", 1, MAX_ID), fields.integer("version", 1, MAX_ID))
    fields.done()
    return lender


def _is_of_first_format(key: KeyRecord) -> bool:
    is_new = key.state in (KeyState.PENDING, KeyState.RETIRED) or key.destroy_after is not None
    return not is_new and not key.is_plaintext and key.lender is None


def _parse_state(fields: Fields, text: str) -> KeyState:
    try:
        return KeyState(text)
    except ValueError:
        fields.refuse("has an unknown state")


def _parse_time(fields: Fields, name: str) -> datetime:
    try:
        return datetime.strptime(fields.text(name), TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        fields.refuse(f"has a {name} that is not a time in UTC")
