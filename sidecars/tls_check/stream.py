"""Short connections whose life is bounded, what can go wrong on them, and one request of HTTP or MongoDB."""

import http.client
import io
import re
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol
from urllib.parse import urlsplit

import bson
from bson.errors import InvalidBSON

from sealwire.sidecars.tls_check.certificate import printable


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


MAX_HEAD_BYTES = 1 << 16
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r?$)")
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The head of one answer."""

    status: int
    location: str
    """Where it redirects to; empty when it does not."""
    hsts: str | None
    """The Strict-Transport-Security field; None without one."""

    @property
    def redirects_to_https(self) -> bool:
        """A redirect with an https:// URL; a relative one stays on plain http."""
        return self.status in _REDIRECTS and self.location.lower().startswith("https://")

    def redirects_to(self, host: str) -> bool:
        """Whether the redirect stays on `host` (as `ascii_host` writes it), with or without `www.`."""
        try:
            target = (urlsplit(self.location).hostname or "").lower()
        except ValueError:
            return False
        return target.removeprefix("www.") == host.removeprefix("www.")

    @property
    def hsts_seconds(self) -> int | None:
        """`max-age`; None without the field or where it cannot be read (RFC 6797 section 6.1)."""
        if self.hsts is None:
            return None
        for directive in self.hsts.split(";"):
            name, _, value = directive.partition("=")
            digits = value.strip().strip('"')
            if name.strip().lower() == "max-age" and re.fullmatch("[0-9]{1,15}", digits):
                return int(digits)
        return None


def get(stream: Stream, authority: str, path: str) -> HttpAnswer:
    """Send one GET and read the head of the answer. Raises StreamFailed; PROTOCOL when it is not HTTP/1.

    Shape:   `authority` as in a URL, `host` or `host:port`; `path` starts with a slash
    """
    request = f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: sealwire\r\nAccept: */*\r\n"
    stream.send(f"{request}Connection: close\r\n\r\n".encode("ascii"))
    head = b""
    while b"\r\n\r\n" not in head:
        more = stream.receive(4096)
        if not more or len(head) > MAX_HEAD_BYTES:
            raise StreamFailed(Trouble.PROTOCOL if head or more else Trouble.CLOSED)
        head += more
    return _read_head(head)


def _read_head(head: bytes) -> HttpAnswer:
    first, _, fields = head.partition(b"\r\n")
    status = _STATUS_LINE.match(first)
    if status is None:
        raise StreamFailed(Trouble.PROTOCOL)
    try:
        parsed = http.client.parse_headers(io.BytesIO(fields))
    except http.client.HTTPException:
        raise StreamFailed(Trouble.PROTOCOL) from None
    hsts = parsed.get("Strict-Transport-Security")
    return HttpAnswer(
        int(status.group(1)),
        printable(str(parsed.get("Location", "")).strip()),
        None if hsts is None else printable(str(hsts)),
    )


_OP_MSG = 2013
_HEADER = struct.Struct("<iiii")  # length, request id, response to, opcode
_PREFIX_BYTES = 5  # flags, and the kind of the one section

MAX_REPLY_BYTES = 1 << 20
MAX_MEMBERS = 64
"""A replica set has at most 50."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a server said of itself."""

    replica_set: str
    members: tuple[str, ...]
    """`host:port` as it tells its clients; empty outside a replica set."""


def ask_hello(stream: Stream) -> Hello:
    """Send hello and read the reply. An error reply counts: the server speaks to us on this stream.

    Source:  MongoDB wire protocol, OP_MSG
    Raises:  StreamFailed; PROTOCOL when what answers is not MongoDB
    """
    body = bson.encode({"hello": 1, "$db": "admin"})
    request_id = secrets.randbelow(1 << 31)
    length = _HEADER.size + _PREFIX_BYTES + len(body)
    stream.send(_HEADER.pack(length, request_id, 0, _OP_MSG) + bytes(_PREFIX_BYTES) + body)
    size, _, answered, opcode = _HEADER.unpack(receive_exactly(stream, _HEADER.size))
    fits = _HEADER.size + _PREFIX_BYTES < size <= MAX_REPLY_BYTES
    if not fits or opcode != _OP_MSG or answered != request_id:
        raise StreamFailed(Trouble.PROTOCOL)
    content = receive_exactly(stream, size - _HEADER.size)
    if content[4] != 0:
        raise StreamFailed(Trouble.PROTOCOL)
    try:
        return _read_hello(bson.decode(content[_PREFIX_BYTES:]))
    except InvalidBSON:
        raise StreamFailed(Trouble.PROTOCOL) from None


def _read_hello(reply: dict[str, Any]) -> Hello:
    name = reply.get("setName")
    lists = [reply.get(kind) for kind in ("hosts", "passives", "arbiters")]
    members = [member for found in lists if isinstance(found, list) for member in found]
    return Hello(
        printable(name) if isinstance(name, str) else "",
        tuple(printable(member) for member in members if isinstance(member, str))[:MAX_MEMBERS],
    )
