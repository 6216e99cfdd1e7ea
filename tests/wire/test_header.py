"""The standard header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.header import (
    HEADER_BYTES,
    OpCode,
    build_header,
    op_code_of,
    request_id_of,
    require_message,
    response_to_of,
)
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
