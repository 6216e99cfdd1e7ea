"""A cloud on this machine: its host names lead here, over TLS, and each request is answered by a function.

Libraries so run as they are, with their own addresses and their own sign-in. No name but the given ones is
resolved, and nothing leaves the machine.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sealwire.testbed.certificates import create_authority

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    host: str
    method: str
    path: str
    """With its query."""
    headers: Message
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What is sent back, after `wait_s`."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0


@dataclass
class FakeHttps:
    """What a test looks at and sets: what was asked, and what is answered instead of the truth, in order."""

    answer: Callable[[Asked], Answer]
    asked: list[Asked] = field(default_factory=list)
    instead: list[Callable[[Asked], Answer | None]] = field(default_factory=list)
    """The first is taken for the next request, if it gives an answer to it; else it stays."""
    errors: list[Exception] = field(default_factory=list)

    def respond(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if self.instead and (given := self.instead[0](asked)) is not None:
            self.instead.pop(0)
            return given
        return self.answer(asked)


@contextmanager
def fake_https(
    folder: Path, hosts: Sequence[str], answer: Callable[[Asked], Answer], patch: pytest.MonkeyPatch
) -> Iterator[FakeHttps]:
    """Serve `hosts` until the end of the block. A fault of the fake itself is raised there."""
    fake = FakeHttps(answer)
    authority = create_authority(folder)
    server = ThreadingHTTPServer((LOOPBACK, 0), _handler(fake))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("cloud", hosts).combined)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    patch.setenv("REQUESTS_CA_BUNDLE", str(authority.certificate_file))
    patch.setattr(socket, "getaddrinfo", _resolver(dict.fromkeys(hosts, server.server_port)))
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not fake.errors, fake.errors


def _resolver(ports: Mapping[str, int]) -> Callable[..., Any]:
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host in ports:
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (LOOPBACK, ports[host]))]
        if host == LOOPBACK:
            return real(host, port, *args, **options)
        raise socket.gaierror(socket.EAI_NONAME, "no such name on this machine")

    return resolve


def _handler(fake: FakeHttps) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """HTTP/1.0: each connection ends with its answer, and no client keeps one."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # a client that waits no longer, or does not trust us

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Asked(self.headers["Host"], self.command, self.path, self.headers, body)
            try:
                answer = fake.respond(asked)
            except Exception as error:  # noqa: BLE001 - it is raised at the end of the block
                fake.errors.append(error)
                answer = Answer(500)
            time.sleep(answer.wait_s)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = respond  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
