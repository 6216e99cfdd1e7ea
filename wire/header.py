"""The 16 bytes that open every message of the wire protocol."""

import struct
from enum import IntEnum
from typing import Final

from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.raw_bson import int32_at

HEADER_BYTES: Final = 16

# messageLength, requestID, responseTo, opCode; all little-endian int32
_HEADER: Final = struct.Struct("<iiii")


MSG: Final = 2013
"""OP_MSG's code as a plain integer: comparing with a member of an IntEnum is a call in a compiled core."""
COMPRESSED: Final = 2012
"""OP_COMPRESSED's, likewise."""


class OpCode(IntEnum):
    """The opcodes that this room reads and writes. A peer may send any other; the session refuses it."""

    REPLY = 1
    QUERY = 2004
    COMPRESSED = COMPRESSED
    MSG = MSG


def op_code_of(message: bytes) -> int:
    """The opcode of a message that framing has found whole; compare with `OpCode`. Cost: O(1)."""
    return int32_at(message, 12)


def request_id_of(message: bytes) -> int:
    """The id that the sender of a whole message gave it."""
    return int32_at(message, 4)


def response_to_of(message: bytes) -> int:
    """The id of the message that a whole message answers."""
    return int32_at(message, 8)


def build_header(payload_bytes: int, request_id: int, response_to: int, op_code: OpCode) -> bytes:
    """The header for a message whose part after the header is `payload_bytes` long."""
    return _HEADER.pack(HEADER_BYTES + payload_bytes, request_id, response_to, op_code)


def require_message(message: bytes, op_code: OpCode, minimum_bytes: int) -> None:
    """Check that `message` is one whole message with this opcode, of at least `minimum_bytes`.

    Raises: ProtocolError MESSAGE_TRUNCATED  shorter than `minimum_bytes`
                          MESSAGE_LENGTH     the header declares another length than the message has
                          OPCODE             another opcode than the caller's parser reads
    """
    if len(message) < max(minimum_bytes, HEADER_BYTES):
        raise ProtocolError(WireReason.MESSAGE_TRUNCATED, len(message))
    if int32_at(message, 0) != len(message):
        raise ProtocolError(WireReason.MESSAGE_LENGTH, 0)
    if op_code_of(message) != op_code:
        raise ProtocolError(WireReason.OPCODE, 12)
