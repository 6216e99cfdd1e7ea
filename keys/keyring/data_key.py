"""A data key (DEK): what encrypts the values of one class, in one version."""

import os
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Final, NamedTuple

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import KEY_BYTES, MAX_ID
from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KeySettingError, KeysReason

# ASCII, so that a name has one form in bytes; the same limit as MongoDB sets on names of databases.
CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}", re.ASCII)


# What leads a data key from one state to the next: one table, from which the picture in the docs is made.
#
# A class of mode random takes a new key in one step: it is made active. A deterministic class never
# encrypts with two keys at once, so that its new key is made pending and becomes active when the data has
# moved to it.


class KeyEvent(Enum):
    """What changes a key's state. The value is what the picture says."""

    ACTIVATED = "activated"
    """All data has moved to it."""
    CANCELLED = "cancelled"
    """It was made by mistake, and no data has begun to move to it."""
    RENEWED = "pending again"
    """It was cancelled by mistake."""
    REPLACED = "replaced"
    """A newer key of its class is active."""
    RETIRED = "retired"
    """An operator says that nothing needs it any more."""
    RETURNED = "returned"
    """It is borrowed, and its class has no path any more: its lender goes on with it."""
    TAKEN_BACK = "taken back"
    """Something does."""
    DESTROYED = "destroyed"
    """The waiting period is over."""


class KeyState(Enum):
    """What a data key may do. Which state leads to which is the table `KEY_MOVES`."""

    PENDING = "pending"
    """Decrypts; will encrypt when the data has moved to it. The newest of its class, and one at most."""
    ACTIVE = "active"
    """Encrypts and decrypts; one at most in a class."""
    DECRYPT_ONLY = "decrypt-only"
    """Decrypts what was written before a rotation."""
    RETIRED = "retired"
    """Is kept and opens nothing, so that a key that is still needed is missed before it is destroyed."""
    DESTROYED = "destroyed"
    """Its record remains, its material does not: the version number is never used again."""

    @property
    def decrypts(self) -> bool:
        """Whether envelopes of such a key are opened."""
        return self not in (KeyState.RETIRED, KeyState.DESTROYED)


class KeyMove(NamedTuple):
    """One row of the table."""

    before: KeyState
    event: KeyEvent
    after: KeyState


FIRST_STATES: Final = (KeyState.ACTIVE, KeyState.PENDING)
"""In which a key is made."""

KEY_MOVES: Final = (
    KeyMove(KeyState.PENDING, KeyEvent.ACTIVATED, KeyState.ACTIVE),
    KeyMove(KeyState.PENDING, KeyEvent.CANCELLED, KeyState.RETIRED),
    KeyMove(KeyState.RETIRED, KeyEvent.RENEWED, KeyState.PENDING),
    KeyMove(KeyState.ACTIVE, KeyEvent.REPLACED, KeyState.DECRYPT_ONLY),
    KeyMove(KeyState.DECRYPT_ONLY, KeyEvent.RETIRED, KeyState.RETIRED),
    KeyMove(KeyState.ACTIVE, KeyEvent.RETURNED, KeyState.RETIRED),
    KeyMove(KeyState.RETIRED, KeyEvent.TAKEN_BACK, KeyState.DECRYPT_ONLY),
    KeyMove(KeyState.RETIRED, KeyEvent.DESTROYED, KeyState.DESTROYED),
)

_AFTER: Final = {(before, event): after for before, event, after in KEY_MOVES}
_NEEDED: Final = {event: before for before, event, _ in KEY_MOVES}
_NEXT_STEPS: Final = {
    KeyState.PENDING: "move the data to it first: sealwire migrate reencrypt; or sealwire keys cancel",
    KeyState.ACTIVE: "make a newer key first: sealwire keys rotate",
    KeyState.DECRYPT_ONLY: "retire it first: sealwire keys retire",
    KeyState.RETIRED: "take it back first: sealwire keys retire --undo",
    KeyState.DESTROYED: "its material is gone; a backup of the keyring may still have it",
}


class KeyIds(NamedTuple):
    """Which key: a class id, and a version of that class."""

    class_id: int
    version: int


class ListedKey(NamedTuple):
    """What of a data key may be shown to people: everything but its material."""

    class_name: str
    ids: KeyIds
    state: KeyState
    created: datetime
    destroy_after: datetime | None
    is_plaintext: bool
    lender: KeyIds | None
    """Whose key it is, if it is borrowed."""

    @property
    def version(self) -> int:
        """Its version within the class."""
        return self.ids.version


@dataclass(frozen=True, slots=True)
class DataKey(Unpicklable):
    """One version of one class's key. Shows ids and state, never material."""

    class_name: str
    class_id: int
    """1 to 2**32 - 1. It never changes, because every envelope contains it."""
    version: int
    """1 to 2**32 - 1, counted up within the class."""
    state: KeyState
    created: datetime
    """UTC, whole seconds."""
    material: bytes | None = field(repr=False, compare=False)
    """64 random bytes; None exactly when destroyed."""
    destroy_after: datetime | None = None
    """When it may be destroyed, if that was announced; UTC, whole seconds. Only of a retired key."""
    is_plaintext: bool = False
    """Whether the class is stored in clear in this version. Its material then serves frontiers only."""
    lender: KeyIds | None = None
    """Whose key it is, if it is borrowed: it has the same material, and makes the same envelopes."""
    begun_in: str = ""
    """The place of its frontier, once data may have begun to move to it; see `turning.begin_move`."""

    def __post_init__(self) -> None:
        """Raises KeySettingError CLASS_NAME; ValueError where the caller made a key that cannot be."""
        check_class_name(self.class_name)
        if not (0 < self.class_id <= MAX_ID and 0 < self.version <= MAX_ID):
            raise ValueError("class id or key version out of range")
        if (self.material is None) != (self.state is KeyState.DESTROYED):
            raise ValueError("a data key has material unless it is destroyed")
        if self.material is not None and len(self.material) != KEY_BYTES:
            raise ValueError(f"a data key is {KEY_BYTES} bytes long")
        if self.destroy_after is not None and self.state is not KeyState.RETIRED:
            raise ValueError("only a retired key waits for its destruction")
        if self.begun_in and self.state is not KeyState.PENDING:
            raise ValueError("data moves to a pending key only")
        if self.lender is not None and (self.is_plaintext or self.lender.class_id == self.class_id):
            raise ValueError("a borrowed key is a key, and another class's")

    @property
    def ids(self) -> KeyIds:
        """Its own; of a borrowed key they are in no envelope."""
        return KeyIds(self.class_id, self.version)

    @property
    def listed(self) -> ListedKey:
        """It without its material."""
        times = self.created, self.destroy_after
        return ListedKey(self.class_name, self.ids, self.state, *times, self.is_plaintext, self.lender)

    def cipher(self) -> ValueCipher:
        """What encrypts with it. Raises ValueError for one that is destroyed. Cost: 34 headers."""
        if self.material is None:
            raise ValueError("a destroyed key encrypts nothing")
        return ValueCipher(self.material, self.class_id, self.version, self.lender)


def move(key: DataKey, event: KeyEvent) -> DataKey:
    """`key` after `event`; an announced destruction ends with the state. Raises KeySettingError KEY_STATE."""
    after = _AFTER.get((key.state, event))
    if after is None:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"version {key.version} of class {key.class_name} is {key.state.value}, and only a key that is "
            f"{_NEEDED[event].value} can be {event.value}",
            _NEXT_STEPS[key.state],
        )
    material = None if after is KeyState.DESTROYED else key.material
    return replace(key, state=after, material=material, destroy_after=None, begun_in="")


def check_class_name(name: str) -> None:
    """Raises KeySettingError CLASS_NAME."""
    if not CLASS_NAME.fullmatch(name):
        raise KeySettingError(
            KeysReason.CLASS_NAME,
            "a class name is 1 to 63 letters, digits, '_', '.' or '-', and begins with a letter or '_'",
            "rename the class in the policy",
        )


def generate_data_key(
    class_name: str,
    class_id: int,
    version: int,
    now: datetime,
    state: KeyState = KeyState.ACTIVE,
    *,
    is_plaintext: bool = False,
) -> DataKey:
    """A fresh key. `now` is aware; its fraction of a second is dropped. Raises KeySettingError."""
    ids = (class_name, class_id, version)
    return DataKey(*ids, state, whole_seconds(now), os.urandom(KEY_BYTES), is_plaintext=is_plaintext)


def whole_seconds(moment: datetime) -> datetime:
    """`moment`, which is aware, as a keyring writes it down: in UTC, without a fraction of a second."""
    return moment.astimezone(UTC).replace(microsecond=0)
