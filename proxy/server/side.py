"""One transport of a connection: what holds its reading, and what arrived during a hold."""

import asyncio
import socket
from collections import deque
from enum import Flag, auto

# Above this much unsent data the other side is no longer read. One message may exceed it, as a whole.
WRITE_HIGH_BYTES = 256 * 1024


class Hold(Flag):
    """Why a transport is not read."""

    NONE = 0
    CONNECTING = auto()
    KEYS = auto()
    CLIENT_FULL = auto()
    SERVER_FULL = auto()
    LOOK_UP = auto()


# What arrives during these must wait: there is no session yet, or it could not go on.
_DEAFENING = Hold.CONNECTING | Hold.KEYS


class Side:
    """One transport, what holds its reading, and what arrived all the same during a hold."""

    __slots__ = ("deaf", "held", "lost", "stash", "transport", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.write = transport.write
        self.lost = False
        self.held = Hold.NONE
        self.deaf = False
        """Whether what arrives all the same must be kept; found once for each hold, not for each message."""
        self.stash: deque[bytes] = deque()
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def hold(self, reason: Hold) -> None:
        """Read no more until every reason is released."""
        self.held |= reason
        self.deaf = bool(self.held & _DEAFENING)
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def release(self, reason: Hold) -> None:
        """Read again unless another reason holds."""
        self.free(reason)
        self.settle()

    def free(self, reason: Hold) -> None:
        """Take a reason away without reading again yet."""
        self.held &= ~reason
        self.deaf = bool(self.held & _DEAFENING)

    def settle(self) -> None:
        """Read if nothing holds."""
        if not self.held and not self.transport.is_closing():
            self.transport.resume_reading()

    def keep(self, data: bytes) -> None:
        """Put bytes aside that arrived during a hold.

        That happens once at most per hold: a read was under way, or uvloop, which starts to read after
        connection_made whatever was said there, made its first one. So pausing again here bounds the stash.
        """
        self.stash.append(data)
        self.hold(Hold.NONE)


def tune(transport: asyncio.BaseTransport) -> None:
    """Send small messages at once, and notice peers that vanished: keep-alive after 2 minutes of silence."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 120)
