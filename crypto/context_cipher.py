"""Encrypt and decrypt the values of one context of a class: of one tenant, one patient.

Envelopes are of format 2. There may be as many ciphers as there are contexts, so one holds what it needs and
nothing made ahead: the header is put together for each value.
"""

from os import urandom
from typing import Final, NoReturn, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sealwire.crypto.envelope import (
    CONTEXT_HEADER_BYTES,
    ENCRYPTABLE_TYPES,
    KEY_BYTES,
    KEY_ID_BYTES,
    MAX_VALUE_BYTES,
    NONCE_BYTES,
    EnvelopeMode,
    associated_data,
    context_header,
    parse_context_header,
)
from sealwire.crypto.errors import DecryptionFailed, UnsupportedValue, ValueReason
from sealwire.crypto.unpicklable import refuse_to_serialise

_RANDOM_BODY: Final = CONTEXT_HEADER_BYTES + NONCE_BYTES


@final
class ContextCipher:
    """AES-256-SIV under the key of one context. Safe to share: nothing changes after construction.

    Cost: 4 KB, and 10 us to make.
    """

    __slots__ = ("_siv", "class_id", "key_id")

    def __init__(self, key: bytes, class_id: int, key_id: bytes) -> None:
        """`key`: 64 bytes, `key_id`: 16. Raises ValueError for other lengths."""
        if len(key) != KEY_BYTES or len(key_id) != KEY_ID_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, and its id {KEY_ID_BYTES}")
        self._siv = AESSIV(key)
        self.class_id = class_id
        self.key_id = key_id

    def __repr__(self) -> str:
        return f"ContextCipher(class_id={self.class_id})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_to_serialise(self)

    def encrypt_deterministically(self, bson_type: int, value: bytes) -> bytes:
        """The envelope of `value`; equal type and bytes give equal envelopes within the context.

        Units:   1 to 16 MiB in; 45 bytes more out
        Raises:  UnsupportedValue
        Cost:    O(n), two copies
        Source:  docs/format/envelope.md section 9
        """
        header = self._header(EnvelopeMode.DETERMINISTIC, bson_type, value)
        return header + self._siv.encrypt(value, associated_data(header))

    def encrypt_randomly(self, bson_type: int, value: bytes) -> bytes:
        """An envelope of `value` that equals no other. Units: 61 bytes more out. Raises UnsupportedValue."""
        header = self._header(EnvelopeMode.RANDOM, bson_type, value)
        nonce = urandom(NONCE_BYTES)  # see `cipher.HeaderCipher.seal`
        return header + nonce + self._siv.encrypt(value, associated_data(header, nonce))

    def decrypt(self, envelope: bytes) -> tuple[int, bytes]:
        """BSON type and value bytes of an envelope of format 2.

        Raises:  InvalidEnvelope   malformed, found before the key is used
                 DecryptionFailed  made with another key, or altered anywhere; carries no cause
        Cost:    O(n), two copies
        """
        header, key_id = parse_context_header(envelope)
        if key_id != self.key_id or header.class_id != self.class_id:
            raise DecryptionFailed
        bound = envelope[:CONTEXT_HEADER_BYTES]
        try:
            if header.mode is EnvelopeMode.DETERMINISTIC:
                value = self._siv.decrypt(envelope[CONTEXT_HEADER_BYTES:], associated_data(bound))
            else:
                parts = associated_data(bound, envelope[CONTEXT_HEADER_BYTES:_RANDOM_BODY])
                value = self._siv.decrypt(envelope[_RANDOM_BODY:], parts)
        except InvalidTag:
            raise DecryptionFailed from None
        return header.bson_type, value

    def _header(self, mode: EnvelopeMode, bson_type: int, value: bytes) -> bytes:
        if bson_type not in ENCRYPTABLE_TYPES:
            raise UnsupportedValue(ValueReason.BSON_TYPE)
        if not 0 < len(value) <= MAX_VALUE_BYTES:
            raise UnsupportedValue(ValueReason.TOO_LONG if value else ValueReason.EMPTY)
        return context_header(mode, self.class_id, self.key_id, bson_type)
