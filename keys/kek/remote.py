"""What key-encryption keys of the key services share: each wraps under a key that this process never has.

    wrapped key   MAC (16 bytes), then what the service made of the key

The first part is an HMAC under the KEK's id, over associated data and the second part. Anybody can compute
it, and so it proves nothing: the service does. It tells damage and a wrong key without asking, and in one way
for all services, each of which names such errors differently.
"""

import hmac
from abc import ABC, abstractmethod
from hashlib import sha256

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import UnwrapFailed
from sealwire.keys.kek.local_wrap import MAX_KEY_BYTES

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
