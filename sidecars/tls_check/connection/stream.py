"""Short TCP connections whose whole life is bounded, and what can go wrong on them."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Protocol


class Trouble(Enum):
    """Why a connection gave no answer. Stable names: they stand in reports."""

    UNRESOLVED = "the name cannot be resolved"
    REFUSED = "the connection is refused"
    UNREACHABLE = "the address cannot be reached"
    TIMEOUT = "no answer in time"
    CLOSED = "the server closed the connection"
    ALERT = "the server sent a TLS alert"
    PROTOCOL = "the answer is not what the protocol asks for"


class StreamFailed(Exception):
    """A connection ended without the answer that was wanted."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble


class Stream(Protocol):
    """A connection: plain, or inside TLS. All methods raise StreamFailed; none waits past its deadline."""

    def send(self, content: bytes) -> None: ...

    def receive(self, max_bytes: int) -> bytes:
        """At least one byte; empty when the other side has ended."""

    def close(self) -> None:
        """Give the connection up. Never fails."""


Dial = Callable[[], Stream]
"""Opens a fresh connection to one endpoint."""


def receive_exactly(stream: Stream, count: int) -> bytes:
    """`count` bytes, which the caller has bounded. Raises StreamFailed CLOSED when there are fewer."""
    received = b""
    while len(received) < count:
        more = stream.receive(count - len(received))
        if not more:
            raise StreamFailed(Trouble.CLOSED)
        received += more
    return received


class TcpStream:
    """A plain TCP connection that lives at most `timeout_s`, connecting included (name look-up excluded)."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._deadline = time.monotonic() + timeout_s
        try:
            self._socket = socket.create_connection((host, port), timeout_s)
        except (socket.gaierror, UnicodeError):  # UnicodeError: a label longer than 63 characters
            raise StreamFailed(Trouble.UNRESOLVED) from None
        except OSError as error:
            raise StreamFailed(_trouble(error)) from None

    def send(self, content: bytes) -> None:
        with self._in_time():
            self._socket.sendall(content)

    def receive(self, max_bytes: int) -> bytes:
        with self._in_time():
            return self._socket.recv(max_bytes)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise StreamFailed(Trouble.TIMEOUT)
        try:
            self._socket.settimeout(left)
            yield
        except OSError as error:
            raise StreamFailed(_trouble(error)) from None


def _trouble(error: OSError) -> Trouble:
    if isinstance(error, TimeoutError):
        return Trouble.TIMEOUT
    if isinstance(error, ConnectionRefusedError):
        return Trouble.REFUSED
    if isinstance(error, ConnectionError):
        return Trouble.CLOSED
    return Trouble.UNREACHABLE
