"""The standard header."""

import re
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sealwire.proxy.session
import sealwire.wire
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.header import (
    HEADER_BYTES,
    OpCode,
    build_header,
    op_code_of,
    request_id_of,
    require_message,
    response_to_of,
)
from sealwire.wire.long_message import SMALL_BYTES, LongMessage, regrouped
from sealwire.wire.raw_bson import int32_at

_DUMP = bytes.fromhex("28000000 07000000 f9ffffff dd070000")


def test_the_four_integers_are_read_little_endian_and_signed() -> None:
    assert (int32_at(_DUMP, 0), request_id_of(_DUMP), response_to_of(_DUMP)) == (40, 7, -7)
    assert op_code_of(_DUMP) == OpCode.MSG


def test_an_unknown_opcode_is_read_and_left_to_the_session() -> None:
    assert op_code_of(_DUMP[:12] + b"\xff\xff\xff\xff") == -1


@pytest.mark.parametrize("size", range(HEADER_BYTES))
def test_a_header_that_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        require_message(_DUMP[:size], OpCode.MSG, 0)
    assert caught.value.reason is WireReason.MESSAGE_TRUNCATED
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


@pytest.mark.parametrize(
    ("message", "reason", "offset"),
    [
        (_DUMP, WireReason.MESSAGE_TRUNCATED, 16),
        (_DUMP + bytes(23), WireReason.MESSAGE_LENGTH, 0),
        (_DUMP + bytes(25), WireReason.MESSAGE_LENGTH, 0),
        (_DUMP[:12] + b"\xdc\x07\0\0" + bytes(24), WireReason.OPCODE, 12),
    ],
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


def test_repr_shows_no_content() -> None:
    assert repr(_parts(b"secret" * 10, 20)) == "LongMessage(size=60, parts=3)"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([5], [5]),
        ([SMALL_BYTES], [SMALL_BYTES]),
        ([4, SMALL_BYTES - 4, 1], [SMALL_BYTES, 1]),
        ([4, 5 * SMALL_BYTES, 3, 2], [5 * SMALL_BYTES + 4, 5]),
        ([SMALL_BYTES - 1, SMALL_BYTES - 1, SMALL_BYTES - 1], [2 * SMALL_BYTES - 2, SMALL_BYTES - 1]),
    ],
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
