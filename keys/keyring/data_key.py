"""A data key (DEK): what encrypts the values of one class, in one version."""

import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

from sealwire.crypto.envelope import KEY_BYTES, MAX_ID
from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KeySettingError, KeysReason

# ASCII, so that a name has one form in bytes; the same limit as MongoDB sets on names of databases.
CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}", re.ASCII)


class KeyState(Enum):
    """What a data key may do. A key only moves down this list."""

    ACTIVE = "active"
    """Encrypts and decrypts; one at most in a class."""
    DECRYPT_ONLY = "decrypt-only"
    """Decrypts what was written before a rotation."""
    DESTROYED = "destroyed"
    """Its record remains, its material does not: the version number is never used again."""


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

    def __post_init__(self) -> None:
        """Raises KeySettingError CLASS_NAME; ValueError where the caller made a key that cannot be."""
        check_class_name(self.class_name)
        if not (0 < self.class_id <= MAX_ID and 0 < self.version <= MAX_ID):
            raise ValueError("class id or key version out of range")
        if (self.material is None) != (self.state is KeyState.DESTROYED):
            raise ValueError("a data key has material unless it is destroyed")
        if self.material is not None and len(self.material) != KEY_BYTES:
            raise ValueError(f"a data key is {KEY_BYTES} bytes long")


def check_class_name(name: str) -> None:
    """Raises KeySettingError CLASS_NAME."""
    if not CLASS_NAME.fullmatch(name):
        raise KeySettingError(
            KeysReason.CLASS_NAME,
            "a class name is 1 to 63 letters, digits, '_', '.' or '-', and begins with a letter or '_'",
            "rename the class in the policy",
        )


def generate_data_key(class_name: str, class_id: int, version: int, now: datetime) -> DataKey:
    """A fresh active key. `now` is aware; its fraction of a second is dropped. Raises KeySettingError."""
    created = now.astimezone(UTC).replace(microsecond=0)
    return DataKey(class_name, class_id, version, KeyState.ACTIVE, created, os.urandom(KEY_BYTES))
