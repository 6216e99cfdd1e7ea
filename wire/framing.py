"""Cut a byte stream into whole messages.

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

from collections import deque
from io import SEEK_END, BytesIO
from typing import Final, final

from sealwire.wire.errors import ProtocolError, WireReason
from sealwire.wire.header import HEADER_BYTES
from sealwire.wire.long_message import LONG_BYTES, PART_BYTES, LongMessage
from sealwire.wire.raw_bson import int32_at

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
