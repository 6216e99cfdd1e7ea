"""The admin address: /healthz, /readyz, /metrics and the page for people, in a thread of its own.

A thread, so that /healthz can tell that the event loop is stuck instead of being stuck with it.
"""

import json
import logging
import ssl
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import ClassVar, Protocol

from prometheus_client import CONTENT_TYPE_LATEST

from sealwire.proxy.server.bounded_http import ARRIVAL_S, BoundedHead, BoundedServer
from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.context_feed import StoreReach
from sealwire.proxy.server.frontiers.feed import Following
from sealwire.proxy.server.health import HealthView, is_ready, status_of
from sealwire.proxy.server.observability.audit import Keeping
from sealwire.proxy.server.page.door import MAX_FORM_BYTES, PageCall, PageDoor, is_known_host
from sealwire.proxy.server.ports import bind
from sealwire.proxy.server.tls import NO_TLS, TlsSide

_log = logging.getLogger("sealwire.server")

# How long `close` may take to be noticed.
STOP_POLL_S = 0.1


class Page(Protocol):
    """What /metrics shows."""

    def render(self) -> bytes:
        """The text format of Prometheus; called in the admin address's threads. Raises TimeoutError."""


class AdminServer:
    """Serves the three paths, and the page where there is one, until `close`."""

    def __init__(
        self,
        address: Address,
        health: HealthView,
        page: Page,
        tls: TlsSide = NO_TLS,
        door: PageDoor | None = None,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        """Bind; raises ListenProblem. `hosts`: names by which the address is known."""
        sock, *others = bind(address)
        for other in others:
            other.close()
        sock.setblocking(True)
        handler = type("Handler", (_Handler,), {"health": health, "page": page, "door": door, "hosts": hosts})
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


def _readiness(health: HealthView) -> dict[str, object]:
    """The body of /readyz. Workers that do not have the same policy yet are all named.

    Plaintext in covered paths is named, and so are classes that are in clear; that makes nothing unready:
    clients are served as before.
    It has `frontier` only where one is followed, or should be, `contexts` only where there are such keys, and
    `audit` where there is an audit log, with `audit_trouble` while something keeps it from being written, and
    `upstream` while a server is down.
    """
    said: dict[str, object] = {"status": status_of(health), "keyring": health.keyring.value}
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
    page: ClassVar[Page]
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
                self._say(self.health.alive, {"status": "ok" if self.health.alive else "stuck"})
            case "/readyz":
                self._say(is_ready(self.health), self._readiness())
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
            return _readiness(self.health)
        return {"status": status_of(self.health)}

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
            text = self.page.render()
        except TimeoutError:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"the figures could not be had\n")
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
