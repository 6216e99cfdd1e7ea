"""STREAM over AES-256-GCM: a byte stream as chunks that open only whole, in order, and up to the real end.

STREAM of Hoang, Reyhanitabar, Rogaway and Vizar (Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance, CRYPTO 2015, section 7): chunk i is sealed under the nonce (i, is it the last?), so none
can be moved, dropped, repeated or appended, and an end that was cut off is noticed. No I/O here.

    nonce, 12 B = 11 B counter from 0, big-endian | 1 B: 0, and 1 for the last chunk
    chunk = AES-256-GCM ciphertext | 16 B tag
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason

TAG_BYTES = 16
# With chunks of 1 MiB: 16 TiB, 2**40 blocks under one key. GCM's bound on telling it from a random function
# is then about 2**80 / 2**129; a larger backup is refused instead of weakened.
MAX_CHUNKS = 1 << 24


class ChunkCipher(Unpicklable):
    """Seals or opens the chunks of one backup, each once and in order. `key` belongs to this stream alone."""

    __slots__ = ("_aead", "_counter", "_ended")

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes, never used with another stream."""
        if len(key) != 32:
            raise ValueError("AES-256 takes a key of 32 bytes")
        self._aead = AESGCM(key)
        self._counter = 0
        self._ended = False

    def seal(self, plaintext: bytes | memoryview, *, last: bool) -> bytes:
        """The next chunk. Raises BackupDamaged TOO_LARGE; ValueError after the last one."""
        sealed = self._aead.encrypt(self._nonce(last=last), plaintext, None)
        self._advance(last=last)
        return sealed

    def open(self, sealed: bytes, *, last: bool, where: str) -> bytes:
        """The next chunk's plaintext. Raises BackupDamaged TRUNCATED, ALTERED, TOO_LARGE.

        `last` is what the file says: whether anything stands behind this chunk.
        """
        try:
            plaintext = self._aead.decrypt(self._nonce(last=last), sealed, None)
        except InvalidTag:
            raise self._refusal(sealed, last=last, where=where) from None
        self._advance(last=last)
        return plaintext

    def _refusal(self, sealed: bytes, *, last: bool, where: str) -> BackupDamaged:
        hint = "restore another backup, and find out what happened to this one"
        if last and self._is_inner(sealed):
            text = f"{where} was cut off in chunk {self._counter}"
            return BackupDamaged(BackupReason.TRUNCATED, text, hint)
        text = f"{where} was altered or cut off in chunk {self._counter}"
        return BackupDamaged(BackupReason.ALTERED, text, hint)

    def _is_inner(self, sealed: bytes) -> bool:
        """Whether `sealed` is a genuine chunk that others stood behind: a cut at the border of two."""
        try:
            self._aead.decrypt(self._nonce(last=False), sealed, None)
        except InvalidTag:
            return False
        return True

    def _nonce(self, *, last: bool) -> bytes:
        if self._ended:
            raise ValueError("the last chunk was processed already")
        if self._counter >= MAX_CHUNKS:
            text = f"a backup has at most {MAX_CHUNKS} chunks"
            raise BackupDamaged(BackupReason.TOO_LARGE, text, "back up databases in several files")
        return self._counter.to_bytes(11, "big") + bytes((last,))

    def _advance(self, *, last: bool) -> None:
        self._counter += 1
        self._ended = last
