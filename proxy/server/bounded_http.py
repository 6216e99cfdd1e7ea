"""The standard library's HTTP server with bounds: nobody keeps it busy, and nobody keeps others out.

A connection is cut after REQUEST_S whatever it does, its handshake included. A request's head has a few
kilobytes. There are so many connections at a time and no more, and fewer from one address. A further one ends
the oldest, of the address that has most: a client that opens many and says nothing does not keep a probe from
its answer.
"""

import logging
import socket
import ssl
import sys
import threading
from collections import Counter
from contextlib import suppress
from http.client import HTTPException, LineTooLong
from http.server import ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any, Final, cast, final

from sealwire.proxy.server.observability.logs import note

_log = logging.getLogger("sealwire.server")

REQUEST_S: Final = 15.0
"""From the beginning of a connection to the last byte of its answer."""
ARRIVAL_S: Final = 5.0
"""For the next bytes to come."""
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_CONNECTIONS: Final = 64
MAX_FROM_ONE: Final = 16
"""From one address."""


MAX_THREADS: Final = 2 * MAX_CONNECTIONS
"""With those of connections that were cut, and have not ended yet."""


@final
class ConnectionPlaces:
    """Which connections have a place, and how many have not ended. All methods are for any thread."""

    def __init__(self) -> None:
        self._taken: dict[socket.socket, str] = {}
        """From which address each is, the oldest first."""
        self._running = 0
        self._lock = threading.Lock()

    def take(self, host: str, connection: socket.socket) -> bool:
        """Take a place for a connection from `host`; an older one may be cut for it.

        False where too many have not ended. Cost: O(places).
        """
        with self._lock:
            if self._running >= MAX_THREADS:
                return False
            counts = Counter(self._taken.values())
            if counts[host] >= MAX_FROM_ONE:
                self._cut_oldest(host)
            elif len(self._taken) >= MAX_CONNECTIONS:
                self._cut_oldest(counts.most_common(1)[0][0])
            self._taken[connection] = host
            self._running += 1
            return True

    def give_back(self, connection: socket.socket) -> None:
        """The connection has ended."""
        with self._lock:
            self._taken.pop(connection, None)
            self._running -= 1

    def _cut_oldest(self, host: str) -> None:
        oldest = next(each for each, owner in self._taken.items() if owner == host)
        del self._taken[oldest]
        _cut(oldest)


class BoundedServer(ThreadingHTTPServer):
    """See the module. `context` may be replaced while it serves; None: there is no TLS."""

    daemon_threads = True
    context: ssl.SSLContext | None = None

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._places = ConnectionPlaces()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for the connection if there is a place; else it is closed."""
        if not self._places.take(client_address[0], request):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.give_back(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, for a while at most."""
        end = threading.Timer(REQUEST_S, _cut, [request])
        end.daemon = True
        try:
            end.start()
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._places.give_back(request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands first, where there is TLS. Raises OSError."""
        connection = cast("socket.socket", request)
        if self.context is None:
            super().finish_request(connection, client_address)
            return
        connection.settimeout(ARRIVAL_S)
        # the socket stays open: `shutdown_request` is told of this one
        with self.context.wrap_socket(connection.dup(), server_side=True) as secured:
            super().finish_request(secured, client_address)
            # say that this was all, and do not wait for the same from the client
            secured.settimeout(0)
            with suppress(OSError):
                secured.unwrap()

    def handle_error(self, request: object, client_address: object) -> None:
        """In place of the base class's, which prints tracebacks between the log lines."""
        del request, client_address
        error = sys.exc_info()[1]
        if isinstance(error, OSError | HTTPException):
            note(_log, logging.DEBUG, "admin client went away", problem=type(error).__name__)
        else:
            note(_log, logging.CRITICAL, "bug: in the admin server", error)


def _cut(connection: socket.socket) -> None:
    """Whoever reads from it or writes to it is told."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@final
class BoundedHead:
    """A request's head, of which only so much is read. It has what the base class asks of a file."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._left = MAX_HEAD_BYTES

    def readline(self, limit: int) -> bytes:
        """The next line. Raises LineTooLong beyond MAX_HEAD_BYTES of all lines."""
        line = self._file.readline(min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("head")
        return line

    def read(self, size: int) -> bytes:
        """What follows the head."""
        return self._file.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
