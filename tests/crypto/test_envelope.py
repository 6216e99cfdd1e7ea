import ast
import hashlib
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, encode
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from sealwire.crypto import cipher as cipher_module
from sealwire.crypto.cipher import SealedTogether, ValueCipher
from sealwire.crypto.envelope import (
    ENCRYPTABLE_TYPES,
    FORMAT_OFFSET,
    HEADER_BYTES,
    KEY_ID_BYTES,
    MARKER,
    MAX_ID,
    MAX_VALUE_BYTES,
    OVERHEAD_BYTES,
    SUBTYPE,
    EnvelopeHeader,
    EnvelopeMode,
    associated_data,
    beginning,
    binary,
    context_header,
    context_keys_in,
    is_envelope,
    is_of_context,
    marker_of_class,
    of_no_key,
    parse_header,
    serialize_header,
    write_binary,
)
from sealwire.crypto.errors import DecryptionFailed, EnvelopeReason, InvalidEnvelope
from sealwire.crypto.short_siv import SHORT_BYTES
from tests.crypto import make_envelope_vectors
from tests.crypto.frozen_vectors import Vector, assert_read_and_written, named, outcome
from tests.support.reasons import raising
from tests.support.rows import rows
from tests.support.short_siv import made_with_short_siv
from tools.coverage_run import source_modules

HEADER = EnvelopeHeader(EnvelopeMode.DETERMINISTIC, 0x01020304, 7, 0x02)
SHORTEST = bytes.fromhex("5357010101020304000000070200000000000000000000000000000000ff")

ids = st.integers(1, MAX_ID)
headers = st.builds(
    EnvelopeHeader, st.sampled_from(EnvelopeMode), ids, ids, st.sampled_from(sorted(ENCRYPTABLE_TYPES))
)


def body(mode: EnvelopeMode, value_bytes: int = 1) -> bytes:
    return bytes(OVERHEAD_BYTES[mode] - HEADER_BYTES + value_bytes)


def reason_for(envelope: bytes) -> EnvelopeReason:
    with pytest.raises(InvalidEnvelope) as caught:
        parse_header(envelope)
    return caught.value.reason


def test_a_header_has_the_layout_that_the_format_document_draws() -> None:
    assert serialize_header(HEADER).hex() == "53570101010203040000000702"


def test_the_marker_is_the_subtype_and_the_magic() -> None:
    assert MARKER == b"\x80SW"
    assert SUBTYPE == 0x80


@given(header=headers, before=st.binary(max_size=5))
def test_an_envelope_is_known_where_it_lies(header: EnvelopeHeader, before: bytes) -> None:
    value = binary(serialize_header(header))
    stored = before + value
    assert is_envelope(5, stored, len(before))
    assert not is_envelope(2, stored, len(before))
    assert not is_envelope(5, stored[: len(before) + 6], len(before))
    assert not is_envelope(5, before + value.replace(MARKER, b"\0SW", 1), len(before))


@given(header=headers)
def test_all_envelopes_of_one_version_begin_alike(header: EnvelopeHeader) -> None:
    mode, class_id, version, _ = header
    of_mode = serialize_header(header._replace(mode=EnvelopeMode.DETERMINISTIC))
    assert of_mode.startswith(beginning(class_id, version))
    assert MARKER[:1] + of_mode[:8] == marker_of_class(class_id)
    assert serialize_header(header).startswith(beginning(class_id, version)) == (mode == 1)
    with pytest.raises(InvalidEnvelope):
        beginning(0, version)


def test_an_envelope_of_no_key_is_well_formed() -> None:
    assert parse_header(of_no_key()) == (EnvelopeMode.DETERMINISTIC, 1, 1, 2)


def test_the_ids_of_keys_of_contexts_are_found_wherever_they_lie() -> None:
    ids = [bytes((number,)) * KEY_ID_BYTES for number in (1, 2)]
    stored = [binary(context_header(EnvelopeMode.DETERMINISTIC, 1, key_id, 2)) for key_id in ids]
    assert context_keys_in(b"x".join(stored)) == ids
    assert context_keys_in(stored[0] + binary(serialize_header(HEADER))) == ids[:1]
    assert context_keys_in(stored[0][:-1]) == []


@given(header=headers)
def test_what_is_serialized_is_parsed_again(header: EnvelopeHeader) -> None:
    assert parse_header(serialize_header(header) + body(header.mode)) == header


@given(header=headers, other=headers)
def test_headers_sort_by_class_then_version_within_a_mode(
    header: EnvelopeHeader, other: EnvelopeHeader
) -> None:
    other = other._replace(mode=header.mode)
    by_bytes = serialize_header(header) < serialize_header(other)
    assert by_bytes == (header < other)


@given(data=st.binary(max_size=80))
def test_arbitrary_bytes_are_a_header_or_an_invalid_envelope(data: bytes) -> None:
    try:
        header = parse_header(data)
    except InvalidEnvelope:
        return
    assert data.startswith(serialize_header(header))


@given(tail=st.binary(max_size=60))
def test_bytes_behind_the_magic_are_a_header_or_an_invalid_envelope(tail: bytes) -> None:
    try:
        header = parse_header(b"SW\x01" + tail)
    except InvalidEnvelope:
        return
    assert (b"SW\x01" + tail).startswith(serialize_header(header))


@rows(
    "at, byte, reason",
    (0, 0x00, EnvelopeReason.MAGIC),
    (1, 0x77, EnvelopeReason.MAGIC),
    (2, 0, EnvelopeReason.FORMAT),
    (2, 2, EnvelopeReason.FORMAT),
    (3, 0, EnvelopeReason.MODE),
    (3, 3, EnvelopeReason.MODE),
    *((12, kind, EnvelopeReason.BSON_TYPE) for kind in (0x00, 0x06, 0x0A, 0x14, 0x7F, 0xFF)),
)
def test_each_byte_of_the_header_is_checked(at: int, byte: int, reason: EnvelopeReason) -> None:
    assert reason_for(SHORTEST[:at] + bytes((byte,)) + SHORTEST[at + 1 :]) is reason


def test_a_header_alone_is_judged_as_a_header() -> None:
    assert reason_for(b"XX" + SHORTEST[2:HEADER_BYTES]) is EnvelopeReason.MAGIC
    assert reason_for(SHORTEST[:HEADER_BYTES]) is EnvelopeReason.LENGTH
    assert reason_for(b"XX" + SHORTEST[2 : HEADER_BYTES - 1]) is EnvelopeReason.LENGTH


def test_zero_is_neither_a_class_nor_a_version() -> None:
    assert reason_for(SHORTEST[:4] + bytes(4) + SHORTEST[8:]) is EnvelopeReason.CLASS_ID
    assert reason_for(SHORTEST[:8] + bytes(4) + SHORTEST[12:]) is EnvelopeReason.KEY_VERSION


@pytest.mark.parametrize("mode", list(EnvelopeMode))
def test_an_envelope_holds_at_least_one_byte_of_value(mode: EnvelopeMode) -> None:
    header = HEADER._replace(mode=mode)
    assert parse_header(serialize_header(header) + body(mode, 1)) == header
    for missing in range(1, OVERHEAD_BYTES[mode] + 2):
        assert reason_for((serialize_header(header) + body(mode, 1))[:-missing]) is EnvelopeReason.LENGTH


@pytest.mark.parametrize("mode", list(EnvelopeMode))
def test_an_envelope_holds_no_more_than_the_largest_value(mode: EnvelopeMode) -> None:
    header = HEADER._replace(mode=mode)
    longest = serialize_header(header) + body(mode, MAX_VALUE_BYTES)
    assert parse_header(longest) == header
    assert reason_for(longest + b"\0") is EnvelopeReason.LENGTH


@rows(
    "header, reason",
    (HEADER._replace(class_id=0), EnvelopeReason.CLASS_ID),
    (HEADER._replace(class_id=MAX_ID + 1), EnvelopeReason.CLASS_ID),
    (HEADER._replace(key_version=0), EnvelopeReason.KEY_VERSION),
    (HEADER._replace(key_version=-1), EnvelopeReason.KEY_VERSION),
    (HEADER._replace(bson_type=0x0A), EnvelopeReason.BSON_TYPE),
)
def test_no_header_is_written_that_would_not_be_read(header: EnvelopeHeader, reason: EnvelopeReason) -> None:
    with raising(InvalidEnvelope, reason):
        serialize_header(header)


@given(envelope=st.binary(max_size=600))
def test_a_binary_is_what_drivers_write(envelope: bytes) -> None:
    document = encode({"a": Binary(envelope, SUBTYPE)})
    assert document[7:-1] == binary(envelope)


def test_a_binary_is_written_behind_what_is_there() -> None:
    out = BytesWriter()
    out.write(b"before")
    write_binary(out, SHORTEST)
    assert out.getvalue() == b"before" + binary(SHORTEST)


def test_the_nonce_is_the_last_part_of_associated_data() -> None:
    assert associated_data(b"header") == [b"header"]
    assert associated_data(b"header", b"nonce") == [b"header", b"nonce"]


def test_version_prefixes_are_contiguous_in_binary_order() -> None:
    low, high = (serialize_header(HEADER._replace(key_version=version)) for version in (255, 256))
    between = [serialize_header(HEADER._replace(key_version=255, bson_type=kind)) for kind in (0x03, 0x13)]
    assert low < between[0] < between[1] < high
    assert struct.unpack(">I", low[8:12]) == (255,)


def test_the_longest_value_is_the_longest_document_of_mongodb() -> None:
    assert MAX_VALUE_BYTES == 16_777_216


def test_the_format_is_told_of_what_is_long_enough_to_say_it() -> None:
    of_context = context_header(EnvelopeMode.RANDOM, 7, bytes(KEY_ID_BYTES), 0x02)
    assert is_of_context(of_context)
    assert is_of_context(b"xy" + of_context, 2)
    assert not is_of_context(serialize_header(HEADER))
    for length in range(FORMAT_OFFSET + 1):
        assert not is_of_context(of_context[:length])


# The frozen vectors of format 1: what a release has once read, every later release reads.


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


def cipher_of(envelope: bytes) -> ValueCipher | None:
    header = parse_header(envelope)
    return CIPHERS.get((header.class_id, header.key_version))


def test_the_file_is_frozen() -> None:
    assert hashlib.sha256(PATH.read_bytes()).hexdigest() == FROZEN_SHA256


def test_the_file_is_what_the_independent_generator_makes() -> None:
    assert make_envelope_vectors.document() == PATH.read_text()


def test_every_outcome_is_covered() -> None:
    outcomes = {vector["expect"] for vector in VECTORS}
    assert outcomes == {"ok", "invalid-envelope", "unknown-key", "decryption-failed"}


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_a_vector_ends_as_it_says(vector: Vector) -> None:
    assert outcome(bytes.fromhex(vector["envelope"]), cipher_of) == vector["expect"]


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["expect"] == "ok"], ids=named)
def test_a_good_vector_is_read_and_written_exactly(vector: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cipher_module, "urandom", lambda _length: bytes.fromhex(DOCUMENT["nonce"]))
    assert_read_and_written(vector, CIPHERS[vector["class_id"], vector["key_version"]])


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


# Where the parts of an envelope lie, only the room `crypto` says.


ROOT = Path(__file__).resolve().parents[2]
LAYOUT = {
    *("CLASS_ID_END", "CONTEXT_FORMAT", "CONTEXT_HEADER_BYTES", "FORMAT", "FORMAT_OFFSET", "HEADER_BYTES"),
    *("NONCE_BYTES", "SIV_BYTES", "TYPE_OFFSET"),
}
TAKEN = {
    "policies/aggregation/pipelines.py": {repr(MARKER)},
    # the header is the key of a dictionary of ciphers
    "keys/keyring/keyring.py": {"HEADER_BYTES"},
    # the order of envelopes is that of the bytes behind what they share
    "sidecars/migration/windows/order.py": {"TYPE_OFFSET"},
}


def found_in(tree: ast.AST) -> Iterator[str]:
    """What a module says of the layout: names it imports, and constants of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "sealwire.crypto.envelope":
            yield from (name.name for name in node.names if name.name in LAYOUT)
        if isinstance(node, ast.Constant) and node.value in (b"SW", b"\x80SW"):
            yield repr(node.value)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            names = node.targets if isinstance(node, ast.Assign) else [node.target]
            if node.value.value == 5 and any("CONTENT" in ast.unparse(name) for name in names):
                yield ast.unparse(node)


@pytest.mark.plain_core(reason="reads the sources at the root")
def test_no_other_room_says_where_the_parts_of_an_envelope_lie() -> None:
    found: dict[str, set[str]] = {}
    for module in source_modules():
        if not module.startswith("crypto/"):
            said = set(found_in(ast.parse((ROOT / module).read_bytes())))
            if said:
                found[module] = said
    assert found == TAKEN


def test_what_is_looked_for_is_found() -> None:
    said = """
from sealwire.crypto.envelope import TYPE_OFFSET, binary
MARK = b"\\x80SW"
CONTENT: Final = 5
"""
    assert list(found_in(ast.parse(said))) == ["TYPE_OFFSET", "CONTENT: Final = 5", "b'\\x80SW'"]
