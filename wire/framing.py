"""Cut a byte stream into whole messages, and read the 16 bytes that open each.

Theory of operation. A message opens with its own length, so the framer needs four bytes to know how much
to wait for, and nothing else of the content: opcodes are the session's business. It holds the bytes of at
most one unfinished message. A length outside the bounds ends the stream for good: there is no way to find
the next message boundary, so every later call raises the same error.

Memory follows what has arrived, never what a peer declares: a header that announces 48 MB costs its own
16 bytes until the rest comes. A message that came in parts is the very buffer that they were written to: a
BytesIO hands out its bytes without another copy of 48 MB. Where `long_messages` are asked for, one of more
than LONG_BYTES is handed out in parts of PART_BYTES or more, for a reader that lets go of them one by one; it
may begin while the message is still `arriving`.
"""

import struct
from collections import deque
from enum import IntEnum
from io import SEEK_END, BytesIO
from typing import Final, final

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


# A message of a megabyte or more, in parts: whoever reads it can let go of what it has read.
#
# A message in one buffer is there until its last byte was used, and what is made from it lies beside it. Of
# one in parts, each part can go as soon as its content has been written elsewhere.

LONG_BYTES: Final = 1 << 20
"""Messages longer than this are worth the trouble."""

PART_BYTES: Final = 128 * 1024
"""What a part has at least, but for the last. A chunk from a socket that is as large is a part as it came."""

HEAD_BYTES: Final = 25
"""The header, the flags, the kind of the first section, and a document's length."""

SMALL_BYTES: Final = 4 * 1024
"""Pieces that are smaller are worth a copy."""


@final
class LongMessage:
    """One message as it arrives. Whoever takes from `parts` owns it."""

    __slots__ = ("arrived", "head", "parts", "size")

    def __init__(self, parts: deque[bytes], size: int) -> None:
        self.head = parts[0][:HEAD_BYTES]
        self.parts = parts
        """At least one, none empty."""
        self.size = size
        """Bytes of the whole message."""
        self.arrived = sum(map(len, parts))
        """How many of them were put into `parts` so far."""

    def __repr__(self) -> str:
        return f"LongMessage(size={self.size}, parts={len(self.parts)})"

    @property
    def complete(self) -> bool:
        """Whether nothing more of it will come."""
        return self.arrived == self.size

    def add(self, part: bytes) -> None:
        """The next part has come."""
        self.parts.append(part)
        self.arrived += len(part)

    def joined(self) -> bytes:
        """All of it in one piece, from now on. Cost: once more its size, for the moment."""
        if len(self.parts) > 1:
            whole = b"".join(self.parts)
            self.parts.clear()
            self.parts.append(whole)
        return self.parts[0]

    def holds(self, wanted: bytes) -> bool:
        """Whether `wanted`, some bytes shorter than a part, lie in it anywhere. Cost: O(bytes)."""
        end = b""
        for part in self.parts:
            if wanted in part or wanted in end + part[: len(wanted)]:
                return True
            end = part[-len(wanted) :]
        return False


def regrouped(pieces: list[bytes]) -> list[bytes]:
    """The same bytes in pieces of SMALL_BYTES or more, but for the last; empties `pieces`.

    A piece that is large enough already stays as it is, unless small ones lie before it. Cost: O(bytes), one
    copy of what is joined, and never of all at the same time.
    """
    pieces.reverse()
    grouped: list[bytes] = []
    group: list[bytes] = []
    size = 0
    while pieces:
        piece = pieces.pop()
        group.append(piece)
        size += len(piece)
        if size >= SMALL_BYTES:
            grouped.append(b"".join(group))
            group.clear()
            size = 0
    if size:
        grouped.append(b"".join(group))
    return grouped


# ------------------------------------------------------------------------------ a stream, cut into messages

# maxMessageSizeBytes of every mongod since 2.6; a client that keeps to its hello reply never sends more.
MAX_MESSAGE_BYTES: Final = 48_000_000

_LENGTH_BYTES: Final = 4

# Longer than any length that an int32 can declare.
_NEVER: Final = 1 << 31
_TLS_HANDSHAKE: Final = b"\x16\x03"
"""A record of a handshake, and the first half of its version. Source: RFC 8446, section 5.1."""


@final
class Framer:
    """One direction of one connection: bytes in, whole messages out."""

    __slots__ = (
        "_broken_at",
        "_consumed",
        "_long_from",
        "_partial",
        "_wanted",
        "arriving",
        "max_message_bytes",
    )

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES, *, long_messages: bool = False) -> None:
        """Raises ValueError when `max_message_bytes` has no room for a header."""
        if max_message_bytes < HEADER_BYTES:
            raise ValueError("max_message_bytes is smaller than a message header")
        self.max_message_bytes = max_message_bytes
        """The longest message that is taken."""
        self._long_from = LONG_BYTES if long_messages else _NEVER
        self.arriving: LongMessage | None = None
        """The long message that is being received: the parts of it that are here."""
        # The unfinished message, or what is no part of it yet; None between messages.
        self._partial: BytesIO | None = None
        # Length of the message in `_partial`; 0 while fewer than four bytes of it are here.
        self._wanted = 0
        # Bytes of the stream before the unfinished message, for the offset in errors.
        self._consumed = 0
        # Where the stream broke. The offset only: a kept exception would keep its frames and their data.
        self._broken_at: int | None = None

    def __repr__(self) -> str:
        return f"Framer(pending_bytes={self.pending_bytes}, broken={self._broken_at is not None})"

    @property
    def pending_bytes(self) -> int:
        """Bytes held of a message that is not complete; at the end of a stream, not 0 means truncated."""
        apart = 0 if self.arriving is None else self.arriving.arrived
        return apart if self._partial is None else apart + self._partial.tell()

    @property
    def has_given(self) -> bool:
        """Whether a whole message has come."""
        return self._consumed > 0

    def accept(self, max_message_bytes: int) -> None:
        """Take messages of up to this length from the next one on."""
        self.max_message_bytes = max_message_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes, in order; the rest is kept for the next call.

        How the stream was cut into chunks never shows in the messages. When a length is wrong, the
        messages before it in the same chunk are not returned: the connection is about to be closed, and
        acting on less of what a broken peer sent is safer.

        Raises: ProtocolError MESSAGE_LENGTH, `offset` counted from the start of the stream; and again
                at every later call. TLS instead, the first time, if the stream begins as TLS does.
        Cost:   O(len(data)). No copy when nothing is pending and `data` is one message, otherwise one copy.
        """
        found = self.feed_in_parts(data)
        return [message if isinstance(message, bytes) else message.joined() for message in found]

    def feed_in_parts(self, data: bytes) -> list[bytes | LongMessage]:
        """As `feed`; with `long_messages`, one that is long and came in chunks is given as a LongMessage."""
        if self._broken_at is not None:
            raise ProtocolError(WireReason.MESSAGE_LENGTH, self._broken_at)
        messages: list[bytes | LongMessage] = []
        at = 0
        if self._partial is not None:
            at = self._complete(data, messages)
        while len(data) - at >= _LENGTH_BYTES:
            end = at + self._length_of(data, at)
            if end > len(data):
                break
            messages.append(data if end - at == len(data) else data[at:end])
            self._consumed += end - at
            at = end
        if at < len(data):
            self._keep(data[at:])
        return messages

    def _complete(self, data: bytes, messages: list[bytes | LongMessage]) -> int:
        """Finish the pending message from the head of `data` if it reaches; return the bytes it took."""
        at = 0
        if not self._wanted:
            at = min(_LENGTH_BYTES - self.pending_bytes, len(data))
            self._keep(data[:at])
            if not self._wanted:
                return at
        end = min(at + self._wanted - self.pending_bytes, len(data))
        self._keep(data[at:end])
        if self.pending_bytes == self._wanted:
            messages.append(self._taken())
            self._consumed += self._wanted
            self._wanted = 0
        return end

    def _taken(self) -> bytes | LongMessage:
        """The pending message, which is complete."""
        last = b"" if self._partial is None else self._partial.getvalue()
        self._partial = None
        message, self.arriving = self.arriving, None
        if message is None:
            return last
        if last:
            message.add(last)
        return message

    def _put_aside(self, part: bytes) -> None:
        """A part of a long message."""
        if self.arriving is None:
            self.arriving = LongMessage(deque((part,)), self._wanted)
        else:
            self.arriving.add(part)

    def _keep(self, data: bytes) -> None:
        if self._partial is None:
            self._partial = BytesIO()
            if len(data) >= _LENGTH_BYTES:
                self._wanted = self._length_of(data, 0)
        partial = self._partial
        if self._wanted > self._long_from and len(data) >= PART_BYTES and not partial.tell():
            self._put_aside(data)
            return
        partial.write(data)
        if not self._wanted and partial.tell() >= _LENGTH_BYTES:
            partial.seek(0)
            head = partial.read(_LENGTH_BYTES)
            partial.seek(0, SEEK_END)
            self._wanted = self._length_of(head, 0)
        if self._wanted > self._long_from and partial.tell() >= PART_BYTES:
            self._put_aside(partial.getvalue())
            self._partial = BytesIO()

    def _length_of(self, data: bytes, at: int) -> int:
        length = int32_at(data, at)
        if not HEADER_BYTES <= length <= self.max_message_bytes:
            self._partial = None
            self._wanted = 0
            self._broken_at = self._consumed
            is_tls = not self._consumed and data[at : at + 2] == _TLS_HANDSHAKE
            raise ProtocolError(WireReason.TLS if is_tls else WireReason.MESSAGE_LENGTH, self._consumed)
        return length
