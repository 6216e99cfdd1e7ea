"""Open the envelopes of a long reply part by part, so that it is not in memory twice.

Theory of operation. A reply of megabytes is one long container in another: the body, in it `cursor`, in that
the batch, an array of documents. The reply is looked at through a window. Containers longer than that are
entered; what lies in them is taken in runs of whole elements, as many as there are in the window, and each
run is opened on its own and appended to the new message. Only an element that is no container and longer
than a window (a text, an envelope) makes it longer. The lengths of the entered containers are written when
their ends are reached.

It may begin before the reply is complete: then less is there at the same time, because the opened runs are
shorter than what they came in. Nothing is given out before the last run was opened. A run that fails leaves
everything as it was: `reveal` tries it again when it is called again, with a key that has come since.
"""

import struct
from collections import deque
from typing import Final, Protocol, final

from sealwire.crypto.envelope import MARKER
from sealwire.keys.keyring.keyring import EnvelopeBatch, TakeEnvelope
from sealwire.proxy.session.revealing.reveal import reveal_elements
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.framing import HEAD_BYTES, HEADER_BYTES, MSG, LongMessage, op_code_of, regrouped
from sealwire.wire.op_msg import MORE_TO_COME
from sealwire.wire.raw_bson import MAX_DEPTH, MIN_DOCUMENT_BYTES, int32_at, value_end

WINDOW_BYTES: Final = 256 * 1024
"""How much is opened at once: about what comes from a socket at once, so that what is made of a window fits
where a chunk was. With 32, 64 and 128 KiB the allocator found such room less often: a reply of 15 MiB took
one or two MiB more."""

_FLAGS: Final = HEADER_BYTES
_LENGTH_BYTES: Final = 4
_KIND: Final = _FLAGS + 4
_BODY: Final = _KIND + 1

_pack_int32: Final = struct.Struct("<i").pack


def is_plain(message: LongMessage) -> bool:
    """Whether it is an OP_MSG of one body and nothing else, without a checksum, as servers answer."""
    head = message.head
    return (
        op_code_of(head) == MSG
        and int32_at(head, _FLAGS) in (0, MORE_TO_COME)
        and head[_KIND] == 0
        and int32_at(head, _BODY) == message.size - _BODY
    )


def has_more_to_come(message: LongMessage) -> bool:
    """Whether a plain message says that another one follows without a request."""
    return int32_at(message.head, _FLAGS) == MORE_TO_COME


@final
class _Container:
    """A document or array that was entered and has not ended."""

    __slots__ = ("end", "grown_before", "length", "place", "slot")

    def __init__(self, slot: int, length: int, end: int, grown_before: int, place: tuple[bytes, ...]) -> None:
        self.slot = slot
        """Where in the new message's pieces its length belongs."""
        self.length = length
        self.end = end
        """Offset in the message just past it."""
        self.grown_before = grown_before
        """By how much everything before it had grown."""
        self.place = place
        """The names that lead to it from the body."""


class Reader(Protocol):
    """Looks at a reply as it is opened, from its beginning on, each part once."""

    @property
    def is_raw(self) -> bool:
        """Whether it looks at what the server sent; else at what the client sees."""

    def run(self, place: tuple[bytes, ...], buf: bytes) -> None:
        """Elements of the container to which these names lead, as a document of their own."""

    def entered(self, place: tuple[bytes, ...]) -> None:
        """A long container begins, whose elements come in runs."""


@final
class LongReply:
    """One plain reply, whose parts are taken from it on the way."""

    __slots__ = (
        "_at",
        "_base",
        "_containers",
        "_grown",
        "_loaded",
        "_message",
        "_out",
        "_part",
        "_parts",
        "_reader",
        "_size",
        "_window",
        "_window_bytes",
        "opened",
    )

    def __init__(
        self, message: LongMessage, window_bytes: int = WINDOW_BYTES, reader: Reader | None = None
    ) -> None:
        """Containers longer than `window_bytes` are entered, and runs are as long at most."""
        self._reader = reader
        self._window_bytes = window_bytes
        self._message = message
        self._parts: deque[bytes] = message.parts
        self._size = message.size
        self._part = self._parts.popleft()
        # How much of the part is in the window, or was.
        self._loaded = max(window_bytes, HEAD_BYTES)
        self._window = self._part[: self._loaded]
        # Offset of the window in the message, and in the window of what is not written yet.
        self._base = 0
        self._at = 4
        # The first is the message's own length.
        self._out: list[bytes] = [b""]
        self._grown = 0
        self._containers: list[_Container] = []
        self.opened = 0
        """How many envelopes were opened."""
        self._enter(_BODY, ())

    def advance(self, open_envelope: TakeEnvelope, batch: EnvelopeBatch | None = None) -> None:
        """Open what has arrived. Raises as `reveal.reveal`; may be called again, then with another batch."""
        while self._containers:
            inner = self._containers[-1]
            last = inner.end - 1 - self._base
            here = min(last, len(self._window))
            end = _whole_elements(self._window, self._at, min(here, self._at + self._window_bytes))
            if end == self._at:
                end = _whole_elements(self._window, self._at, here)
            if end > self._at:
                self._run(end, open_envelope, batch)
            elif end == last < len(self._window):
                self._leave(inner)
            elif not self._enter_next(last) and not self._load(last):
                return

    def reveal(self, open_envelope: TakeEnvelope, batch: EnvelopeBatch | None = None) -> list[bytes]:
        """The pieces of the reply, which is complete now, with its envelopes opened. Raises as `advance`.

        Cost: as `reveal.reveal`; of memory, a part and a few windows more than the message has.
        """
        self.advance(open_envelope, batch)
        self._out[0] = _pack_int32(self._size + self._grown)
        return regrouped(self._out)

    @property
    def window(self) -> bytes:
        """What is looked at and was not opened."""
        return self._window[self._at :]

    def _run(self, end: int, open_envelope: TakeEnvelope, batch: EnvelopeBatch | None) -> None:
        """Open what lies up to `end` in the window: whole elements of the innermost container."""
        run = raw = self._window[self._at : end]
        if run.find(MARKER) >= 0:
            try:
                revealed, opened = reveal_elements(run, len(self._containers) - 1, open_envelope, batch)
            except BsonError as error:
                # counted from a length before the run
                raise BsonError(error.reason, self._base + self._at + error.offset - 4) from None
            self._grown += len(revealed) - len(run)
            self.opened += opened
            run = revealed
        self._out.append(run)
        self._at = end
        if self._reader is not None:
            seen = raw if self._reader.is_raw else run
            length = len(seen) + _LENGTH_BYTES + 1
            document = b"".join((length.to_bytes(_LENGTH_BYTES, "little"), seen, b"\0"))
            self._reader.run(self._containers[-1].place, document)

    def _enter(self, start: int, place: tuple[bytes, ...]) -> None:
        """Go into the container at `place`, whose length is at `start` in the window."""
        self._out.append(self._window[self._at : start])
        self._out.append(b"")
        length = int32_at(self._window, start)
        end = self._base + start + length
        self._containers.append(_Container(len(self._out) - 1, length, end, self._grown, place))
        self._at = start + 4
        if self._reader is not None:
            self._reader.entered(place)

    def _enter_next(self, last: int) -> bool:
        """Go into the next element if it is a container longer than a part, and begins in the window."""
        window = self._window
        name_end = window.find(0, self._at + 1)
        if name_end < 0 or window[self._at] not in (kinds.OBJECT, kinds.ARRAY):
            return False
        value = name_end + 1
        if value + 4 > min(last, len(window)):
            return False
        length = int32_at(window, value)
        if not max(self._window_bytes, MIN_DOCUMENT_BYTES) < length <= last - value:
            return False
        if len(self._containers) > MAX_DEPTH:
            raise BsonError(WireReason.BSON_DEPTH, self._base + value)
        self._enter(value, (*self._containers[-1].place, window[self._at + 1 : name_end]))
        return True

    def _leave(self, inner: _Container) -> None:
        """The innermost container has come to its end."""
        if self._window[self._at] != 0:
            raise BsonError(WireReason.BSON_TERMINATOR, self._base + self._at)
        self._out.append(b"\0")
        self._out[inner.slot] = _pack_int32(inner.length + self._grown - inner.grown_before)
        self._containers.pop()
        self._at += 1

    def _load(self, last: int) -> bool:
        """Put more behind what is left of the window, as much again, or bytes would move often.

        False when nothing more has arrived.
        """
        is_all = not self._parts and self._loaded >= len(self._part)
        if last < len(self._window) or (is_all and self._message.complete):
            # all of the container is there, and the next element does not fit into it
            raise self._misfit(last)
        if is_all:
            return False
        pieces = [self._window[self._at :]]
        self._window = b""
        wanted = max(self._window_bytes, len(pieces[0]))
        while wanted > 0 and (self._parts or self._loaded < len(self._part)):
            if self._loaded >= len(self._part):
                self._part, self._loaded = self._parts.popleft(), 0
            piece = self._part[self._loaded : self._loaded + wanted]
            pieces.append(piece)
            self._loaded += len(piece)
            wanted -= len(piece)
        self._base += self._at
        self._at = 0
        self._window = b"".join(pieces)
        return True

    def _misfit(self, last: int) -> BsonError:
        """What is wrong with the next element, of a container whose NUL belongs at `last` in the window."""
        name_end = self._window.find(0, self._at + 1, last)
        if name_end < 0:
            return BsonError(WireReason.BSON_STRING, self._base + self._at)
        try:
            value_end(self._window, self._window[self._at], name_end + 1, last)
        except BsonError as error:
            return BsonError(error.reason, self._base + error.offset)
        return BsonError(WireReason.BSON_LENGTH, self._base + self._at)


def _whole_elements(buf: bytes, at: int, limit: int) -> int:
    """Offset just past the last element from `at` on that ends at or before `limit`."""
    while at < limit:
        name_end = buf.find(0, at + 1, limit)
        if name_end < 0:
            break
        try:
            at = value_end(buf, buf[at], name_end + 1, limit)
        except BsonError:
            break
    return at
