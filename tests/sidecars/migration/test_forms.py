"""Which form a value is to have, by direction; and what nobody may touch."""

import bson
import pytest
from bson import MaxKey
from bson.binary import Binary

from sealwire.crypto.envelope import binary
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.migration.contexts import ValueSpot
from sealwire.sidecars.migration.forms import Form, Left, WrongType, new_form
from sealwire.sidecars.migration.moves import Direction
from sealwire.wire import kinds
from sealwire.wire.raw_bson import find_element
from tests.keys.samples import NOW
from tests.sidecars.migration.doubles import NOTES, RANDOM, keyring, sealed

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
    direction: Direction,
    value: object,
    keys: Keyring = NEW,
    wrong_type: WrongType = WrongType.SKIP,
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
