"""OP_QUERY and OP_REPLY: the legacy pair that older drivers still use while they connect.

    OP_QUERY  header | int32 flags | cstring namespace | int32 skip | int32 return | document [| document]
    OP_REPLY  header | int32 flags | int64 cursor | int32 first | int32 number | documents

Nothing else of the legacy protocol is read: since MongoDB 5.1 servers accept OP_QUERY for hello, and for what
`proxy.session.login.legacy` names.
Source: MongoDB manual, "Wire Protocol", legacy opcodes.
"""

import struct
from typing import Final, NamedTuple

from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.framing import HEADER_BYTES, OpCode, build_header, require_message
from sealwire.wire.raw_bson import MIN_DOCUMENT_BYTES, document_end

# responseFlags bit 3: mongod has set it in every reply since 1.6.
AWAIT_CAPABLE: Final = 8

_NAMESPACE: Final = HEADER_BYTES + 4
# Bits 1 to 7 have a meaning; the specification says that the others must be 0.
_UNKNOWN_QUERY_FLAGS: Final = 0xFFFF_FFFF & ~0xFE

_uint32: Final = struct.Struct("<I").unpack_from
# responseFlags, cursorID, startingFrom, numberReturned
_REPLY: Final = struct.Struct("<Iqii")
_REPLY_DOCUMENTS: Final = HEADER_BYTES + _REPLY.size


class OpQuery(NamedTuple):
    """Where the parts of an OP_QUERY lie."""

    flags: int
    namespace: bytes
    """`database.collection` without its NUL, undecoded; `database.$cmd` for a command."""
    query: int
    """Offset of the query document: the command itself when the namespace ends in `.$cmd`."""
    end: int
    """Offset just past the query document; a field selector may follow, up to the message's end."""


class OpReply(NamedTuple):
    """Where the parts of an OP_REPLY lie."""

    flags: int
    """Response flag bits as received; undefined ones are to be ignored."""
    documents: tuple[int, ...]
    """Offset of each document."""


def parse_op_query(message: bytes) -> OpQuery:
    """Find the parts of one whole OP_QUERY.

    Raises: ProtocolError MESSAGE_TRUNCATED  no room for the fixed parts
                          MESSAGE_LENGTH     the header declares another length
                          OPCODE             not an OP_QUERY
                          FLAGS              a flag bit that must be 0
                          NAMESPACE          no NUL behind the namespace
                          MESSAGE_TRAILING   bytes behind the documents
            BsonError     BSON_LENGTH, BSON_TERMINATOR  a document that does not fit where it lies
    Cost:   O(namespace).
    """
    require_message(message, OpCode.QUERY, _NAMESPACE + 1 + 8 + MIN_DOCUMENT_BYTES)
    flags: int = _uint32(message, HEADER_BYTES)[0]
    if flags & _UNKNOWN_QUERY_FLAGS:
        raise ProtocolError(WireReason.FLAGS, HEADER_BYTES)
    nul = message.find(0, _NAMESPACE)
    if nul < 0:
        raise ProtocolError(WireReason.NAMESPACE, _NAMESPACE)
    query = nul + 1 + 8
    end = document_end(message, query, len(message))
    if end != len(message) and document_end(message, end, len(message)) != len(message):
        raise ProtocolError(WireReason.MESSAGE_TRAILING, end)
    return OpQuery(flags, message[_NAMESPACE:nul], query, end)


def parse_op_reply(message: bytes) -> OpReply:
    """Find the documents of one whole OP_REPLY.

    Raises: ProtocolError MESSAGE_TRUNCATED  no room for the fixed parts
                          MESSAGE_LENGTH     the header declares another length
                          OPCODE             not an OP_REPLY
                          DOCUMENT_COUNT     numberReturned is negative or more than can be there
                          MESSAGE_TRAILING   bytes behind the last document
            BsonError     BSON_LENGTH, BSON_TERMINATOR  a document that does not fit where it lies
    Cost:   O(documents).
    """
    require_message(message, OpCode.REPLY, _REPLY_DOCUMENTS)
    flags, _, _, count = _REPLY.unpack_from(message, HEADER_BYTES)
    if not 0 <= count <= (len(message) - _REPLY_DOCUMENTS) // MIN_DOCUMENT_BYTES:
        raise ProtocolError(WireReason.DOCUMENT_COUNT, _REPLY_DOCUMENTS - 4)
    documents: list[int] = []
    at = _REPLY_DOCUMENTS
    for _ in range(count):
        documents.append(at)
        at = document_end(message, at, len(message))
    if at != len(message):
        raise ProtocolError(WireReason.MESSAGE_TRAILING, at)
    return OpReply(flags, tuple(documents))


def build_op_reply(request_id: int, response_to: int, body: bytes, flags: int = AWAIT_CAPABLE) -> bytes:
    """An OP_REPLY with one document and no cursor: the answer to a command. Cost: O(bytes)."""
    payload = _REPLY.pack(flags, 0, 0, 1) + body
    return build_header(len(payload), request_id, response_to, OpCode.REPLY) + payload
