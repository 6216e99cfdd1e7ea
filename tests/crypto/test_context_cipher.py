"""Envelopes of format 2, and their frozen vectors: what a release has once read, every later one reads."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from sealwire.crypto import context_cipher
from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import EnvelopeMode, parse_any_header, parse_context_header, parse_header
from sealwire.crypto.errors import (
    DecryptionFailed,
    EnvelopeReason,
    InvalidEnvelope,
    UnsupportedValue,
    ValueReason,
)
from tests.crypto import make_context_vectors
from tests.support.reasons import raising

PATH = Path(__file__).parent / "vectors" / "envelope-2.json"
# Never change this number. New vectors go into a new file.
FROZEN_SHA256 = "e9e8d74ac0aea907a66426c244ca042d5743ddf9101a57d35604bdf65122b92c"

DOCUMENT = json.loads(PATH.read_bytes())
VECTORS = DOCUMENT["vectors"]
KEY, KEY_ID = (bytes.fromhex(DOCUMENT["key"][name]) for name in ("key", "key_id"))
CLASS_ID = DOCUMENT["key"]["class_id"]
CIPHER = ContextCipher(KEY, CLASS_ID, KEY_ID)


def named(vector: dict[str, Any]) -> str:
    return f"{vector['id']}: {vector['comment']}"


def outcome(envelope: bytes) -> str:
    try:
        if parse_context_header(envelope)[1] != KEY_ID:
            return "unknown-key"
        CIPHER.decrypt(envelope)
    except InvalidEnvelope:
        return "invalid-envelope"
    except DecryptionFailed:
        return "decryption-failed"
    return "ok"


def test_the_file_is_frozen() -> None:
    assert hashlib.sha256(PATH.read_bytes()).hexdigest() == FROZEN_SHA256


def test_the_file_is_what_the_independent_generator_makes() -> None:
    assert make_context_vectors.document() == PATH.read_text()


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_a_vector_ends_as_it_says(vector: dict[str, Any]) -> None:
    assert outcome(bytes.fromhex(vector["envelope"])) == vector["expect"]


@pytest.mark.plain_core("a compiled module cannot be patched")
@pytest.mark.parametrize("vector", [v for v in VECTORS if v["expect"] == "ok"], ids=named)
def test_a_good_vector_is_read_and_written_exactly(
    vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope, value = bytes.fromhex(vector["envelope"]), bytes.fromhex(vector["value"])
    assert CIPHER.decrypt(envelope) == (vector["bson_type"], value)
    if vector["mode"] == EnvelopeMode.RANDOM:
        monkeypatch.setattr(context_cipher, "urandom", lambda _length: bytes.fromhex(DOCUMENT["nonce"]))
        assert CIPHER.encrypt_randomly(vector["bson_type"], value) == envelope
    else:
        assert CIPHER.encrypt_deterministically(vector["bson_type"], value) == envelope


@pytest.mark.parametrize(
    "cipher", [ContextCipher(KEY, CLASS_ID + 1, KEY_ID), ContextCipher(KEY, CLASS_ID, KEY_ID[::-1])]
)
def test_the_key_by_another_name_opens_nothing(cipher: ContextCipher) -> None:
    envelope = CIPHER.encrypt_deterministically(0x08, b"\1")
    with pytest.raises(DecryptionFailed):
        cipher.decrypt(envelope)


def test_a_reader_of_one_format_refuses_the_other() -> None:
    envelope = CIPHER.encrypt_deterministically(0x08, b"\1")
    with raising(InvalidEnvelope, EnvelopeReason.FORMAT):
        parse_header(envelope)
    assert parse_any_header(envelope).class_id == CLASS_ID


def test_random_envelopes_of_one_value_differ() -> None:
    first, second = (CIPHER.encrypt_randomly(0x08, b"\1") for _ in range(2))
    assert first != second
    assert CIPHER.decrypt(first) == CIPHER.decrypt(second) == (0x08, b"\1")


@pytest.mark.parametrize(
    ("bson_type", "value", "reason"),
    [
        (0x0A, b"x", ValueReason.BSON_TYPE),
        (0x02, b"", ValueReason.EMPTY),
        (0x02, bytes((16 << 20) + 1), ValueReason.TOO_LONG),
    ],
    ids=["null", "empty", "too long"],
)
def test_what_no_envelope_can_hold_is_refused(bson_type: int, value: bytes, reason: ValueReason) -> None:
    for encrypt in (CIPHER.encrypt_deterministically, CIPHER.encrypt_randomly):
        with raising(UnsupportedValue, reason):
            encrypt(bson_type, value)


def test_a_key_or_an_id_of_another_length_is_refused() -> None:
    for key, key_id in ((KEY[1:], KEY_ID), (KEY, KEY_ID[1:])):
        with pytest.raises(ValueError, match="bytes"):
            ContextCipher(key, CLASS_ID, key_id)


def test_it_shows_no_key_and_is_not_copied() -> None:
    assert repr(CIPHER) == f"ContextCipher(class_id={CLASS_ID})"
    with pytest.raises(TypeError):
        copy.copy(CIPHER)
