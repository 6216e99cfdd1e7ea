"""Wrapping with a KEK that this process holds itself: what the environment and the key file share."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import UnwrapFailed

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
