"""Encrypt and decrypt the values of one class under one key version.

This is the inner loop of the proxy: the AES-SIV call is 1.1 us for a short value on the reference machine and
the Python around it must stay well below that. Hence headers and associated data are made once per BSON type
and found by one dict look-up, and the two directions do nothing else but check a length.
"""

from os import urandom
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sealwire.crypto.envelope import (
    ENCRYPTABLE_TYPES,
    HEADER_BYTES,
    KEY_BYTES,
    MAX_VALUE_BYTES,
    NONCE_BYTES,
    OVERHEAD_BYTES,
    Header,
    Mode,
    associated_data,
    parse_header,
    serialize_header,
)
from sealwire.crypto.errors import DecryptionFailed, UnsupportedValue, ValueReason
from sealwire.crypto.unpicklable import Unpicklable

_RANDOM_BODY = HEADER_BYTES + NONCE_BYTES


class _Prepared(NamedTuple):
    """One header, ready for use."""

    header: bytes
    parts: list[bytes]
    """Associated data of the deterministic mode; AESSIV reads the list and never changes it."""
    bson_type: int
    overhead: int
    is_random: bool


class ValueCipher(Unpicklable):
    """AES-256-SIV under the key of one class and version.

    Deterministic encryption shows which values of a class are equal, and how long every value is; random
    encryption shows lengths only. Safe to share between threads and sessions: nothing changes after
    construction.
    """

    __slots__ = (
        "_decrypt",
        "_encrypt",
        "_readable",
        "_to_deterministic",
        "_to_random",
        "class_id",
        "key_version",
    )

    def __init__(self, key: bytes, class_id: int, key_version: int) -> None:
        """`key`: 64 bytes. Raises ValueError for another length, InvalidEnvelope for an id out of range."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a data key is {KEY_BYTES} bytes long")
        siv = AESSIV(key)
        self._encrypt = siv.encrypt
        self._decrypt = siv.decrypt
        self.class_id = class_id
        self.key_version = key_version
        self._to_deterministic = self._prepare(Mode.DETERMINISTIC)
        self._to_random = self._prepare(Mode.RANDOM)
        # Decryption finds by the 13 bytes themselves: what is found is this class, this version, a known
        # mode and a known type, all in one look-up.
        self._readable = {
            prepared.header: prepared
            for mode in (self._to_deterministic, self._to_random)
            for prepared in mode.values()
        }

    def _prepare(self, mode: Mode) -> dict[int, _Prepared]:
        prepared = {}
        for bson_type in ENCRYPTABLE_TYPES:
            header = serialize_header(Header(mode, self.class_id, self.key_version, bson_type))
            prepared[bson_type] = _Prepared(
                header, associated_data(header), bson_type, OVERHEAD_BYTES[mode], mode is Mode.RANDOM
            )
        return prepared

    def __repr__(self) -> str:
        return f"ValueCipher(class_id={self.class_id}, key_version={self.key_version})"

    def encrypt_deterministically(self, bson_type: int, value: bytes) -> bytes:
        """Make the envelope of `value`; equal type and bytes give equal envelopes, which anyone can see.

        Shape:   `value` is the element's value exactly as BSON holds it, without type byte and name
        Units:   1 to 16 MiB in; 29 bytes more out
        Raises:  UnsupportedValue
        Cost:    O(n)
        Source:  docs/format/envelope.md section 3; RFC 5297 section 2.6
        """
        prepared = self._to_deterministic.get(bson_type)
        if prepared is None:
            raise UnsupportedValue(ValueReason.BSON_TYPE)
        if not 0 < len(value) <= MAX_VALUE_BYTES:
            raise _wrong_length(value)
        return prepared.header + self._encrypt(value, prepared.parts)

    def encrypt_randomly(self, bson_type: int, value: bytes) -> bytes:
        """Make an envelope of `value` that equals no other; it can be decrypted but not searched for.

        Units:   1 to 16 MiB in; 45 bytes more out
        Raises:  UnsupportedValue
        Cost:    O(n), and 16 bytes from the operating system
        Source:  docs/format/envelope.md section 3; RFC 5297 section 3
        """
        prepared = self._to_random.get(bson_type)
        if prepared is None:
            raise UnsupportedValue(ValueReason.BSON_TYPE)
        if not 0 < len(value) <= MAX_VALUE_BYTES:
            raise _wrong_length(value)
        # From the kernel and not from a generator in this process: forked workers would repeat its state.
        # (A repeated nonce would still only show that two equal values are equal.)
        nonce = urandom(NONCE_BYTES)
        header = prepared.header
        return header + nonce + self._encrypt(value, associated_data(header, nonce))

    def decrypt(self, envelope: bytes) -> tuple[int, bytes]:
        """Open `envelope`: its BSON type and the value's bytes.

        Shape:   `envelope` is the content of the BSON Binary, without length and subtype
        Binds:   the 13 header bytes (format, mode, class id, key version, BSON type), and the nonce
        Raises:  InvalidEnvelope   malformed, found before the key is used
                 DecryptionFailed  made for another class or version, or altered anywhere; carries no cause
        Cost:    O(n), one copy
        Source:  docs/format/envelope.md section 4; RFC 5297 section 2.7
        """
        header = envelope[:HEADER_BYTES]
        prepared = self._readable.get(header)
        if prepared is None or not 0 < len(envelope) - prepared.overhead <= MAX_VALUE_BYTES:
            parse_header(envelope)
            raise DecryptionFailed
        try:
            if prepared.is_random:
                parts = associated_data(header, envelope[HEADER_BYTES:_RANDOM_BODY])
                return prepared.bson_type, self._decrypt(envelope[_RANDOM_BODY:], parts)
            return prepared.bson_type, self._decrypt(envelope[HEADER_BYTES:], prepared.parts)
        except InvalidTag:
            raise DecryptionFailed from None


def _wrong_length(value: bytes) -> UnsupportedValue:
    return UnsupportedValue(ValueReason.TOO_LONG if value else ValueReason.EMPTY)
