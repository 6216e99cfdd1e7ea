import struct

import pytest
from bson import Binary, encode
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

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
from sealwire.crypto.errors import EnvelopeReason, InvalidEnvelope

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
    stored = before + binary(serialize_header(header))
    assert is_envelope(5, stored, len(before))
    assert not is_envelope(2, stored, len(before))
    assert not is_envelope(5, stored[: len(before) + 6], len(before))
    assert not is_envelope(5, stored.replace(MARKER, b"\0SW", 1), len(before))


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


@pytest.mark.parametrize(
    ("at", "byte", "reason"),
    [
        (0, 0x00, EnvelopeReason.MAGIC),
        (1, 0x77, EnvelopeReason.MAGIC),
        (2, 0, EnvelopeReason.FORMAT),
        (2, 2, EnvelopeReason.FORMAT),
        (3, 0, EnvelopeReason.MODE),
        (3, 3, EnvelopeReason.MODE),
        *((12, kind, EnvelopeReason.BSON_TYPE) for kind in (0x00, 0x06, 0x0A, 0x14, 0x7F, 0xFF)),
    ],
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


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (HEADER._replace(class_id=0), EnvelopeReason.CLASS_ID),
        (HEADER._replace(class_id=MAX_ID + 1), EnvelopeReason.CLASS_ID),
        (HEADER._replace(key_version=0), EnvelopeReason.KEY_VERSION),
        (HEADER._replace(key_version=-1), EnvelopeReason.KEY_VERSION),
        (HEADER._replace(bson_type=0x0A), EnvelopeReason.BSON_TYPE),
    ],
)
def test_no_header_is_written_that_would_not_be_read(header: EnvelopeHeader, reason: EnvelopeReason) -> None:
    with pytest.raises(InvalidEnvelope) as caught:
        serialize_header(header)
    assert caught.value.reason is reason


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
