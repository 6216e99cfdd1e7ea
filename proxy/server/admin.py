"""The admin address: /healthz, /readyz and /metrics over plain HTTP, in a thread of its own.

A thread, so that /healthz can tell that the event loop is stuck instead of being stuck with it.
"""

import json
import logging
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Protocol

from prometheus_client import CONTENT_TYPE_LATEST

from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.context_feed import StoreReach
from sealwire.proxy.server.frontier_feed import Following
from sealwire.proxy.server.health import HealthView, Phase
from sealwire.proxy.server.key_feed import Freshness
from sealwire.proxy.server.observability.audit import Keeping
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.ports import bind

_log = logging.getLogger("sealwire.server")

# How long `close` may take to be noticed.
STOP_POLL_S = 0.1


class Page(Protocol):
    """What /metrics shows."""

    def render(self) -> bytes:
        """The text format of Prometheus; called in the admin address's threads. Raises TimeoutError."""


class AdminServer:
    """Serves the three paths until `close`."""

    def __init__(self, address: Address, health: HealthView, page: Page) -> None:
        """Bind; raises ListenProblem."""
        sock, *others = bind(address)
        for other in others:
            other.close()
        sock.setblocking(True)
        handler = type("Handler", (_Handler,), {"health": health, "page": page})
        self._server = _Server(sock.getsockname()[:2], handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = sock
        self.address = Address(*sock.getsockname()[:2])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_POLL_S,), name="admin", daemon=True
        )

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and give the port back."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """In place of the base class's, which prints tracebacks between the log lines."""
        del request, client_address
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            note(_log, logging.DEBUG, "admin client went away", problem=type(error).__name__)
        else:
            note(_log, logging.CRITICAL, "bug: in the admin server", error)


def _readiness(health: HealthView) -> dict[str, object]:
    """The body of /readyz. Workers that do not have the same policy yet are all named.

    Plaintext in covered paths is named, and so are classes that are in clear; that makes nothing unready:
    clients are served as before.
    It has `frontier` only where one is followed, or should be, `contexts` only where there are such keys, and
    `audit` where there is an audit log, with `audit_trouble` while something keeps it from being written.
    """
    said: dict[str, object] = {"status": health.phase.value, "keyring": health.keyring.value}
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
    if health.audit is not Keeping.OFF:
        said["audit"] = health.audit.value
    if health.audit_trouble:
        said["audit_trouble"] = health.audit_trouble
    return said


class _Handler(BaseHTTPRequestHandler):
    health: ClassVar[HealthView]
    page: ClassVar[Page]
    timeout = 5  # seconds for a request to arrive
    protocol_version = "HTTP/1.0"  # no keep-alive: no thread waits for a next request
    server_version = "sealwire"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of the three paths, 404 for anything else."""
        match self.path.partition("?")[0]:
            case "/healthz":
                self._say(self.health.alive, {"status": "ok" if self.health.alive else "stuck"})
            case "/readyz":
                health = self.health
                ready = (
                    health.alive
                    and health.phase is Phase.READY
                    and health.keyring is not Freshness.EXPIRED
                    and health.audit is not Keeping.FULL
                )
                self._say(ready, _readiness(health))
            case "/metrics":
                self._metrics()
            case _:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", b"paths: /healthz /readyz /metrics\n")

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
