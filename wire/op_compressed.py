"""OP_COMPRESSED: another message in fewer bytes.

    int32 x 4  header, whose opcode is 2012
    int32 original opcode | int32 uncompressed size | uint8 compressor
    data       what lay behind the header of the original message, compressed

The ids in the header are the original's. `uncompressed size` does not count a header. Nothing that a peer
says here is believed: the size has to be within the limit for messages before anything is inflated, inflating
stops at it, and what comes out has to have exactly that length. Only an OP_MSG may be inside, so nothing is
nested.
Source: OP_COMPRESSED (driver specifications).
"""

import struct
from collections.abc import Sequence
from typing import Final

from sealwire.wire.compressors import Compressor, Uninflatable
from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.framing import (
    HEADER_BYTES,
    MSG,
    OpCode,
    build_header,
    request_id_of,
    require_message,
    response_to_of,
)
from sealwire.wire.raw_bson import int32_at

_SIZE: Final = HEADER_BYTES + 4
_COMPRESSOR: Final = _SIZE + 4
_DATA: Final = _COMPRESSOR + 1

WORTHWHILE_BYTES: Final = 256
"""A message that is shorter is sent as it is: compressing it costs more time than sending it."""

# originalOpcode, uncompressedSize, compressorId
_FIELDS: Final = struct.Struct("<iiB")


def compressor_of(message: bytes, allowed: Sequence[Compressor]) -> Compressor:
    """Which of `allowed` a whole compressed message names.

    Raises: ProtocolError MESSAGE_TRUNCATED  no room for the fields
                          MESSAGE_LENGTH     the header declares another length
                          OPCODE             not an OP_COMPRESSED
                          COMPRESSOR         none of `allowed`, which are those that both peers know of
    """
    require_message(message, OpCode.COMPRESSED, _DATA)
    number = message[_COMPRESSOR]
    for compressor in allowed:
        if compressor.number == number:
            return compressor
    raise ProtocolError(WireReason.COMPRESSOR, _COMPRESSOR)


def inflate(message: bytes, compressor: Compressor, max_message_bytes: int) -> bytes:
    """The OP_MSG inside a compressed message for which `compressor_of` has found the compressor.

    Raises: ProtocolError OPCODE           something else than an OP_MSG is inside
                          COMPRESSED_SIZE  with its header it would be longer than `max_message_bytes`
                          COMPRESSED_DATA  the data is broken, or not of the length that was announced
    Cost:   O(bytes that come out), which are `max_message_bytes` at most.
    """
    if int32_at(message, HEADER_BYTES) != MSG:
        raise ProtocolError(WireReason.OPCODE, HEADER_BYTES)
    size = int32_at(message, _SIZE)
    if not 0 <= size <= max_message_bytes - HEADER_BYTES:
        raise ProtocolError(WireReason.COMPRESSED_SIZE, _SIZE)
    try:
        content = compressor.inflate(message[_DATA:], size)
    except Uninflatable:
        raise ProtocolError(WireReason.COMPRESSED_DATA, _DATA) from None
    header = build_header(size, request_id_of(message), response_to_of(message), OpCode.MSG)
    return header + content


def compress(message: bytes, compressor: Compressor) -> bytes:
    """An OP_MSG, compressed; `message` itself where that would not be shorter. Cost: O(bytes)."""
    size = len(message) - HEADER_BYTES
    if len(message) < WORTHWHILE_BYTES:
        return message
    data = compressor.compress(message[HEADER_BYTES:])
    if _DATA - HEADER_BYTES + len(data) >= size:
        return message
    payload = _FIELDS.pack(MSG, size, compressor.number) + data
    header = build_header(len(payload), request_id_of(message), response_to_of(message), OpCode.COMPRESSED)
    return header + payload
