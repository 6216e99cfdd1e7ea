"""Framing: the chunks of a stream never show in its messages, and a wrong length ends it."""

import re
import struct
import tracemalloc
from collections import deque
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sealwire.proxy.session
import sealwire.wire
from sealwire.wire import framing, op_msg, op_query
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.framing import (
    HEAD_BYTES,
    HEADER_BYTES,
    LONG_BYTES,
    MAX_MESSAGE_BYTES,
    PART_BYTES,
    SMALL_BYTES,
    Framer,
    LongMessage,
    OpCode,
    build_header,
    op_code_of,
    regrouped,
    request_id_of,
    require_message,
    response_to_of,
)
from sealwire.wire.raw_bson import JOINED_BYTES, MAX_DEPTH, MIN_DOCUMENT_BYTES, int32_at
from tests.strategies import MadeOpMsg, chunkings, op_msgs
from tests.support.reasons import raising
from tests.support.rows import rows

_LIMIT = 64


def _message(size: int, fill: bytes = b"m") -> bytes:
    return struct.pack("<i", size) + fill * (size - 4)


def _run(chunks: list[bytes], limit: int = _LIMIT) -> tuple[list[bytes], tuple[WireReason, int] | None, int]:
    """Messages, the error if there was one, and the bytes still pending."""
    framer = Framer(limit)
    messages: list[bytes] = []
    for chunk in chunks:
        try:
            messages += framer.feed(chunk)
        except ProtocolError as error:
            return messages, (error.reason, error.offset), framer.pending_bytes
    return messages, None, framer.pending_bytes


def test_one_message_in_one_chunk_is_handed_on_without_a_copy() -> None:
    data = _message(40)
    (message,) = Framer().feed(data)
    assert message is data


def test_several_messages_in_one_chunk_come_in_order() -> None:
    parts = [_message(16), _message(20, b"a"), _message(64, b"b")]
    framer = Framer(_LIMIT)
    assert framer.feed(b"".join(parts)) == parts
    assert framer.pending_bytes == 0


@rows(
    "before, data, reason",
    (b"", b"\x16\x03\x01\x02\x00\x01", WireReason.TLS),
    (b"", b"\x16\x04\x01\x02\x00\x01", WireReason.MESSAGE_LENGTH),
    (_message(16), b"\x16\x03\x01\x02\x00\x01", WireReason.MESSAGE_LENGTH),
)
def test_a_stream_that_begins_as_tls_does_is_told_from_a_wrong_length(
    before: bytes, data: bytes, reason: WireReason
) -> None:
    assert _run([before, data])[1] == (reason, len(before))


def test_a_message_waits_for_its_last_byte() -> None:
    data = _message(30)
    framer = Framer()
    assert framer.feed(data[:29]) == []
    assert framer.pending_bytes == 29
    assert framer.feed(data[29:] + data[:3]) == [data]
    assert framer.pending_bytes == 3
    assert framer.feed(data[3:]) == [data]
    assert framer.pending_bytes == 0


def test_messages_are_bytes_whichever_way_they_came() -> None:
    data = _message(30)
    framer = Framer()
    messages = framer.feed(data) + framer.feed(data + data[:9]) + framer.feed(data[9:])
    assert [type(message) for message in messages] == [bytes, bytes, bytes]


def test_nothing_fed_gives_nothing() -> None:
    assert Framer().feed(b"") == []


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 4, 15, _LIMIT + 1, 2**31 - 1])
@pytest.mark.parametrize("rest", [0, 12, 200])
def test_a_length_outside_the_bounds_is_refused_at_its_fourth_byte(length: int, rest: int) -> None:
    head = struct.pack("<i", length)
    framer = Framer(_LIMIT)
    assert framer.feed(head[:3]) == []
    with raising(ProtocolError, WireReason.MESSAGE_LENGTH) as caught:
        framer.feed(head[3:] + bytes(rest))
    assert caught.value.offset == 0
    assert framer.pending_bytes == 0


@pytest.mark.parametrize("length", [15, 65])
def test_a_chunk_that_is_one_message_is_bounded_too(length: int) -> None:
    with raising(ProtocolError, WireReason.MESSAGE_LENGTH):
        Framer(_LIMIT).feed(_message(length))


@pytest.mark.parametrize("length", [16, 64])
def test_the_bounds_themselves_are_allowed(length: int) -> None:
    assert Framer(_LIMIT).feed(_message(length)) == [_message(length)]
    with pytest.raises(ValueError, match="header"):
        Framer(15)


def test_the_usual_limit_is_that_of_mongod() -> None:
    framer = Framer()
    assert framer.feed(struct.pack("<i", MAX_MESSAGE_BYTES)) == []
    with pytest.raises(ProtocolError):
        Framer().feed(struct.pack("<i", MAX_MESSAGE_BYTES + 1))


def test_a_broken_stream_stays_broken_at_the_same_place() -> None:
    framer = Framer(_LIMIT)
    assert framer.feed(_message(20)) == [_message(20)]
    for data in (_message(16) + _message(99), _message(16), b""):
        with pytest.raises(ProtocolError) as caught:
            framer.feed(data)
        assert (caught.value.reason, caught.value.offset) == (WireReason.MESSAGE_LENGTH, 36)


def test_a_declared_length_costs_no_memory_until_the_bytes_come() -> None:
    head = struct.pack("<i", MAX_MESSAGE_BYTES) + bytes(12)
    framer = Framer()
    tracemalloc.start()
    try:
        framer.feed(head)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert framer.pending_bytes == 16
    assert peak_bytes < 10_000


@pytest.mark.parametrize("chunk_bytes", [1000, PART_BYTES - 1, PART_BYTES, 3 * PART_BYTES, LONG_BYTES])
def test_a_long_message_comes_in_parts_where_they_are_asked_for(chunk_bytes: int) -> None:
    data = struct.pack("<i", LONG_BYTES + 1) + (bytes(range(255)) * 5000)[: LONG_BYTES - 3]
    stream = data + _message(20)
    framer = Framer(long_messages=True)
    found: list[bytes | LongMessage] = []
    for start in range(0, len(stream), chunk_bytes):
        found += framer.feed_in_parts(stream[start : start + chunk_bytes])
        fed = min(start + chunk_bytes, len(stream))
        taken = sum(len(each) if isinstance(each, bytes) else each.size for each in found)
        assert framer.pending_bytes == fed - taken
        assert framer.arriving is None or not framer.arriving.complete
    assert framer.arriving is None
    long, short = found
    assert isinstance(long, LongMessage)
    assert short == _message(20)
    assert (long.size, long.joined()) == (len(data), data)
    assert all(len(part) >= PART_BYTES for part in list(long.parts)[:-1])
    assert long.head == data[: len(long.head)]


@pytest.mark.parametrize(("size", "asked"), [(LONG_BYTES, True), (LONG_BYTES + 1, False)])
def test_other_messages_are_in_one_piece(size: int, asked: bool) -> None:
    data = _message(size)
    framer = Framer(long_messages=asked)
    assert framer.feed_in_parts(data[:-1]) == []
    assert framer.feed_in_parts(data[-1:]) == [data]


def test_a_stream_goes_on_behind_a_long_message_and_breaks_at_the_right_place() -> None:
    data = _message(LONG_BYTES + 9)
    framer = Framer(long_messages=True)
    assert framer.feed(data[:-1]) == []
    assert framer.feed(data[-1:] + data[:7]) == [data]
    with pytest.raises(ProtocolError) as caught:
        framer.feed(data[7:] + _message(15))
    assert caught.value.offset == 2 * len(data)


def test_repr_shows_no_content() -> None:
    framer = Framer()
    framer.feed(_message(40, b"Z")[:30])
    assert repr(framer) == "Framer(pending_bytes=30, broken=False)"


_STREAMS = st.lists(
    st.one_of(
        st.integers(16, _LIMIT).map(_message),
        st.integers(16, _LIMIT).map(_message),
        st.sampled_from([-1, 0, 15, _LIMIT + 1]).map(lambda length: struct.pack("<i", length)),
        st.binary(max_size=6),
    ),
    max_size=6,
).map(b"".join)


@given(_STREAMS, st.data())
@example(_message(16) + struct.pack("<i", 15), None)
def test_chunking_changes_neither_the_messages_nor_the_error(
    stream: bytes, draw: st.DataObject | None
) -> None:
    single = _run([stream[i : i + 1] for i in range(len(stream))])
    others = [_run([stream])]
    if draw is not None:
        others.append(_run(draw.draw(chunkings(stream))))
    for messages, error, pending in others:
        assert (error, pending) == single[1:]
        # what stands before a wrong length in one chunk with it is not acted on
        assert messages == single[0] if error is None else messages == single[0][: len(messages)]


@given(st.lists(op_msgs(), max_size=4), st.data())
def test_messages_cut_from_a_stream_are_the_messages_sent(made: list[MadeOpMsg], draw: st.DataObject) -> None:
    sent = [m.message for m in made]
    messages, error, pending = _run(draw.draw(chunkings(b"".join(sent))), MAX_MESSAGE_BYTES)
    assert (messages, error, pending) == (sent, None, 0)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_give_messages_or_a_protocol_error(chunks: list[bytes]) -> None:
    messages, error, pending = _run(chunks)
    assert all(16 <= len(message) <= _LIMIT for message in messages)
    if error is None:
        assert b"".join(messages) == b"".join(chunks)[: len(b"".join(chunks)) - pending]


class TestAccept:
    def test_longer_messages_are_taken_from_the_next_one_on(self) -> None:
        framer = Framer(32)
        framer.accept(64)
        longer = _message(64)
        assert framer.feed(longer[:40]) == []
        assert framer.feed(longer[40:]) == [longer]

    def test_a_length_that_was_refused_stays_refused(self) -> None:
        framer = Framer(32)
        with pytest.raises(ProtocolError):
            framer.feed(_message(64))
        framer.accept(64)
        with pytest.raises(ProtocolError):
            framer.feed(_message(24))


def test_the_longest_message_is_that_of_mongod() -> None:
    assert MAX_MESSAGE_BYTES == 48_000_000


def test_a_framer_says_whether_a_whole_message_has_come() -> None:
    data, framer = _message(20), Framer()
    for chunk in (data[:3], data[3:19], data[19:]):
        assert not framer.has_given
        framer.feed(chunk)
    assert framer.has_given
    framer.feed(data[:5])
    assert framer.has_given


@rows(
    "limit, number",
    # maxMessageSizeBytes of every MongoDB server
    (MAX_MESSAGE_BYTES, 48_000_000),
    # header, flags, a section's kind and the length of its document
    (HEAD_BYTES, 25),
    (HEADER_BYTES, 16),
    (MIN_DOCUMENT_BYTES, 5),
    (framing.MSG, 2013),
    (op_msg.CHECKSUM_PRESENT, 1),
    (op_msg.MORE_TO_COME, 2),
    (op_msg.CHECKSUM_BYTES, 4),
    (op_msg.MAX_SEQUENCES, 16),
    (op_query.AWAIT_CAPABLE, 8),
    (MAX_DEPTH, 200),
    (LONG_BYTES, 1_048_576),
    (PART_BYTES, 131_072),
    (SMALL_BYTES, 4096),
    (JOINED_BYTES, 1_048_576),
)
def test_a_limit_is_what_it_was(limit: int, number: int) -> None:
    assert limit == number


# The standard header.


_DUMP = bytes.fromhex("28000000 07000000 f9ffffff dd070000")


def test_the_four_integers_are_read_little_endian_and_signed() -> None:
    assert (int32_at(_DUMP, 0), request_id_of(_DUMP), response_to_of(_DUMP)) == (40, 7, -7)
    assert op_code_of(_DUMP) == OpCode.MSG


def test_an_unknown_opcode_is_read_and_left_to_the_session() -> None:
    assert op_code_of(_DUMP[:12] + b"\xff\xff\xff\xff") == -1


@pytest.mark.parametrize("size", range(HEADER_BYTES))
def test_a_header_that_is_cut_off_is_refused(size: int) -> None:
    with raising(ProtocolError, WireReason.MESSAGE_TRUNCATED) as caught:
        require_message(_DUMP[:size], OpCode.MSG, 0)
    assert caught.value.offset == size


_INT32 = st.integers(-(2**31), 2**31 - 1)


@given(st.integers(0, 48_000_000), _INT32, _INT32, st.sampled_from(OpCode))
def test_a_built_header_is_read_back(
    payload: int, request_id: int, response_to: int, op_code: OpCode
) -> None:
    built = build_header(payload, request_id, response_to, op_code)
    assert len(built) == HEADER_BYTES
    assert int32_at(built, 0) == payload + HEADER_BYTES
    assert (request_id_of(built), response_to_of(built)) == (request_id, response_to)
    assert op_code_of(built) == op_code


@rows(
    "message, reason, offset",
    (_DUMP, WireReason.MESSAGE_TRUNCATED, 16),
    (_DUMP + bytes(23), WireReason.MESSAGE_LENGTH, 0),
    (_DUMP + bytes(25), WireReason.MESSAGE_LENGTH, 0),
    (_DUMP[:12] + b"\xdc\x07\0\0" + bytes(24), WireReason.OPCODE, 12),
)
def test_a_parser_gets_one_whole_message_of_its_opcode(
    message: bytes, reason: WireReason, offset: int
) -> None:
    require_message(_DUMP + bytes(24), OpCode.MSG, 20)
    with pytest.raises(ProtocolError) as caught:
        require_message(message, OpCode.MSG, 20)
    assert (caught.value.reason, caught.value.offset) == (reason, offset)


# Errors of the wire room: a stable reason, an offset, and nothing of what was read.


@pytest.mark.parametrize("kind", [ProtocolError, BsonError])
@pytest.mark.parametrize("reason", WireReason)
def test_an_error_is_its_reason_and_its_offset(kind: type[ProtocolError], reason: WireReason) -> None:
    error = kind(reason, 17)
    assert (error.reason, error.offset) == (reason, 17)
    assert error.args == (f"{reason.value} at byte 17",)
    assert isinstance(error, ProtocolError)


def test_every_reason_is_given_somewhere_and_bson_reasons_by_bson_errors_only() -> None:
    rooms = [*sealwire.wire.__path__, *sealwire.proxy.session.__path__]
    source = "".join(path.read_text() for room in rooms for path in Path(room).rglob("*.py"))
    raised = set(re.findall(r"(BsonError|ProtocolError)\(WireReason\.(\w+)", source))
    assert {reason for _, reason in raised} == {reason.name for reason in WireReason}
    assert {kind == "BsonError" for kind, reason in raised if reason.startswith("BSON_")} == {True}
    assert {kind == "BsonError" for kind, reason in raised if not reason.startswith("BSON_")} == {False}


# A message in parts: nothing of it depends on where it was cut, and what was taken is gone.


def _parts(data: bytes, size: int) -> LongMessage:
    parts = deque(data[start : start + size] for start in range(0, len(data), size))
    return LongMessage(parts, len(data))


@given(st.binary(min_size=8, max_size=60), st.integers(3, 70), st.data())
def test_what_it_holds_does_not_depend_on_the_cuts(data: bytes, size: int, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data) - 3))
    assert _parts(data, size).holds(data[start : start + 3])
    other = draw.draw(st.binary(min_size=3, max_size=3))
    assert _parts(data, size).holds(other) == (other in data)


def test_joined_it_is_in_one_piece_from_then_on() -> None:
    message = _parts(bytes(range(100)), 7)
    whole = message.joined()
    assert whole == bytes(range(100))
    assert list(message.parts) == [whole]
    assert message.joined() is whole
    assert message.head == bytes(range(7))


def test_it_is_complete_when_its_last_part_has_come() -> None:
    message = LongMessage(deque((bytes(30),)), 50)
    assert not message.complete
    message.add(bytes(20))
    assert message.complete
    message.parts.popleft()
    assert message.complete


def test_repr_of_a_header_shows_no_content() -> None:
    assert repr(_parts(b"secret" * 10, 20)) == "LongMessage(size=60, parts=3)"


@rows(
    "sizes, expected",
    ([], []),
    ([5], [5]),
    ([SMALL_BYTES], [SMALL_BYTES]),
    ([4, SMALL_BYTES - 4, 1], [SMALL_BYTES, 1]),
    ([4, 5 * SMALL_BYTES, 3, 2], [5 * SMALL_BYTES + 4, 5]),
    ([SMALL_BYTES - 1, SMALL_BYTES - 1, SMALL_BYTES - 1], [2 * SMALL_BYTES - 2, SMALL_BYTES - 1]),
)
def test_small_pieces_are_joined_and_taken(sizes: list[int], expected: list[int]) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]
    whole = b"".join(pieces)
    grouped = regrouped(pieces)
    assert [len(piece) for piece in grouped] == expected
    assert b"".join(grouped) == whole
    assert pieces == []


def test_a_piece_that_is_large_enough_is_not_copied() -> None:
    large = bytes(SMALL_BYTES)
    assert regrouped([large])[0] is large
