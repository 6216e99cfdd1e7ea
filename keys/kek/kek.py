"""The one interface behind which every provider of a key-encryption key stands, and what wrapping binds."""

import hmac
from abc import ABC, abstractmethod
from enum import Enum
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import UnwrapFailed

# Wrapping with a KEK that this process holds itself: what the environment and the key file share.

KEK_BYTES = 32
MAX_KEY_BYTES = 1024
SIV_BYTES = 16

# A uniform key of 32 bytes has fewer different byte values once in 10**17; a placeholder nearly always does.
_LEAST_DIFFERENT_BYTES = 12

_WRAP_INFO = b"sealwire local kek 1: wrap"
_ID_INFO = b"sealwire local kek 1: id"


def looks_random(kek: bytes) -> bool:
    """False for keys such as 32 zero bytes, which come from templates and never from a generator."""
    return len(set(kek)) >= _LEAST_DIFFERENT_BYTES


class LocalKek(Unpicklable):
    """A KEK of 32 bytes in memory. Wraps with AES-256-SIV under a key derived from it by HKDF-SHA512.

    Wrapping is deterministic, which for keys, being random themselves, shows nothing (RFC 5297 section 1.1:
    key wrapping is what SIV was made for).
    """

    __slots__ = ("_siv", "id")

    def __init__(self, kek: bytes) -> None:
        """`kek`: 32 bytes. Raises ValueError for another length."""
        if len(kek) != KEK_BYTES:
            raise ValueError(f"a key-encryption key is {KEK_BYTES} bytes long")
        self._siv = AESSIV(_derive(kek, _WRAP_INFO, 64))
        self.id = f"local:{_derive(kek, _ID_INFO, 8).hex()}"
        """Derived from the key, so that a wrong KEK is told apart from a damaged file; one-way."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r})"

    def wrap(self, key: bytes, associated_data: bytes) -> bytes:
        """SIV and ciphertext, 16 bytes longer than `key`. Raises ValueError for an impossible length."""
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"a key to be wrapped has 1 to {MAX_KEY_BYTES} bytes")
        return self._siv.encrypt(key, [associated_data])

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """The key inside `wrapped`. Raises UnwrapFailed."""
        if not SIV_BYTES < len(wrapped) <= SIV_BYTES + MAX_KEY_BYTES:
            raise UnwrapFailed
        try:
            return self._siv.decrypt(wrapped, [associated_data])
        except InvalidTag:
            raise UnwrapFailed from None


def _derive(kek: bytes, info: bytes, length: int) -> bytes:
    """No salt: the KEK is uniform already, and the file format has no place where a salt could be lost."""
    return HKDF(algorithm=SHA512(), length=length, salt=None, info=info).derive(kek)


# What key-encryption keys of the key services share: each wraps under a key that this process never has.
#
#     wrapped key   MAC (16 bytes), then what the service made of the key
#
# The first part is an HMAC under the KEK's id, over associated data and the second part. Anybody can
# compute it, and so it proves nothing: the service does. It tells damage and a wrong key without asking,
# and in one way for all services, each of which names such errors differently.

_MARK_BYTES = 16
MAX_SERVICE_BYTES = 8 * 1024
"""No service makes more of a key of 1024 bytes."""


class RemoteKek(ABC, Unpicklable):
    """A `kek.KeyEncryptionKey` behind a service. Every wrapping and unwrapping asks it once."""

    __slots__ = ("id",)

    def __init__(self, kek_id: str) -> None:
        """Asks nobody."""
        self.id = kek_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r})"

    def wrap(self, key: bytes, associated_data: bytes) -> bytes:
        """Raises as `KeyEncryptionKey`; KeySettingError; ValueError for an impossible length."""
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"a key to be wrapped has 1 to {MAX_KEY_BYTES} bytes")
        sealed = self._encrypt(key, sha256(associated_data).hexdigest())
        return self._mark(sealed, associated_data) + sealed

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """Raises as `KeyEncryptionKey`; KeySettingError."""
        mark, sealed = wrapped[:_MARK_BYTES], wrapped[_MARK_BYTES:]
        if not 0 < len(sealed) <= MAX_SERVICE_BYTES or mark != self._mark(sealed, associated_data):
            raise UnwrapFailed
        return self._decrypt(sealed, sha256(associated_data).hexdigest())

    @abstractmethod
    def _encrypt(self, key: bytes, context: str) -> bytes:
        """Let the service encrypt `key` and authenticate `context` with it. Raises as `wrap`."""

    @abstractmethod
    def _decrypt(self, sealed: bytes, context: str) -> bytes:
        """Let the service decrypt what `_encrypt` made with the same context. Raises as `unwrap`."""

    def _mark(self, sealed: bytes, associated_data: bytes) -> bytes:
        bound = len(associated_data).to_bytes(4, "big") + associated_data + sealed
        return hmac.digest(self.id.encode(), bound, "sha256")[:_MARK_BYTES]


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
