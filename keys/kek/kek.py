"""The one interface behind which every provider of a key-encryption key stands, and what wrapping binds."""

from enum import Enum
from typing import Protocol


class KeyEncryptionKey(Protocol):
    """Wraps and unwraps keys; how, and where the key lies, is the provider's business.

    Promise: `unwrap` returns exactly what was given to `wrap` with the same associated data, or raises.
    Providers whose key is remote do not hand it out; they may block, so the event loop calls neither.
    """

    @property
    def id(self) -> str:
        """Names the key, not the way to it: the same for every provider that holds it. Not secret."""
        ...

    def wrap(self, key: bytes, associated_data: bytes) -> bytes:
        """Encrypt `key` (1 to 1024 bytes). Raises KekUnavailable, KekDenied."""
        ...

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """Decrypt what `wrap` made. Raises KekUnavailable, KekDenied, UnwrapFailed."""
        ...


class Purpose(Enum):
    """What a wrapped key is for, so that none can stand where another belongs."""

    DATA_KEY = b"data-key"
    KEYRING_MAC = b"keyring-mac"
    KEY_FILE = b"key-file"
    PRIVATE_KEY = b"private-key"
    BACKUP_KEY = b"backup-key"
    KEYRING_CACHE = b"keyring-cache"
    LUKS_HEADER = b"luks-header"
    KEYRING_EXPORT = b"keyring-export"


# Changing what is bound, or how it is written down, needs a new label.
_LABEL = b"sealwire-wrap-1"


def wrap_associated_data(purpose: Purpose, *fields: bytes) -> bytes:
    """What a wrapped key is bound to, in one byte string that can be read in one way only.

    Shape:   the label, the purpose and each field, every one behind its length as 4 bytes big-endian
    Binds:   for a data key: class id, key version and class name; see the callers for the others
    """
    parts = (_LABEL, purpose.value, *fields)
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def data_key_associated_data(class_name: str, class_id: int, version: int) -> bytes:
    """What the wrapping of one data key is bound to."""
    return wrap_associated_data(
        Purpose.DATA_KEY, class_id.to_bytes(4, "big"), version.to_bytes(4, "big"), class_name.encode("ascii")
    )
