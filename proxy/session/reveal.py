"""Find envelopes in messages, and put their values in their place.

Envelopes describe themselves, so a reply is decrypted by what it holds and not by the paths of a policy:
renamed and projected fields, joined and grouped documents, change events and errors all come out in clear.
One search for the marker decides whether a message is walked at all; only the documents around a hit are, and
in them only what lies before it. The new message is put together on the way, in one pass.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Final, final

from sealwire.crypto.envelope import MARKER
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.int32 import int32_at
from sealwire.wire.op_msg import OpMsg, refresh_checksum, sequence_documents
from sealwire.wire.raw_bson import MAX_DEPTH, Cursor, scope_document

OpenEnvelope = Callable[[bytes, int, int], tuple[int, bytes]]
"""From a buffer and the extent of an envelope in it to its BSON type and value bytes.

Raises what makes the whole message unreadable.
"""

# A BSON Binary is an int32 length, the subtype, where a marker begins, and the content.
_SUBTYPE_OFFSET: Final = 4
_MARKER_END: Final = 7
_CONTENT_OFFSET: Final = 5

_LENGTH_BYTES: Final = 4

_TYPE_BYTES: Final = tuple(bytes((kind,)) for kind in range(256))

_pack_int32: Final = struct.Struct("<i").pack


def reveal(message: bytes, parsed: OpMsg, open_envelope: OpenEnvelope) -> tuple[bytes, int]:
    """An OP_MSG with its envelopes opened, and how many these were; the same bytes when there are none.

    Raises what `open_envelope` raises; then nothing of the message may be passed on. BsonError.
    Cost: O(bytes); for each envelope its own opening and the elements before it in its document.
    """
    rewriter = _Rewriter(message, open_envelope)
    whole = rewriter.begin_length(0)
    growth = 0
    sections = [(parsed.body, None), *((sequence.start, sequence) for sequence in parsed.sequences)]
    for start, sequence in sorted(sections, key=lambda section: section[0]):
        if sequence is None:
            growth += rewriter.document(start, 0)
            continue
        size = rewriter.begin_length(start)
        inside = sum(rewriter.document(document, 0) for document in sequence_documents(message, sequence))
        rewriter.end_length(size, start, inside)
        growth += inside
    rewriter.end_length(whole, 0, growth)
    if not rewriter.opened:
        return message, 0
    return refresh_checksum(rewriter.finish()), rewriter.opened


def reveal_elements(elements: bytes, depth: int, open_envelope: OpenEnvelope) -> tuple[bytes, int]:
    """As `reveal`, for whole elements that follow each other in a document `depth` levels deep."""
    length = len(elements) + _LENGTH_BYTES + 1
    document = b"".join((length.to_bytes(_LENGTH_BYTES, "little"), elements, b"\0"))
    rewriter = _Rewriter(document, open_envelope)
    rewriter.document(0, depth)
    return rewriter.finish()[_LENGTH_BYTES:-1], rewriter.opened


def holds_envelope(buf: bytes, documents: Sequence[int]) -> bool:
    """Whether a binary in `documents`, offsets in rising order, is marked an envelope. Raises BsonError."""
    rewriter = _Rewriter(buf, _found)
    try:
        for start in documents:
            rewriter.document(start, 0)
    except _Found:
        return True
    return False


class _Found(Exception):
    """Ends the walk of `holds_envelope`."""


def _found(_buf: bytes, _start: int, _end: int) -> tuple[int, bytes]:
    raise _Found


@final
class _Rewriter:
    """Copies a buffer piece by piece, opening envelopes and correcting the lengths around them."""

    __slots__ = ("_buf", "_hit", "_open", "_out", "_position", "opened")

    def __init__(self, buf: bytes, open_envelope: OpenEnvelope) -> None:
        self._buf = buf
        self._open = open_envelope
        self._out: list[bytes] = []
        self._position = 0
        self._hit = buf.find(MARKER)
        """Offset of the next marker that was not looked at; negative when there is none."""
        self.opened = 0

    def begin_length(self, offset: int) -> int:
        """Leave room for the int32 at `offset`, to be filled by `end_length` with the returned slot."""
        out = self._out
        out.append(self._buf[self._position : offset])
        out.append(b"")
        self._position = offset + 4
        return len(out) - 1

    def end_length(self, slot: int, offset: int, growth: int) -> None:
        """Fill a length that was at `offset`: what it counts became longer by `growth`."""
        self._out[slot] = _pack_int32(int32_at(self._buf, offset) + growth)

    def finish(self) -> bytes:
        """The new buffer."""
        self._out.append(self._buf[self._position :])
        return b"".join(self._out)

    def document(self, start: int, depth: int) -> int:
        """Copy the document at `start`; return by how much it grew. Raises BsonError."""
        buf = self._buf
        last = start + int32_at(buf, start) - 1
        if not 0 <= self._hit < last:
            return 0
        if depth > MAX_DEPTH:
            raise BsonError(WireReason.BSON_DEPTH, start)
        slot = self.begin_length(start)
        growth = 0
        cursor = Cursor(buf, start)
        while 0 <= self._hit < last and cursor.advance_to(self._hit):
            if self._hit < cursor.value:
                # in a name: what stands there is no value, but one may follow in the same element
                self._hit = buf.find(MARKER, cursor.value)
                cursor.go_back()
                continue
            growth += self._value(cursor, depth)
            if 0 <= self._hit < cursor.end:
                self._hit = buf.find(MARKER, cursor.end)
        self.end_length(slot, start, growth)
        return growth

    def _value(self, cursor: Cursor, depth: int) -> int:
        """Copy one value with a marker in it; return by how much it grew."""
        kind, value, end = cursor.kind, cursor.value, cursor.end
        if kind == kinds.BIN_DATA:
            buf = self._buf
            # not by the hit: the length of a binary of 5723008 bytes spells the marker too
            if buf[value + _SUBTYPE_OFFSET : value + _MARKER_END] != MARKER:
                return 0
            bson_type, opened = self._open(buf, value + _CONTENT_OFFSET, end)
            # the name with its NUL lies between the type byte and the value
            out = self._out
            out.append(buf[self._position : cursor.start])
            out.append(_TYPE_BYTES[bson_type])
            out.append(buf[cursor.start + 1 : value])
            out.append(opened)
            self._position = end
            self.opened += 1
            return len(opened) - (end - value)
        if kind in (kinds.OBJECT, kinds.ARRAY):
            return self.document(value, depth + 1)
        if kind == kinds.JAVASCRIPT_WITH_SCOPE:
            slot = self.begin_length(value)
            growth = self.document(scope_document(self._buf, value, end), depth + 1)
            self.end_length(slot, value, growth)
            return growth
        return 0
