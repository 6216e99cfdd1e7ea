"""The transports of a connection: what they report, what holds their reading, what they have yet to send.

Large data goes to the transport piece by piece, as it is taken. All at once, TLS would encrypt a copy of the
whole and keep the room for it as long as the connection lasts.
"""

import asyncio
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import Flag, auto
from typing import Final, Protocol, cast

from sealwire.keys.frontier.record import IN_FLIGHT_S

# Above this much unsent data the other side is no longer read. One message may exceed it, as a whole.
WRITE_HIGH_BYTES: Final = 256 * 1024

PIECE_BYTES: Final = 128 * 1024

# Pieces of larger data are copies, so that memory is freed as the peer reads and not with its last byte.
SHARED_BYTES: Final = 1024 * 1024

# Linux only, 0 elsewhere: there only the kernel's own patience ends what no peer acknowledges.
_HUNG_UP: Final[int] = getattr(select, "POLLRDHUP", 0)
_USER_TIMEOUT: Final[int] = getattr(socket, "TCP_USER_TIMEOUT", 0)
_DROP_UNSENT: Final = struct.pack("ii", 1, 0)  # l_onoff, l_linger


class HoldReason(Flag):
    """Why a transport is not read."""

    NONE = 0
    CONNECTING = auto()
    KEYS = auto()
    CLIENT_FULL = auto()
    SERVER_FULL = auto()
    LOOK_UP = auto()
    AUDIT = auto()
    BEHIND = auto()


_BEHIND: Final = HoldReason.KEYS | HoldReason.LOOK_UP | HoldReason.AUDIT | HoldReason.BEHIND
"""Holds during which something may wait that has arrived before them."""
_NAMES: Final = tuple(
    (hold, name.lower().replace("_", "-")) for name, hold in HoldReason.__members__.items() if hold
)


class Pipe:
    """One transport, what holds its reading, what arrived during a hold, and what it has yet to send."""

    __slots__ = ("_closing", "_is_fenced", "_unsent", "ended", "full", "held", "lost", "stash", "transport")

    def __init__(self, transport: asyncio.Transport, *, is_fenced: bool = False) -> None:
        """With `is_fenced` nothing that was written arrives long after it was, or after `abort`.

        What the peer's kernel does not acknowledge within `IN_FLIGHT_S` ends the connection, and so does a
        peer that reads nothing for so long while there is more to send.
        """
        self.transport = transport
        self._is_fenced = is_fenced
        # A list, though it is taken from in front: it is short, and an empty deque has 600 bytes.
        self._unsent: list[bytes | memoryview] = []
        self.full = False
        """Whether the transport has said that it is above its mark."""
        self.ended = False
        """Whether the peer sends nothing more. Then it is sent nothing more either."""
        self.lost = False
        self.held = HoldReason.NONE
        self.stash: list[bytes] = []
        self._closing = False
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        if is_fenced and _USER_TIMEOUT:
            self._set_option(socket.IPPROTO_TCP, _USER_TIMEOUT, int(IN_FLIGHT_S * 1000))

    @property
    def is_behind(self) -> bool:
        """Whether something that has arrived is not handled yet."""
        return bool(self.stash or self.held & _BEHIND)

    @property
    def has_unsent(self) -> bool:
        """Whether the peer has not been sent everything."""
        return bool(self._unsent or self.transport.get_write_buffer_size())

    def write(self, data: bytes) -> None:
        """Send `data` after all that was written before. Cost: a copy of what is larger than SHARED_BYTES."""
        if self.ended:
            return
        if len(data) <= PIECE_BYTES and not self._unsent:
            self.transport.write(data)
            return
        whole = memoryview(data) if len(data) <= SHARED_BYTES else data
        at = 0
        if not self._unsent:
            while at < len(data) and not self.full:
                self.transport.write(whole[at : at + PIECE_BYTES])
                at += PIECE_BYTES
        self._unsent += (whole[start : start + PIECE_BYTES] for start in range(at, len(data), PIECE_BYTES))

    def write_pieces(self, pieces: list[bytes]) -> None:
        """Send all of `pieces`, and take them: the list is empty afterwards. No copies."""
        if self.ended:
            pieces.clear()
        for piece in pieces:
            if len(piece) <= PIECE_BYTES:
                self._unsent.append(piece)
            else:
                whole = memoryview(piece)
                starts = range(0, len(piece), PIECE_BYTES)
                self._unsent += (whole[start : start + PIECE_BYTES] for start in starts)
        pieces.clear()
        self._fill()

    def send_on(self) -> bool:
        """The transport is below its mark again: give it more. Returns whether it is still below."""
        self.full = False
        self._fill()
        if self._closing and not self._unsent:
            self.transport.close()
        return not self.full

    def _fill(self) -> None:
        """Give the transport what it takes."""
        while self._unsent and not self.full:
            self.transport.write(self._unsent.pop(0))

    def close(self) -> None:
        """Close when everything was sent."""
        self._closing = True
        if not self._unsent:
            self.transport.close()

    def abort(self) -> None:
        """Close at once. A fenced peer gets a reset, and nothing that its kernel has not got yet."""
        self._unsent.clear()
        if self._is_fenced and not self.lost:
            self._set_option(socket.SOL_SOCKET, socket.SO_LINGER, _DROP_UNSENT)
        self.transport.abort()

    def _set_option(self, level: int, option: int, value: int | bytes) -> None:
        sock = self.transport.get_extra_info("socket")
        if sock is not None:  # TLS has none any more once the connection below it is lost
            with suppress(OSError):
                sock.setsockopt(level, option, value)

    def has_hung_up(self) -> bool:
        """Whether the peer has ended its stream, which no transport notices while it is not read.

        Always false for a system that cannot tell. Cost: two system calls.
        """
        sock = self.transport.get_extra_info("socket")
        number = -1 if sock is None else sock.fileno()
        if not _HUNG_UP or number < 0:
            return False
        poll = select.poll()
        poll.register(number, _HUNG_UP)
        return bool(poll.poll(0))

    def hold(self, reason: HoldReason) -> None:
        """Read no more until every reason is released."""
        self.held |= reason
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def release(self, reason: HoldReason) -> None:
        """Read again unless another reason holds."""
        self.lift(reason)
        self.read_if_free()

    def lift(self, reason: HoldReason) -> None:
        """Take a reason away without reading again yet."""
        self.held &= ~reason

    def read_if_free(self) -> None:
        """Read unless a reason holds."""
        if not self.held and not self.transport.is_closing():
            self.transport.resume_reading()

    def hold_names(self) -> tuple[str, ...]:
        """Why it is not read, as figures name it."""
        if not self.held:
            return ()
        return tuple(name for hold, name in _NAMES if self.held & hold)

    def keep(self, data: bytes) -> None:
        """Put bytes aside that arrived during a hold.

        That happens once at most per hold: a read was under way, or uvloop, which starts to read after
        connection_made whatever was said there, made its first one. So pausing again here bounds the stash.
        """
        self.stash.append(data)
        self.hold(HoldReason.NONE)


def tune(transport: asyncio.BaseTransport) -> None:
    """Send small messages at once, and notice peers that vanished: keep-alive after 2 minutes of silence."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 120)


# The protocols: asyncio calls one for each transport, and it calls its connection.


class ClientEvents(Protocol):
    """The part of a connection that its client's protocol calls."""

    def client_data(self, data: bytes) -> None:
        """Bytes have arrived."""

    def client_eof(self) -> None:
        """The client sends nothing more."""

    def client_lost(self) -> None:
        """The connection has ended."""

    def client_full(self) -> None:
        """The client reads more slowly than we write."""

    def client_writable(self) -> None:
        """The client has caught up."""


class ClientProtocol(asyncio.Protocol):
    """Hands the transport's events to the `ClientEvents` that are made when the client stands."""

    __slots__ = ("_connected", "_events")

    def __init__(self, connected: Callable[[asyncio.Transport], ClientEvents]) -> None:
        """`connected` is called once, when TCP and TLS stand."""
        self._connected: Callable[[asyncio.Transport], ClientEvents] | None = connected
        """None once it was called: it holds the task of the handshake."""
        self._events: ClientEvents

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: TCP and TLS stand."""
        tune(transport)
        stream = cast(asyncio.Transport, transport)  # uvloop's transports have no common base class
        if self._connected is not None:
            self._events = self._connected(stream)
            self._connected = None

    def data_received(self, data: bytes) -> None:
        """asyncio: the client has sent bytes."""
        self._events.client_data(data)

    def eof_received(self) -> bool:
        """asyncio: the client sends nothing more. False: the transport closes itself."""
        self._events.client_eof()
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """asyncio, or `tasks.opened`: the connection has ended."""
        if self._connected is None:
            self._events.client_lost()

    def pause_writing(self) -> None:
        """asyncio: the write buffer is above its high-water mark."""
        self._events.client_full()

    def resume_writing(self) -> None:
        """asyncio: the write buffer is below its low-water mark."""
        self._events.client_writable()


class ServerEvents(Protocol):
    """The part of a connection that its server's protocol calls."""

    def server_connected(self, transport: asyncio.Transport) -> None:
        """TCP and TLS stand."""

    def server_data(self, data: bytes) -> None:
        """Bytes have arrived."""

    def server_eof(self) -> None:
        """The server sends nothing more."""

    def server_lost(self) -> None:
        """The connection has ended."""

    def server_full(self) -> None:
        """The server reads more slowly than we write."""

    def server_writable(self) -> None:
        """The server has caught up."""


class ServerProtocol(asyncio.Protocol):
    """Hands the transport's events to their `ServerEvents`."""

    __slots__ = ("_events",)

    def __init__(self, events: ServerEvents) -> None:
        self._events = events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: TCP and TLS stand."""
        stream = cast(asyncio.Transport, transport)  # uvloop's transports have no common base class
        self._events.server_connected(stream)

    def data_received(self, data: bytes) -> None:
        """asyncio: the server has sent bytes."""
        self._events.server_data(data)

    def eof_received(self) -> bool:
        """asyncio: the server sends nothing more. False: the transport closes itself."""
        self._events.server_eof()
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """asyncio, or `tasks.opened`: the connection has ended."""
        self._events.server_lost()

    def pause_writing(self) -> None:
        """asyncio: the write buffer is above its high-water mark."""
        self._events.server_full()

    def resume_writing(self) -> None:
        """asyncio: the write buffer is below its low-water mark."""
        self._events.server_writable()
