"""The admin address: /healthz, /readyz, /metrics and the page for people, in a thread of its own.

A thread, so that /healthz can tell that the event loop is stuck instead of being stuck with it.
"""

import json
import logging
import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any, ClassVar, Final, cast, final

from prometheus_client import CONTENT_TYPE_LATEST

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.health import (
    Following,
    Health,
    HealthView,
    Keeping,
    StoreReach,
    is_ready,
    status_of,
)
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.page.door import (
    MAX_FORM_BYTES,
    PageCall,
    PageDoor,
    PageFeed,
    Token,
    is_known_host,
    known_hosts,
)
from sealwire.proxy.server.page.panels import WatchReader
from sealwire.proxy.server.ports import bind
from sealwire.proxy.server.tls import NO_TLS, TlsSide, listen_side

_log = logging.getLogger("sealwire.server")

# How long `close` may take to be noticed.
STOP_POLL_S = 0.1


# The standard library's HTTP server with bounds: nobody keeps it busy, and nobody keeps others out.
#
# A connection is cut after REQUEST_S whatever it does, its handshake included. A request's head has a few
# kilobytes. There are so many connections at a time and no more, and fewer from one address. A further
# one ends the oldest, of the address that has most: a client that opens many and says nothing does not
# keep a probe from its answer.

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


class AdminServer:
    """Serves the three paths, and the page where there is one, until `close`."""

    def __init__(
        self,
        address: Address,
        health: HealthView,
        feed: PageFeed,
        tls: TlsSide = NO_TLS,
        door: PageDoor | None = None,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        """Bind; raises ListenProblem. `hosts`: names by which the address is known."""
        sock, *others = bind(address)
        for other in others:
            other.close()
        sock.setblocking(True)
        handler = type("Handler", (_Handler,), {"health": health, "feed": feed, "door": door, "hosts": hosts})
        self._server = BoundedServer(sock.getsockname()[:2], handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = sock
        self._door = door
        self.use_tls(tls)
        self.address = Address(*sock.getsockname()[:2])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_POLL_S,), name="admin", daemon=True
        )

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()
        if self._door is not None:
            self._door.start()

    def use_tls(self, tls: TlsSide) -> None:
        """New connections meet this certificate. Whether there is TLS at all does not change."""
        self._server.context = tls.context
        if self._door is not None:
            self._door.certificate_ends = tls.not_after

    def close(self) -> None:
        """Stop answering and give the port back."""
        if self._door is not None:
            self._door.close()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


AdminFiles = tuple[TlsSide, Token | None]
"""The TLS of the admin address, and the token of its page."""


def admin_files(config: Config) -> AdminFiles:
    """The files that the admin address needs. Raises FileProblem, PermissionProblem."""
    page = config.admin_page
    return listen_side(config.admin_tls), None if page.token_file is None else Token(page.token_file)


def make_admin(
    config: Config,
    health: HealthView,
    feed: PageFeed,
    files: AdminFiles,
    watch: WatchReader | None,
) -> AdminServer:
    """Bind the admin address; with the page where somebody can be told from anybody. Raises ListenProblem."""
    tls, token = files
    door = None
    if token is not None or config.admin_tls.client_ca is not None:
        door = PageDoor(config, health, feed, token, watch)
    return AdminServer(config.admin, health, feed, tls, door, known_hosts(config))


def _readiness(health: Health) -> dict[str, object]:
    """The body of /readyz. Workers that do not have the same policy yet are all named.

    It names what is only observed, plaintext in covered paths, and classes that are in clear. These make
    nothing unready: clients are served as before.
    It has `frontier` only where one is followed, or should be, `contexts` only where there are such keys, and
    `audit` where there is an audit log, with `audit_trouble` while something keeps it from being written, and
    `upstream` while a server is down.
    """
    said: dict[str, object] = {"status": status_of(health), "keyring": health.keyring.value}
    said |= {"mode": "observe", "not_protected": health.observed} if health.observed else {}
    if health.frontier is not Following.OFF:
        said["frontier"] = health.frontier.value
    if health.contexts is not StoreReach.OFF:
        said["contexts"] = health.contexts.value
    policies = health.policies
    if len(policies) == 1:
        said["policy"] = policies[0]
    elif policies:
        said |= {"policy": "mixed", "policies": policies}
    plaintext: dict[str, list[str]] = {}
    for namespace, path in health.plaintext:
        plaintext.setdefault(namespace, []).append(path)
    if plaintext:
        said["plaintext"] = plaintext
    if health.in_clear:
        said["in_clear"] = health.in_clear
    if health.provider:
        said["provider"] = health.provider
    if health.audit is not Keeping.OFF:
        said["audit"] = health.audit.value
    if health.down:
        said |= {"upstream": health.reach.value, "upstreams_down": health.down}
    if health.audit_trouble:
        said["audit_trouble"] = health.audit_trouble
    return said


class _Handler(BaseHTTPRequestHandler):
    health: ClassVar[HealthView]
    feed: ClassVar[PageFeed]
    door: ClassVar[PageDoor | None]
    hosts: ClassVar[frozenset[str]]
    timeout = ARRIVAL_S
    protocol_version = "HTTP/1.0"  # no keep-alive: no thread waits for a next request
    server_version = "sealwire"
    sys_version = ""

    def setup(self) -> None:
        """Bound what is read."""
        super().setup()
        self.rfile = BoundedHead(self.rfile)  # type: ignore[assignment]

    def do_POST(self) -> None:
        """Answer a form of the page, 404 for anything else."""
        length = self.headers.get("Content-Length", "")
        is_number = length.isascii() and length.isdigit() and len(length) < 6
        if self.door is None:
            self.send_error(HTTPStatus.NOT_IMPLEMENTED)
        elif not is_number or int(length) > MAX_FORM_BYTES:
            text = b"a form is shorter, and says its length\n"
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "text/plain", text)
        elif not self._is_for_page(self.rfile.read(int(length))):
            self._send(HTTPStatus.NOT_FOUND, "text/plain", self._paths())

    def do_GET(self) -> None:
        """Answer one of the three paths, or for the page; 404 for anything else."""
        match self.path.partition("?")[0]:
            case "/healthz":
                is_alive = self.health.now().alive
                self._say(is_alive, {"status": "ok" if is_alive else "stuck"})
            case "/readyz":
                self._say(is_ready(self.health.now()), self._readiness())
            case "/metrics":
                self._metrics()
            case _:
                if not self._is_for_page():
                    self._send(HTTPStatus.NOT_FOUND, "text/plain", self._paths())

    def _readiness(self) -> Mapping[str, object]:
        """All there is to say, or the status alone under a name that is not ours.

        A site whose own name leads here would read it all in a visitor's browser. A probe needs no more.
        Browsers always send a name.
        """
        host = self.headers.get("Host")
        if host is None or is_known_host(host, self.hosts):
            return _readiness(self.health.now())
        return {"status": status_of(self.health.now())}

    def _is_for_page(self, form: bytes = b"") -> bool:
        """Answer for the page, if it is asked for."""
        if self.door is None:
            return False
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.partition("?")[0]
        call = PageCall(self.command, path, headers, self.client_address[0], _subject(self.connection), form)
        answer = self.door.answer(call)
        if answer is None:
            return False
        self.send_response(answer.status)
        for name, value in (*answer.headers, ("Content-Length", str(len(answer.body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        return True

    def _paths(self) -> bytes:
        return b"paths: /healthz /readyz /metrics" + (b" /page\n" if self.door is not None else b"\n")

    def _metrics(self) -> None:
        try:
            text = self.feed.render()
        except TimeoutError:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"the metrics could not be read\n")
        else:
            self._send(HTTPStatus.OK, CONTENT_TYPE_LATEST, text)

    def _say(self, good: bool, body: Mapping[str, object]) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._send(status, "application/json", json.dumps(body).encode() + b"\n")

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """No line per request: probes come every few seconds."""


def _subject(connection: object) -> str | None:
    """The subject of the client's certificate, if one was verified; for the decision, and not to be shown."""
    if not isinstance(connection, ssl.SSLSocket):
        return None
    found = connection.getpeercert()
    return None if not found else repr(found.get("subject", ()))
