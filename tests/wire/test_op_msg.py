"""OP_MSG: sections in any order, every malformed region, and byte-identical rebuilding."""

import struct
from collections.abc import Callable

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.wire import op_msg
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.framing import OpCode, request_id_of, response_to_of
from sealwire.wire.op_msg import (
    CHECKSUM_PRESENT,
    MAX_SEQUENCES,
    MORE_TO_COME,
    OpMsg,
    Sequence,
    build_op_msg,
    crc32c,
    parse_op_msg,
    refresh_checksum,
    sequence_documents,
)
from tests.bson_types import BsonType
from tests.strategies import MadeOpMsg, MadeSequence, corpus_documents, made_op_msg, op_msgs
from tests.support.reasons import raising
from tests.support.rows import rows
from tests.wire.corpus import document, element, int32, string

# {ping: 1, $db: "x"} by hand
_BODY = bytes.fromhex("1a000000 10 70696e6700 01000000 02 24646200 02000000 7800 00")
_PING = bytes.fromhex("2f000000 07000000 00000000 dd070000 00000000 00") + _BODY
_DOC = document(element(BsonType.INT, b"a", int32(1)))
_SEQUENCE = MadeSequence(b"documents", (_DOC, document()))


def _framed(payload: bytes, op_code: int = OpCode.MSG) -> bytes:
    return struct.pack("<iiii", 16 + len(payload), 1, 0, op_code) + payload


def _flagged(flags: int, sections: bytes) -> bytes:
    return _framed(struct.pack("<I", flags) + sections)


def _signed(sections: bytes, flags: int = 1) -> bytes:
    """With a checksum that is right whatever the sections are."""
    covered = struct.pack("<iiiiI", 24 + len(sections), 1, 0, OpCode.MSG, flags) + sections
    return covered + struct.pack("<I", crc32c(covered))


def parts_of(message: bytes) -> tuple[int, int, tuple[Sequence, ...], int]:
    parsed = parse_op_msg(message)
    return parsed.flags, parsed.body, parsed.sequences, parsed.end


def test_a_plain_command_is_its_body() -> None:
    assert parts_of(_PING) == (0, 21, (), 47)


def test_a_message_from_hex_with_a_sequence_before_the_body_and_a_checksum() -> None:
    message = bytes.fromhex(
        "46000000 2a000000 00000000 dd070000 03000000"  # checksum_present, more_to_come
        "01 13000000 646f63756d656e747300 0500000000"  # documents: [{}]
        "00 19000000 10 696e7300 01000000 02 24646200 02000000 7800 00"
        "3b8ef197"
    )
    flags = CHECKSUM_PRESENT | MORE_TO_COME
    assert parts_of(message) == (flags, 41, (Sequence(b"documents", start=21, documents=35, end=40),), 66)


def test_flag_bits_are_those_of_the_specification() -> None:
    assert (CHECKSUM_PRESENT, MORE_TO_COME) == (1, 2)


@pytest.mark.parametrize("bit", range(2, 16))
def test_an_unknown_required_flag_is_refused(bit: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_op_msg(_flagged(1 << bit, b"\0" + _BODY))
    assert (caught.value.reason, caught.value.offset) == (WireReason.FLAGS, 16)


@pytest.mark.parametrize("bit", range(16, 32))
def test_an_unknown_optional_flag_is_ignored(bit: int) -> None:
    assert parse_op_msg(_flagged(1 << bit, b"\0" + _BODY)).flags == 1 << bit


def _behind(sections: bytes) -> bytes:
    """A message of a body and these sections."""
    return _flagged(0, b"\0" + _BODY + sections)


def _sized(size: int, content: bytes) -> bytes:
    """A sequence that says this size."""
    return b"\1" + int32(size) + content


_FULL_SEQUENCE = b"\1" + int32(4 + 10 + len(_DOC)) + b"documents\0" + _DOC

_MALFORMED: dict[str, tuple[bytes, WireReason]] = {
    "nothing": (b"", WireReason.MESSAGE_TRUNCATED),
    "header alone": (_framed(b""), WireReason.MESSAGE_TRUNCATED),
    "flags alone": (_framed(bytes(4)), WireReason.MESSAGE_TRUNCATED),
    "no room for a body": (_framed(bytes(9)), WireReason.MESSAGE_TRUNCATED),
    "declared shorter than it is": (_PING + b"\0", WireReason.MESSAGE_LENGTH),
    "declared longer than it is": (_PING[:-1], WireReason.MESSAGE_LENGTH),
    "declared shorter than its body": (int32(len(_PING) - 1) + _PING[4:], WireReason.MESSAGE_LENGTH),
    "declared longer than its body": (int32(len(_PING) + 1) + _PING[4:], WireReason.MESSAGE_LENGTH),
    "another opcode": (_framed(_PING[16:], 2012), WireReason.OPCODE),
    "kind 2": (_flagged(0, b"\2" + _BODY), WireReason.SECTION_KIND),
    "kind 255 behind the body": (_behind(b"\xff"), WireReason.SECTION_KIND),
    "no body": (_flagged(0, _FULL_SEQUENCE), WireReason.SECTION_MISSING_BODY),
    "two bodies": (_behind(b"\0" + _BODY), WireReason.SECTION_DUPLICATE),
    "two sequences of one name": (_behind(_FULL_SEQUENCE + _FULL_SEQUENCE), WireReason.SECTION_DUPLICATE),
    "a sequence inside another's field": (
        _behind(_FULL_SEQUENCE + _sized(16, b"documents.x\0")),
        WireReason.SECTION_DUPLICATE,
    ),
    "a sequence for a field of the body": (_behind(_sized(9, b"ping\0")), WireReason.SECTION_DUPLICATE),
    "a sequence inside a field of the body": (
        _flagged(0, _sized(11, b"ping.x\0") + b"\0" + _BODY),
        WireReason.SECTION_DUPLICATE,
    ),
    "more sequences than any command has": (
        _behind(b"".join(_sized(6, b"%c\0") % (65 + i) for i in range(17))),
        WireReason.SECTION_COUNT,
    ),
    "body shorter than its length": (_flagged(0, b"\0" + int32(27) + _BODY[4:]), WireReason.BSON_LENGTH),
    "body of length four": (_flagged(0, b"\0" + int32(4) + _BODY[4:]), WireReason.BSON_LENGTH),
    "body of negative length": (_flagged(0, b"\0" + int32(-26) + _BODY[4:]), WireReason.BSON_LENGTH),
    "body without terminator": (_flagged(0, b"\0" + _BODY[:-1] + b"\1"), WireReason.BSON_TERMINATOR),
    "body with a byte behind it": (_behind(b"\0"), WireReason.SECTION_DUPLICATE),
    "body kind byte at the very end": (_flagged(0, _FULL_SEQUENCE + b"\0"), WireReason.BSON_LENGTH),
    "body damaged where the duplicate rule looks": (
        _flagged(0, b"\0" + document(b"\x42a\0") + _FULL_SEQUENCE),
        WireReason.BSON_TYPE,
    ),
    "sequence size cut off": (_behind(b"\1\0\0\0"), WireReason.SECTION_LENGTH),
    "sequence size zero": (_behind(_sized(0, b"d\0")), WireReason.SECTION_LENGTH),
    "sequence size four": (_behind(b"\1" + int32(4)), WireReason.SECTION_LENGTH),
    "sequence size negative": (_behind(_sized(-9, b"d\0")), WireReason.SECTION_LENGTH),
    "sequence overruns the message": (_behind(_sized(7, b"d\0")), WireReason.SECTION_LENGTH),
    "sequence size largest": (_behind(_sized(2**31 - 1, b"d\0")), WireReason.SECTION_LENGTH),
    "identifier without NUL": (_behind(_sized(7, b"doc")), WireReason.SECTION_IDENTIFIER),
    "identifier whose NUL lies past the sequence": (
        _flagged(0, _sized(7, b"doc") + b"\0" + _BODY),
        WireReason.SECTION_IDENTIFIER,
    ),
    "sequence with a cut document": (_behind(_sized(9, b"d\0") + b"\5\0\0"), WireReason.BSON_LENGTH),
    "sequence whose document overruns it": (
        _flagged(0, _sized(11, b"d\0") + int32(6) + b"\0" + b"\0" + _BODY),
        WireReason.BSON_LENGTH,
    ),
    "sequence whose document has no terminator": (
        _behind(_sized(11, b"d\0") + int32(5) + b"\1"),
        WireReason.BSON_TERMINATOR,
    ),
    "checksum wrong": (_signed(b"\0" + _BODY)[:-1] + b"\xee", WireReason.CHECKSUM),
    "checksum over other bytes": (_signed(b"\0" + _BODY).replace(b"ping", b"pong"), WireReason.CHECKSUM),
    "checksum flag without a checksum": (_flagged(1, b"\0" + _BODY), WireReason.CHECKSUM),
    "checksum where the body should be": (_signed(b"\0\5"), WireReason.BSON_LENGTH),
    "checksum and no sections": (_signed(b"") + b"", WireReason.MESSAGE_TRUNCATED),
    "sequence swallows the checksum": (
        _signed(b"\0" + _BODY + _sized(4 + 2 + 4, b"d\0")),
        WireReason.SECTION_LENGTH,
    ),
    "body swallows the checksum": (_signed(b"\0" + int32(30) + _BODY[4:]), WireReason.BSON_LENGTH),
}


@pytest.mark.parametrize("name", _MALFORMED)
def test_a_malformed_message_is_refused_with_its_reason(name: str) -> None:
    message, reason = _MALFORMED[name]
    with raising(ProtocolError, reason) as caught:
        parse_op_msg(message)
    assert 0 <= caught.value.offset <= len(message)


def test_as_many_sequences_as_allowed_are_read() -> None:
    sections = b"".join(b"\1" + int32(6) + b"%c\0" % (65 + i) for i in range(MAX_SEQUENCES))
    assert len(parse_op_msg(_flagged(0, b"\0" + _BODY + sections)).sequences) == MAX_SEQUENCES


def test_a_sequence_may_be_empty_of_documents() -> None:
    message = _flagged(0, b"\0" + _BODY + b"\1" + int32(6) + b"d\0")
    (sequence,) = parse_op_msg(message).sequences
    assert list(sequence_documents(message, sequence)) == []


def _rebuilt(message: bytes, parsed: OpMsg) -> bytes:
    """The message from its parts alone."""
    body_end = parsed.body + int.from_bytes(message[parsed.body : parsed.body + 4], "little")
    sections = [(parsed.body, b"\0" + message[parsed.body : body_end])]
    for sequence in parsed.sequences:
        documents = b""
        for start in sequence_documents(message, sequence):
            documents += message[start : start + int.from_bytes(message[start : start + 4], "little")]
        content = sequence.identifier + b"\0" + documents
        sections.append((sequence.start, b"\1" + int32(len(content) + 4) + content))
    payload = struct.pack("<I", parsed.flags) + b"".join(section for _, section in sorted(sections))
    checksum_bytes = 4 if parsed.flags & CHECKSUM_PRESENT else 0
    built = struct.pack(
        "<iiii",
        16 + len(payload) + checksum_bytes,
        request_id_of(message),
        response_to_of(message),
        OpCode.MSG,
    )
    built += payload
    return built + struct.pack("<I", crc32c(built)) if checksum_bytes else built


@given(op_msgs())
def test_parse_then_rebuild_is_byte_identical(made: MadeOpMsg) -> None:
    assert _rebuilt(made.message, parse_op_msg(made.message)) == made.message


@given(op_msgs())
def test_parts_are_found_where_they_were_put(made: MadeOpMsg) -> None:
    message = made.message
    parsed = parse_op_msg(message)
    assert parsed.flags == made.flags
    assert message[parsed.body :].startswith(made.body)
    assert parsed.end == len(message) - (4 if made.flags & 1 else 0)
    assert [s.identifier for s in parsed.sequences] == [s.identifier for s in made.sequences]
    for found, put in zip(parsed.sequences, made.sequences, strict=True):
        starts = list(sequence_documents(message, found))
        assert [message[a:b] for a, b in zip(starts, [*starts[1:], found.end], strict=bool(starts))] == list(
            put.documents
        )


_IDS = st.integers(-(2**31), 2**31 - 1)


@given(_IDS, _IDS, corpus_documents(), st.sampled_from([0, 1, 2, 3, 1 << 16]))
def test_a_built_message_is_what_it_was_built_of(
    request_id: int, response_to: int, body: bytes, flags: int
) -> None:
    made = made_op_msg(body, (None,), flags, request_id, response_to)
    assert build_op_msg(request_id, response_to, body, flags) == made.message


def test_a_built_message_has_no_flags_unless_asked() -> None:
    assert build_op_msg(7, 0, _BODY) == _PING


@given(op_msgs(), st.binary(min_size=4, max_size=4))
def test_a_refreshed_checksum_is_right(made: MadeOpMsg, trailer: bytes) -> None:
    stale = made.message[:-4] + trailer if made.flags & 1 else made.message
    assert refresh_checksum(stale) == made.message


def test_a_message_without_checksum_is_refreshed_to_itself() -> None:
    assert refresh_checksum(_PING) is _PING


@rows(
    "message, reason",
    (_PING[:19], WireReason.MESSAGE_TRUNCATED),
    (_PING[:-1], WireReason.MESSAGE_LENGTH),
    (_flagged(1, b""), WireReason.MESSAGE_TRUNCATED),
    (_flagged(1, b"abc"), WireReason.MESSAGE_TRUNCATED),
)
def test_what_cannot_carry_a_checksum_is_not_refreshed(message: bytes, reason: WireReason) -> None:
    with raising(ProtocolError, reason):
        refresh_checksum(message)


def _parses_or_refuses(parse: Callable[[bytes], object], data: bytes) -> None:
    """Nothing but the documented errors escapes, each with reasons of its own class."""
    refusal: ProtocolError | None = None
    try:
        parse(data)
    except ProtocolError as error:
        refusal = error
    if refusal is not None:
        assert refusal.reason.value.startswith("bson-") == isinstance(refusal, BsonError)


@given(st.binary(max_size=80))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    _parses_or_refuses(parse_op_msg, data)
    _parses_or_refuses(parse_op_msg, _framed(data))
    _parses_or_refuses(parse_op_msg, _signed(data))
    _parses_or_refuses(refresh_checksum, _framed(data))


@given(op_msgs(), st.data())
def test_a_damaged_message_is_parsed_or_refused(made: MadeOpMsg, draw: st.DataObject) -> None:
    damaged = bytearray(made.message)
    for _ in range(draw.draw(st.integers(1, 3))):
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    _parses_or_refuses(parse_op_msg, bytes(damaged))
    _parses_or_refuses(lambda data: parse_op_msg(refresh_checksum(data)), bytes(damaged))


@given(op_msgs(), st.data())
def test_a_truncated_message_is_refused(made: MadeOpMsg, draw: st.DataObject) -> None:
    size = draw.draw(st.integers(0, len(made.message) - 1))
    with pytest.raises(ProtocolError):
        parse_op_msg(made.message[:size])


@given(op_msgs().map(lambda made: made_op_msg(made.body, made.sections)), st.data())
def test_a_message_that_ends_inside_a_section_is_refused(made: MadeOpMsg, draw: st.DataObject) -> None:
    parsed = parse_op_msg(made.message)
    whole = {parsed.body + len(made.body), *(sequence.end for sequence in parsed.sequences)}
    size = draw.draw(st.sampled_from(sorted(set(range(20, len(made.message))) - whole)))
    with pytest.raises(ProtocolError):
        parse_op_msg(int32(size) + made.message[4:size])


@given(op_msgs().map(lambda made: made_op_msg(made.body, made.sections, made.flags | 1)), st.data())
def test_one_changed_bit_never_passes_the_checksum(made: MadeOpMsg, draw: st.DataObject) -> None:
    damaged = bytearray(made.message)
    # not the length and opcode, which are judged first, nor the flag that says there is a checksum
    at = draw.draw(st.integers(17, len(damaged) - 1))
    damaged[at] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(ProtocolError) as caught:
        parse_op_msg(bytes(damaged))
    assert caught.value.reason in {WireReason.CHECKSUM, WireReason.FLAGS}


def test_a_string_in_the_body_is_in_no_error() -> None:
    body = document(element(BsonType.STRING, b"nhs_number", string(b"9434765919")))
    with pytest.raises(ProtocolError) as caught:
        parse_op_msg(_flagged(0, b"\0" + body[:-1] + b"\7"))
    assert "9434765919" not in repr(caught.value)
    assert "nhs_number" not in str(caught.value)


@rows("flags, expected", (0, True), (1, False), (2, True), (3, False), (1 << 16, True))
def test_what_begins_a_message_says_whether_it_ends_with_a_checksum(flags: int, expected: bool) -> None:
    message = build_op_msg(1, 0, bson.encode({"ping": 1}), flags)
    assert op_msg.has_no_checksum(message[:20]) is expected


# RFC 3720 appendix B.4; the RFC prints the bytes as sent, these are the integers.
_KNOWN = {
    "32 zero bytes": (bytes(32), 0x8A9136AA),
    "32 bytes of ones": (b"\xff" * 32, 0x62A8AB43),
    "32 ascending bytes": (bytes(range(32)), 0x46DD794E),
    "32 descending bytes": (bytes(range(31, -1, -1)), 0x113FDB5C),
    "an iSCSI read command": (
        bytes.fromhex(
            "01c00000 00000000 00000000 00000000 14000000 00000400"
            "00000014 00000018 28000000 00000000 02000000 00000000"
        ),
        0xD9963A56,
    ),
    "the check value of the algorithm": (b"123456789", 0xE3069283),
    "nothing": (b"", 0),
}


@pytest.mark.parametrize("name", _KNOWN)
def test_known_answers(name: str) -> None:
    data, answer = _KNOWN[name]
    assert crc32c(data) == answer


def _bitwise(data: bytes) -> int:
    register = 0xFFFF_FFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F6_3B78 if register & 1 else 0)
    return register ^ 0xFFFF_FFFF


@given(st.binary(max_size=100))
def test_the_library_computes_what_the_definition_says(data: bytes) -> None:
    assert crc32c(data) == _bitwise(data)
