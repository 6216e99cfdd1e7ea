"""A job under the keys of contexts: each document's own, made in one write, and what has none is left."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import MaxKey
from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE, binary, parse_context_header
from sealwire.keys.contexts.shredding import announce, shred
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import CLASS_TAG, ContextRow
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.contexts import JobContexts, ValueSpot, fields_of
from sealwire.sidecars.migration.forms import Form, InCollection, Left, WrongType, new_form
from sealwire.sidecars.migration.moves import Direction, refuse_contexts
from sealwire.wire import kinds
from sealwire.wire.raw_bson import find_element
from tests.keys.samples import NOW
from tests.sidecars.migration.doubles import NAMESPACE, NOTES, RANDOM, keyring, sealed
from tests.support.policies import policy_of
from tests.support.reasons import raising

POLICY = policy_of("""
version: 1
classes:
  notes: {mode: random, key: {per: tenant}}
  letters: {mode: random, key: {per: $database}}
  nhs: {mode: deterministic, type: string, key: {per: tenant}}
collections:
  clinic.patients: {notes: notes, visits.text: notes, letters: letters, nhs: nhs}
""")
KEYS = keyring(1)


class World:
    def __init__(self, store: SqliteContextStore) -> None:
        self.store = store
        self.contexts = JobContexts(store, KEYS, POLICY)

    def chosen(
        self, direction: Direction, value: object, name: str = "notes", **document: Any
    ) -> Form | Left | None:
        within = InCollection(self.contexts, NAMESPACE)
        spot = ValueSpot(name, name, bson.encode(document), 0)
        return new_form(direction, KEYS, WrongType.SKIP, within)(*form(value), spot)

    def encrypted(self, value: object, name: str = "notes", **document: Any) -> Binary:
        found = self.chosen(Direction.ENCRYPT, value, name, **document)
        assert isinstance(found, tuple)
        return Binary(found[1][5:], SUBTYPE)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        yield World(store)


def key_of(envelope: Binary) -> bytes:
    return parse_context_header(bytes(envelope))[1]


def test_a_value_is_encrypted_under_its_document_s_context_and_back(world: World) -> None:
    first, second, again = (world.encrypted("x", tenant=tenant) for tenant in (1, 2, 1))
    assert key_of(first) == key_of(again) != key_of(second)
    for envelope in (first, second):
        assert world.chosen(Direction.DECRYPT, envelope, "") == form("x")
        assert world.chosen(Direction.ENCRYPT, envelope, tenant=1) is None
        assert world.chosen(Direction.REENCRYPT, envelope, tenant=1) is None


def test_a_database_is_a_context_without_a_field(world: World) -> None:
    assert key_of(world.encrypted("x", "letters")) == key_of(world.encrypted("y", "letters", tenant=1))


@pytest.mark.parametrize("document", [{}, {"tenant": None}, {"tenant": [1]}, {"tenant": 1.5}], ids=repr)
def test_a_document_that_says_no_context_is_left(world: World, document: dict[str, Any]) -> None:
    assert world.chosen(Direction.ENCRYPT, "x", **document) is Left.NO_CONTEXT


def test_what_the_class_s_own_key_encrypted_moves_to_the_context_s(world: World) -> None:
    found = world.chosen(Direction.REENCRYPT, sealed(KEYS, "notes", "x"), tenant=1)
    assert isinstance(found, tuple)
    assert world.chosen(Direction.DECRYPT, Binary(found[1][5:], SUBTYPE), "") == form("x")


def test_a_value_of_another_class_stays(world: World) -> None:
    assert world.chosen(Direction.ENCRYPT, world.encrypted("x", "letters"), tenant=1) is Left.OTHER_CLASS


def test_a_value_whose_key_was_destroyed_is_left(world: World) -> None:
    envelope = world.encrypted("x", tenant=1)
    (row,) = [each for each in world.store.rows(NOTES, b"", 9) if each.tag != CLASS_TAG]
    shred(world.store, announce(world.store, row, NOW, NOW - NOW), NOW)
    fresh = World(world.store)
    assert fresh.chosen(Direction.DECRYPT, envelope, "") is Left.DESTROYED_KEY
    assert fresh.chosen(Direction.ENCRYPT, "y", tenant=1) is Left.DESTROYED_KEY


def test_a_key_that_is_nowhere_and_a_damaged_value_are_left(world: World) -> None:
    envelope = world.encrypted("x", tenant=1)
    forged = Binary(envelope[:13] + bytes(range(16)) + envelope[29:], SUBTYPE)
    assert world.chosen(Direction.DECRYPT, forged, "") is Left.UNKNOWN_KEY
    broken = Binary(envelope[:-1] + bytes((envelope[-1] ^ 1,)), SUBTYPE)
    assert world.chosen(Direction.DECRYPT, broken, "") is Left.DAMAGED
    without = new_form(Direction.DECRYPT, KEYS, WrongType.SKIP)
    assert without(*form(envelope), ValueSpot("", "notes", b"", 0)) is Left.UNKNOWN_KEY


def test_the_keys_of_a_batch_are_made_in_one_write(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    raws = [bson.encode({"_id": n, "tenant": n, "notes": "x", "letters": "y"}) for n in range(50)]
    raws.append(bson.encode({"_id": 50, "tenant": 50, "nhs": "1"}))
    raws.append(bson.encode({"_id": 51, "notes": "x"}).replace(b"x\0", b"x\1"))
    writes: list[int] = []
    create = world.store.create

    def counted(rows: Sequence[ContextRow]) -> list[ContextRow]:
        writes.append(len(rows))
        return create(rows)

    monkeypatch.setattr(world.store, "create", counted)
    world.contexts.prepare(NAMESPACE, raws)
    world.contexts.prepare(NAMESPACE, raws)
    # each class has a row of its own besides; the database is one context
    assert sorted(writes) == [1, 1, 1, 50]


def test_a_deterministic_class_with_contexts_moves_to_no_other_key() -> None:
    with raising(Unusable, MigrationReason.CONTEXTS):
        refuse_contexts(POLICY, "nhs", Direction.REENCRYPT)
    for direction in Direction:
        refuse_contexts(POLICY, "notes", direction)
        refuse_contexts(POLICY, "unknown", direction)
    refuse_contexts(POLICY, "nhs", Direction.ENCRYPT)
    refuse_contexts(POLICY, "nhs", Direction.DECRYPT)


def test_where_a_value_stands_is_shown_without_the_document() -> None:
    assert "secret" not in repr(ValueSpot("notes", "notes", bson.encode({"notes": "secret"}), 0))


def test_a_database_is_no_field_of_a_document() -> None:
    assert fields_of(POLICY) == {"notes": b"tenant", "nhs": b"tenant"}


def test_the_keys_of_a_batch_are_searched_for_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    envelopes = [world.encrypted("x", tenant=tenant) for tenant in range(5)]
    raws = [bson.encode({"_id": 1, "notes": each, "nhs": "in clear"}) for each in envelopes]
    # one without its key id, and one that is no document
    raws += [bson.encode({"_id": 2, "notes": Binary(bytes(envelopes[0][:20]), SUBTYPE)}), raws[0][:-3]]
    searches: list[int] = []
    find_ids = world.store.find_ids

    def counted(key_ids: Sequence[bytes]) -> list[ContextRow]:
        searches.append(len(key_ids))
        return find_ids(key_ids)

    monkeypatch.setattr(world.store, "find_ids", counted)
    fresh = World(world.store)
    tree = POLICY.covered(NAMESPACE)
    assert tree is not None
    for _ in range(2):
        fresh.contexts.prepare_opening(raws, tree)
    assert [fresh.contexts.open(bytes(each)) for each in envelopes] == [form("x")] * 5
    assert searches == [5]


# Which form a value is to have, by direction; and what nobody may touch.


OLD, NEW = keyring(1), keyring(2)
DESTROYED = Keyring(
    [
        DataKey("notes", NOTES, 1, KeyState.DESTROYED, NOW, None),
        DataKey("notes", NOTES, 2, KeyState.ACTIVE, NOW, bytes([NOTES, 2]) * 32),
    ]
)
OTHERS = Keyring([DataKey("notes", NOTES, 9, KeyState.ACTIVE, NOW, bytes(64))])


def form(value: object) -> Form:
    raw = bson.encode({"v": value})
    found = find_element(raw, 0, b"v")
    assert found is not None
    return found.kind, raw[found.value : found.end]


def chosen(
    direction: Direction, value: object, keys: Keyring = NEW, wrong_type: WrongType = WrongType.SKIP
) -> Form | Left | None:
    return new_form(direction, keys, wrong_type)(*form(value), SPOT)


def damaged(envelope: Binary) -> Binary:
    return Binary(envelope[:-1] + bytes((envelope[-1] ^ 1,)), envelope.subtype)


FROM_OLD, FROM_NEW = sealed(OLD, "notes", "x"), sealed(NEW, "notes", "x")
FOREIGN = sealed(NEW, "letters", "x")
EQUAL = Binary(NEW.cipher_for("notes").encrypt_deterministically(*form("x")), 0x80)
SHORT = Binary(b"SW\1", 0x80)
SPOT = ValueSpot("notes", "notes", b"", 0)


@pytest.mark.parametrize(
    ("direction", "value", "expected"),
    [
        (Direction.ENCRYPT, FROM_NEW, None),
        (Direction.ENCRYPT, FROM_OLD, None),
        (Direction.ENCRYPT, FOREIGN, Left.OTHER_CLASS),
        (Direction.ENCRYPT, EQUAL, Left.OTHER_CLASS),
        (Direction.ENCRYPT, SHORT, Left.DAMAGED),
        (Direction.ENCRYPT, MaxKey(), Left.WRONG_TYPE),
        (Direction.ENCRYPT, [1, None], Left.WRONG_TYPE),
        (Direction.ENCRYPT, Binary(b"theirs", 6), Left.WRONG_TYPE),
        (Direction.ENCRYPT, [FROM_NEW], Left.ENVELOPE_INSIDE),
        (Direction.ENCRYPT, {"deep": [{"er": FROM_NEW}]}, Left.ENVELOPE_INSIDE),
        (Direction.REENCRYPT, "x", None),
        (Direction.REENCRYPT, FROM_NEW, None),
        (Direction.REENCRYPT, FOREIGN, Left.OTHER_CLASS),
        (Direction.REENCRYPT, EQUAL, Left.OTHER_CLASS),
        (Direction.REENCRYPT, SHORT, Left.DAMAGED),
        (Direction.REENCRYPT, damaged(FROM_OLD), Left.DAMAGED),
        (Direction.DECRYPT, "x", None),
        (Direction.DECRYPT, FROM_OLD, form("x")),
        (Direction.DECRYPT, FOREIGN, form("x")),
        (Direction.DECRYPT, EQUAL, Left.OTHER_CLASS),
        (Direction.DECRYPT, damaged(FROM_NEW), Left.DAMAGED),
        (Direction.DECRYPT, SHORT, Left.DAMAGED),
    ],
    # a random envelope is another one in each process that collects the tests
    ids=lambda value: value.name if isinstance(value, Direction | Left) else type(value).__name__,
)
def test_what_becomes_of_a_value(direction: Direction, value: object, expected: Form | Left | None) -> None:
    assert chosen(direction, value) == expected


@pytest.mark.parametrize(
    "value", ["text", 5, [1, "x"], {"a": 1}, b"bytes", {"blob": b"\x80SW is no envelope"}]
)
def test_plaintext_of_any_type_becomes_an_envelope_that_opens(value: object) -> None:
    found = chosen(Direction.ENCRYPT, value)
    assert isinstance(found, tuple)
    assert found[0] == kinds.BIN_DATA
    assert NEW.open_envelope(found[1], 5, len(found[1])) == form(value)


def test_an_older_envelope_becomes_one_of_the_active_key() -> None:
    found = chosen(Direction.REENCRYPT, FROM_OLD)
    assert isinstance(found, tuple)
    assert NEW.cipher_for("notes").decrypt(found[1][5:]) == form("x")


@pytest.mark.parametrize("direction", RANDOM)
def test_an_unknown_key_is_left(direction: Direction) -> None:
    assert chosen(direction, FROM_OLD, OTHERS) is Left.UNKNOWN_KEY


@pytest.mark.parametrize("direction", [Direction.REENCRYPT, Direction.DECRYPT])
def test_a_destroyed_key_is_left(direction: Direction) -> None:
    assert chosen(direction, FROM_OLD, DESTROYED) is Left.DESTROYED_KEY


def test_an_array_with_a_null_is_encrypted_where_that_is_wished() -> None:
    found = chosen(Direction.ENCRYPT, [1, None], wrong_type=WrongType.ENCRYPT)
    assert isinstance(found, tuple)
    assert NEW.open_envelope(found[1], 5, len(found[1])) == form([1, None])
    assert chosen(Direction.ENCRYPT, MaxKey(), wrong_type=WrongType.ENCRYPT) is Left.WRONG_TYPE


def test_a_value_that_no_envelope_can_hold_is_left() -> None:
    choose = new_form(Direction.ENCRYPT, NEW, WrongType.REFUSE)
    assert choose(kinds.BIN_DATA, bytes(5) + bytes(16 << 20), SPOT) is Left.TOO_LARGE


def test_the_bytes_of_a_binary() -> None:
    assert form(Binary(b"abc", 0x80)) == (kinds.BIN_DATA, binary(b"abc"))
