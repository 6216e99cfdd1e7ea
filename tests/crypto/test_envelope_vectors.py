"""The frozen vectors of format 1: what a release has once read, every later release reads.

docs/format/envelope.md quotes some of them.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from sealwire.crypto import cipher as cipher_module
from sealwire.crypto.cipher import SealedTogether, ValueCipher
from sealwire.crypto.envelope import EnvelopeMode, parse_header
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.crypto.short_siv import SHORT_BYTES
from tests.crypto import make_envelope_vectors
from tests.support.short_siv import made_with_short_siv

PATH = Path(__file__).parent / "vectors" / "envelope-1.json"
# Never change this number. New vectors go into a new file.
FROZEN_SHA256 = "67585cabb58c0b39b90da1d97f8e8fe12b366a3871aecc3eb0569b8c1a582d17"

DOCUMENT = json.loads(PATH.read_bytes())
VECTORS = DOCUMENT["vectors"]
BY_ID = {vector["id"]: vector for vector in VECTORS}
PAGE = (Path(__file__).parents[2] / "docs" / "format" / "envelope.md").read_text()
QUOTED = re.findall(r"^Vector (\d+): .*?```\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)


def ciphers() -> dict[tuple[int, int], ValueCipher]:
    return {
        (key["class_id"], key["key_version"]): ValueCipher(
            bytes.fromhex(key["key"]), key["class_id"], key["key_version"]
        )
        for key in DOCUMENT["keys"]
    }


CIPHERS = ciphers()
TOGETHER = made_with_short_siv(ciphers)


def named(vector: dict[str, Any]) -> str:
    return f"{vector['id']}: {vector['comment']}"


def outcome(envelope: bytes) -> str:
    try:
        header = parse_header(envelope)
        cipher = CIPHERS.get((header.class_id, header.key_version))
        if cipher is None:
            return "unknown-key"
        cipher.decrypt(envelope)
    except InvalidEnvelope:
        return "invalid-envelope"
    except DecryptionFailed:
        return "decryption-failed"
    return "ok"


def test_the_file_is_frozen() -> None:
    assert hashlib.sha256(PATH.read_bytes()).hexdigest() == FROZEN_SHA256


def test_the_file_is_what_the_independent_generator_makes() -> None:
    assert make_envelope_vectors.document() == PATH.read_text()


def test_every_outcome_is_covered() -> None:
    outcomes = {vector["expect"] for vector in VECTORS}
    assert outcomes == {"ok", "invalid-envelope", "unknown-key", "decryption-failed"}


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_a_vector_ends_as_it_says(vector: dict[str, Any]) -> None:
    assert outcome(bytes.fromhex(vector["envelope"])) == vector["expect"]


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["expect"] == "ok"], ids=named)
def test_a_good_vector_is_read_and_written_exactly(
    vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cipher = CIPHERS[vector["class_id"], vector["key_version"]]
    envelope, value = bytes.fromhex(vector["envelope"]), bytes.fromhex(vector["value"])
    assert cipher.decrypt(envelope) == (vector["bson_type"], value)
    if vector["mode"] == EnvelopeMode.RANDOM:
        monkeypatch.setattr(cipher_module, "urandom", lambda _length: bytes.fromhex(DOCUMENT["nonce"]))
        assert cipher.encrypt_randomly(vector["bson_type"], value) == envelope
    else:
        assert cipher.encrypt_deterministically(vector["bson_type"], value) == envelope


def test_the_good_vectors_are_read_and_written_together() -> None:
    good = [v for v in VECTORS if v["expect"] == "ok" and v["mode"] == EnvelopeMode.DETERMINISTIC]
    sealing = SealedTogether(len(good))
    for place, vector in enumerate(good):
        cipher = TOGETHER[vector["class_id"], vector["key_version"]]
        sealing.group(cipher.of_type(vector["bson_type"])).add(place, bytes.fromhex(vector["value"]))
    assert [envelope.hex() for envelope in sealing.envelopes()] == [vector["envelope"] for vector in good]
    short = [vector for vector in good if len(vector["value"]) <= 2 * SHORT_BYTES]
    for vector in short:
        header = TOGETHER[vector["class_id"], vector["key_version"]].of_type(vector["bson_type"])
        opening, envelope = header.together(), bytes.fromhex(vector["envelope"])
        assert header.seal(bytes.fromhex(vector["value"])) == envelope
        assert header.open(envelope, 0, len(envelope)) == bytes.fromhex(vector["value"])
        assert opening is not None
        for start in range(3):
            opening.add(start * len(envelope), (start + 1) * len(envelope))
        assert opening.values(3 * envelope) == 3 * [bytes.fromhex(vector["value"])]
    assert len(short) > 10


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["expect"] == "decryption-failed"], ids=named)
def test_a_vector_that_does_not_open_opens_none_beside_it(vector: dict[str, Any]) -> None:
    envelope = bytes.fromhex(vector["envelope"])
    header = parse_header(envelope)
    cipher = TOGETHER[header.class_id, header.key_version]
    if header.mode is EnvelopeMode.DETERMINISTIC:
        opening = cipher.of_type(header.bson_type).together()
        assert opening is not None
        good = cipher.encrypt_deterministically(header.bson_type, b"beside")
        opening.add(0, len(good))
        if opening.add(len(good), len(good) + len(envelope)):
            with pytest.raises(DecryptionFailed):
                opening.values(good + envelope)
    with pytest.raises(DecryptionFailed):
        cipher.decrypt(envelope)


def test_several_vectors_are_quoted() -> None:
    assert len(QUOTED) >= 3


@pytest.mark.parametrize(("number", "lines"), QUOTED)
def test_a_quoted_vector_is_the_frozen_one(number: str, lines: str) -> None:
    assert re.sub(r"\s", "", lines) == BY_ID[int(number)]["envelope"]


@pytest.mark.parametrize(
    ("number", "value"),
    re.findall(r"^Vector (\d+): [^`]*`?[^`]*`? ?\(plaintext `([0-9a-f]+)`", PAGE, re.MULTILINE),
)
def test_a_quoted_plaintext_is_the_frozen_one(number: str, value: str) -> None:
    assert BY_ID[int(number)]["value"] == value
