"""What a version of a class makes of a value, and where that stands in the order in which values move.

A version is a key, or plaintext: the class is stored in clear then, and its key material serves frontiers
only. So taking a class in, changing its key and giving it back are one move, from one version to the next.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import binary
from sealwire.keys.frontier.frontier import Position, position_of
from sealwire.keys.keyring.keyring import Keyring
from sealwire.wire import kinds

_PLAINTEXT: Final = b"\1"
"""Positions of plaintext begin with it, so that each lies between BEFORE_ALL and AFTER_ALL."""

_SIGNED_BIT: Final = 1 << 63
_ALL_BITS: Final = (1 << 64) - 1
_INT: Final = struct.Struct("<i")
_LONG: Final = struct.Struct("<q")
_BITS: Final = struct.Struct("<Q")
_ORDERED: Final = struct.Struct(">Q")


def has_moved(keyring: Keyring, class_name: str, *, is_keyed: bool) -> bool:
    """Whether data of a deterministic class has moved to another version once, by this copy of the keyring.

    A cancelled version was never active. The key of a class with a key for each context (`is_keyed`) turns
    without a move, so only plaintext tells of one. Raises nothing. Cost: O(keys)
    """
    if class_name not in keyring.active_classes or keyring.cipher_for(class_name).key_version == 1:
        return False
    return not is_keyed or any(key.is_plaintext for key in keyring.listed if key.class_name == class_name)


class StoredForm(NamedTuple):
    """A value as it stands in a document."""

    kind: int
    """BSON type."""
    data: bytes
    """The value's bytes in BSON."""


class ClassVersion(NamedTuple):
    """One version of one deterministic class."""

    cipher: ValueCipher
    is_plaintext: bool = False

    def placed(self, kind: int, value: bytes) -> tuple[Position, StoredForm]:
        """Where the value stands in the order of this version's forms, and how it is stored.

        `kind` and `value` are coerced to the class's type. Raises UnsupportedValue. Cost: one AES-SIV call,
        or nothing.
        """
        if self.is_plaintext:
            return position_of_plaintext(kind, value), StoredForm(kind, value)
        envelope = self.cipher.encrypt_deterministically(kind, value)
        return position_of(envelope), StoredForm(kinds.BIN_DATA, binary(envelope))

    def stored(self, kind: int, value: bytes) -> StoredForm:
        """How the value is stored. As `placed`, but plaintext stores a value of any type."""
        if self.is_plaintext:
            return StoredForm(kind, value)
        return self.placed(kind, value)[1]

    def position(self, kind: int, value: bytes) -> Position:
        """Where the value stands. As `placed`."""
        return self.placed(kind, value)[0]


def position_of_plaintext(kind: int, value: bytes) -> Position:
    """Where a value in clear stands among those of its type, as MongoDB sorts them without a collation.

    `kind` is one that a deterministic class may declare: string, int, long, double, date, objectId, binData,
    bool. No NaN and no -0.0 is among them. Raises KeyError for another type. Cost: O(bytes), two copies.
    Source: MongoDB's manual, "BSON comparison order".
    """
    return _PLAINTEXT + _ORDERS[kind](value)


def _string(value: bytes) -> bytes:
    return value[4:-1]


def _int(value: bytes) -> bytes:
    number: int = _INT.unpack(value)[0]
    return _ORDERED.pack(number + _SIGNED_BIT)


def _long(value: bytes) -> bytes:
    number: int = _LONG.unpack(value)[0]
    return _ORDERED.pack(number + _SIGNED_BIT)


def _double(value: bytes) -> bytes:
    """IEEE 754: numbers below zero sort backwards by their bits, so these are turned over."""
    bits: int = _BITS.unpack(value)[0]
    return _ORDERED.pack(bits ^ _ALL_BITS if bits & _SIGNED_BIT else bits | _SIGNED_BIT)


def _binary(value: bytes) -> bytes:
    """By length, then subtype, then bytes."""
    return value[3::-1] + value[4:]


def _as_it_is(value: bytes) -> bytes:
    return value


_ORDERS: Final[Mapping[int, Callable[[bytes], bytes]]] = {
    kinds.STRING: _string,
    kinds.INT: _int,
    kinds.LONG: _long,
    kinds.DATE: _long,
    kinds.DOUBLE: _double,
    kinds.OBJECT_ID: _as_it_is,
    kinds.BIN_DATA: _binary,
    kinds.BOOL: _as_it_is,
}


def version_of(keyring: Keyring, class_name: str) -> ClassVersion:
    """The active version of a class. Raises UnknownKey CLASS_UNKNOWN, NO_ACTIVE_KEY."""
    cipher = keyring.cipher_for(class_name)
    return ClassVersion(cipher, keyring.is_plaintext(cipher))


def pending_version_of(keyring: Keyring, class_name: str) -> ClassVersion | None:
    """The version that a class moves to, while it does; else None."""
    cipher = keyring.pending_cipher_for(class_name)
    return None if cipher is None else ClassVersion(cipher, keyring.is_plaintext(cipher))
