"""Ciphertexts as BSON holds them, and the memory of those that stand for the values of declared ranges."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, final

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import binary

MAX_KEPT_VALUES: Final = 73_100
"""Two centuries of days under one key: about 12 MB in all."""


def _encrypted(cipher: ValueCipher, kind: int, value: bytes) -> bytes:
    return binary(cipher.encrypt_deterministically(kind, value))


@final
class Grids:
    """Ciphertexts of the values of ranges.

    Ranges over the same years are asked again and again, and each value costs an AES-SIV call. These are
    ciphertexts of whole grids, which say nothing about what is stored; see the threat model.
    """

    __slots__ = ("_clear", "encrypted")

    def __init__(self) -> None:
        kept = lru_cache(MAX_KEPT_VALUES)(_encrypted)
        self.encrypted: Callable[[ValueCipher, int, bytes], bytes] = kept
        """From a cipher, a BSON type and a value to a BSON Binary."""
        self._clear = kept.cache_clear

    def clear(self) -> None:
        """Forget all of them, and with them the ciphers under which they lie."""
        self._clear()
