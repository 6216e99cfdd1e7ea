"""How a cipher is held against frozen vectors of envelopes."""

from collections.abc import Callable
from typing import Any

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import EnvelopeMode
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope

Vector = dict[str, Any]
Cipher = ValueCipher | ContextCipher


def named(vector: Vector) -> str:
    return f"{vector['id']}: {vector['comment']}"


def outcome(envelope: bytes, cipher_of: Callable[[bytes], Cipher | None]) -> str:
    """What becomes of an envelope; `cipher_of` returns None for a key that is not known."""
    try:
        cipher = cipher_of(envelope)
        if cipher is None:
            return "unknown-key"
        cipher.decrypt(envelope)
    except InvalidEnvelope:
        return "invalid-envelope"
    except DecryptionFailed:
        return "decryption-failed"
    return "ok"


def assert_read_and_written(vector: Vector, cipher: Cipher) -> None:
    """A good vector opens, and is written again byte for byte; its nonce has to be set before."""
    envelope, value = bytes.fromhex(vector["envelope"]), bytes.fromhex(vector["value"])
    assert cipher.decrypt(envelope) == (vector["bson_type"], value)
    if vector["mode"] == EnvelopeMode.RANDOM:
        assert cipher.encrypt_randomly(vector["bson_type"], value) == envelope
    else:
        assert cipher.encrypt_deterministically(vector["bson_type"], value) == envelope
