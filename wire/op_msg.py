"""OP_MSG: the sections of a message as offsets into it, and the few messages that Sealwire writes itself.

    int32 x 4  header | uint32 flag bits | sections | uint32 CRC-32C, if checksum_present
    section    0x00  document                                              the body: exactly one
               0x01  int32 size | cstring identifier | documents           a document sequence: any number
    `size` counts itself, the identifier and the documents, not the kind byte.

Sections come in any order and stay as they are: a 48 MB batch in a sequence does not fit into one document.
Source: OP_MSG (driver specifications); MongoDB manual, "Wire Protocol", OP_MSG.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, final

import google_crc32c
from mypy_extensions import mypyc_attr

from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.framing import HEADER_BYTES, MSG, OpCode, build_header, op_code_of, require_message
from sealwire.wire.raw_bson import MIN_DOCUMENT_BYTES, document_end, elements, find_nul, int32_at

# The low 16 flag bits are required: a peer that does not know one must refuse the message. These are all of
# them. A high one, such as 1 << 16 (exhaustAllowed), passes.
CHECKSUM_PRESENT: Final = 1 << 0
MORE_TO_COME: Final = 1 << 1

# Commands use two at most (bulkWrite: ops and nsInfo), and mongod closes the connection on more than two,
# a limit it may raise (SERVER-31829). Without a bound, a message of 48 MB could hold six million empty
# sequences, which take nearly 30 times its size in memory.
MAX_SEQUENCES: Final = 16

CHECKSUM_BYTES: Final = 4
_SECTIONS: Final = HEADER_BYTES + 4
_SMALLEST_BYTES: Final = _SECTIONS + 1 + MIN_DOCUMENT_BYTES

_UNKNOWN_REQUIRED: Final = 0xFFFF & ~(CHECKSUM_PRESENT | MORE_TO_COME)

_uint32: Final = struct.Struct("<I")


# CRC-32C (Castagnoli), the checksum that ends an OP_MSG when its `checksum_present` flag bit is set.


def crc32c(data: bytes) -> int:
    """CRC-32C of `data` as an unsigned 32-bit integer.

    Takes `bytes` only: the C extension accepts neither memoryview nor bytearray, so a caller that
    checks a part of a message pays one copy of that part.
    Cost:   O(n); 0.2 us for 200 B, 1.6 us for 16 kB, 0.3 ms for 1 MiB (about 4 GB/s, one EPYC core,
            google-crc32c 1.9 with its C extension; its fallback in pure Python warns when imported).
    Source: RFC 3720 appendix B.4; OP_MSG (driver specifications), "checksum".
    """
    value: int = google_crc32c.value(data)
    return value


class Sequence(NamedTuple):
    """A document sequence (kind 1), as offsets into the message."""

    identifier: bytes
    """Name of the command's array field that the sequence stands for, without its NUL, undecoded."""
    start: int
    """Offset of its int32 size: the length that a splice inside it has to correct."""
    documents: int
    """Offset of the first document; equal to `end` when there is none."""
    end: int
    """Offset just past the last document."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)  # see raw_bson.Cursor
class OpMsg:
    """Where the parts of an OP_MSG lie. All offsets count from the header's first byte."""

    __slots__ = ("body", "end", "flags", "sequences")

    def __init__(self, flags: int, body: int, sequences: tuple[Sequence, ...], end: int) -> None:
        self.flags = flags
        """The flag bits as received."""
        self.body = body
        """Offset of the body document."""
        self.sequences = sequences
        """In the order of the message."""
        self.end = end
        """Offset just past the last section, where the checksum begins if there is one."""


def parse_op_msg(message: bytes) -> OpMsg:
    """Find the sections of one whole OP_MSG.

    Checked: the extent and terminator of the body and of every document in a sequence. Not checked: what
    is inside them, except the body's top level when there are sequences, for the duplicate rule.

    Raises: ProtocolError MESSAGE_TRUNCATED     no room for the flag bits and a body
                          MESSAGE_LENGTH        the header declares another length
                          OPCODE                not an OP_MSG
                          FLAGS                 an unknown flag bit among the low 16
                          CHECKSUM              the CRC-32C does not fit the bytes
                          SECTION_KIND          a kind other than 0 and 1
                          SECTION_LENGTH        a sequence that is too short or ends past the sections
                          SECTION_IDENTIFIER    an identifier without its NUL
                          SECTION_COUNT         more than MAX_SEQUENCES sequences
                          SECTION_DUPLICATE     two bodies; two sequences of one name; a sequence for a
                                                field that the body has too
                          SECTION_MISSING_BODY  no section of kind 0
            BsonError     BSON_LENGTH, BSON_TERMINATOR  a document that does not fit where it lies; others
                                                of its reasons only from the walk of the body's top level
    Cost:   O(1) for a body alone: one struct read and a few comparisons, 0.5 us; else O(documents); with a
            checksum also O(bytes).
    """
    size = len(message)
    # Nearly every message: no flags, and one body that fills it. Other shapes take the long way. For two
    # messages this saves 2,000 of the 94,000 instructions of a find-one.
    if (
        size >= _SMALLEST_BYTES
        and int32_at(message, 0) == size
        and op_code_of(message) == MSG
        and not int32_at(message, HEADER_BYTES)
        and not message[_SECTIONS]
        and int32_at(message, _SECTIONS + 1) == size - _SECTIONS - 1
        and not message[size - 1]
    ):
        return OpMsg(0, _SECTIONS + 1, (), size)
    return _parse(message)


def _parse(message: bytes) -> OpMsg:
    require_message(message, OpCode.MSG, _SMALLEST_BYTES)
    flags: int = _uint32.unpack_from(message, HEADER_BYTES)[0]
    if flags & _UNKNOWN_REQUIRED:
        raise ProtocolError(WireReason.FLAGS, HEADER_BYTES)
    end = len(message)
    if flags & CHECKSUM_PRESENT:
        end -= CHECKSUM_BYTES
        if _uint32.unpack_from(message, end)[0] != crc32c(message[:end]):
            raise ProtocolError(WireReason.CHECKSUM, end)
    body = 0
    sequences: list[Sequence] = []
    at = _SECTIONS
    while at < end:
        kind = message[at]
        if kind == 0:
            if body:
                raise ProtocolError(WireReason.SECTION_DUPLICATE, at)
            body = at + 1
            at = document_end(message, body, end)
        elif kind == 1:
            if len(sequences) == MAX_SEQUENCES:
                raise ProtocolError(WireReason.SECTION_COUNT, at)
            sequences.append(_sequence_at(message, at + 1, end))
            at = sequences[-1].end
        else:
            raise ProtocolError(WireReason.SECTION_KIND, at)
    if not body:
        raise ProtocolError(WireReason.SECTION_MISSING_BODY, end)
    if sequences:
        _require_distinct(message, body, sequences)
    return OpMsg(flags, body, tuple(sequences), end)


def _sequence_at(message: bytes, start: int, limit: int) -> Sequence:
    """The sequence whose int32 size lies at `start`, which must end at or before `limit`."""
    if start + 4 > limit:
        raise ProtocolError(WireReason.SECTION_LENGTH, start)
    size = int32_at(message, start)
    end = start + size
    # the size itself and the NUL of an empty identifier
    if size < 5 or end > limit:
        raise ProtocolError(WireReason.SECTION_LENGTH, start)
    nul = find_nul(message, start + 4, end)
    if nul < 0:
        raise ProtocolError(WireReason.SECTION_IDENTIFIER, start + 4)
    at = nul + 1
    while at < end:
        at = document_end(message, at, end)
    return Sequence(message[start + 4 : nul], start, nul + 1, end)


def _require_distinct(message: bytes, body: int, sequences: list[Sequence]) -> None:
    """A field of the command is given once: by one sequence or by the body.

    The specification forbids both at once. It has to be enforced here: if the policy looked at one of them
    and the server at the other, plaintext could pass. An identifier may be a dotted path, so the body must
    not have its first component.
    """
    fields: set[bytes] = set()
    for sequence in sequences:
        field = sequence.identifier.partition(b".")[0]
        if field in fields:
            raise ProtocolError(WireReason.SECTION_DUPLICATE, sequence.start)
        fields.add(field)
    for element in elements(message, body):
        if element.name in fields:
            raise ProtocolError(WireReason.SECTION_DUPLICATE, element.start)


def sequence_documents(message: bytes, sequence: Sequence) -> Iterator[int]:
    """Offsets of the documents in a sequence that `parse_op_msg` found in this message."""
    at = sequence.documents
    while at < sequence.end:
        yield at
        at += int32_at(message, at)


def build_op_msg(request_id: int, response_to: int, body: bytes, flags: int = 0) -> bytes:
    """An OP_MSG with one body section; with the checksum when `flags` says so. Cost: O(bytes)."""
    payload = b"".join((_uint32.pack(flags), b"\0", body))
    if not flags & CHECKSUM_PRESENT:
        return build_header(len(payload), request_id, response_to, OpCode.MSG) + payload
    covered = build_header(len(payload) + CHECKSUM_BYTES, request_id, response_to, OpCode.MSG) + payload
    return covered + _uint32.pack(crc32c(covered))


def has_no_checksum(head: bytes) -> bool:
    """Whether an OP_MSG that begins with `head`, header and flags at least, ends with its last section."""
    return not head[HEADER_BYTES] & CHECKSUM_PRESENT


def refresh_checksum(message: bytes) -> bytes:
    """The same OP_MSG with the checksum of the bytes it has now; `message` itself when it carries none.

    For a message that was spliced: its length must already be right, trailer included.
    Cost: O(bytes), two copies, when there is a checksum; else O(1).
    """
    require_message(message, OpCode.MSG, _SECTIONS)
    if not message[HEADER_BYTES] & CHECKSUM_PRESENT:
        return message
    covered = message[:-CHECKSUM_BYTES]
    if len(covered) < _SECTIONS:
        raise ProtocolError(WireReason.MESSAGE_TRUNCATED, len(message))
    return covered + _uint32.pack(crc32c(covered))
