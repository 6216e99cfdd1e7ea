"""Where copies of lines go: standard output, or a syslog server. Source: RFC 5424, 5425, 5426, 6587.

A message has the line as it stands in the log, and before it who sends it: facility 13, which is for audits,
and the severity notice. On a stream each message has its length in front, and none ends at a newline.
"""

import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, final

from sealwire.proxy.server.observability.logs import note

TIMEOUT_S: Final = 5.0
GOODBYE_S: Final = 1.0
_PRIORITY: Final = 13 * 8 + 5
_STDOUT: Final = 1

_log = logging.getLogger("sealwire.audit")


class Destination(Protocol):
    """Takes lines, without their newlines, in order."""

    def send(self, lines: Sequence[bytes]) -> None:
        """Hand over all lines. Raises OSError: then some of them may have arrived. Blocks."""

    def close(self) -> None:
        """Nothing follows. A second time changes nothing."""


def _udp(target: "CopyTarget") -> Destination:
    family, _, _, _, address = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)[0]
    return _datagrams(family, address)


def _datagrams(family: int, address: Any) -> Destination:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(TIMEOUT_S)
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return _Datagrams(sock)


def _tcp(target: "CopyTarget") -> Destination:
    return _Stream(socket.create_connection((target.host, target.port), TIMEOUT_S))


def _tls(target: "CopyTarget") -> Destination:
    plain = socket.create_connection((target.host, target.port), TIMEOUT_S)
    try:
        context = ssl.create_default_context()
        return _Stream(context.wrap_socket(plain, server_hostname=target.host))
    except BaseException:
        plain.close()
        raise


@dataclass(frozen=True, slots=True)
class CopyKind:
    """How lines travel to a place, and how the place is written."""

    prefix: str
    place: str
    """What follows the prefix: nothing, `PATH` or `HOST:PORT`."""
    opens: "Callable[[CopyTarget], Destination]"
    is_stream: bool = False
    """Whether what is under way may be lost with the connection."""

    def written(self, place: str) -> str:
        """This kind with a place, as the configuration has it."""
        return f"{self.prefix}:{place}" if place else self.prefix


COPY_KINDS: Final = (
    CopyKind("stdout", "", lambda _: _StandardOutput()),
    CopyKind("syslog:unix", "PATH", lambda target: _datagrams(socket.AF_UNIX, target.host)),
    CopyKind("syslog:udp", "HOST:PORT", _udp),
    CopyKind("syslog:tcp", "HOST:PORT", _tcp, is_stream=True),
    CopyKind("syslog:tls", "HOST:PORT", _tls, is_stream=True),
)
"""The registry of places for copies."""

COPY_FORMS: Final = tuple(kind.written(kind.place) for kind in COPY_KINDS)
"""How a place for copies is written, for hints and pages."""


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """One of `audit.copies`."""

    kind: CopyKind
    host: str = ""
    """A name or an address; the path of a Unix socket."""
    port: int = 0

    def __str__(self) -> str:
        """As the configuration writes it."""
        return self.kind.written(f"{self.host}:{self.port}" if self.port else self.host)

    def open(self) -> Destination:
        """Connect. Raises OSError. Blocks for TIMEOUT_S at most, and the time of a look-up."""
        return self.kind.opens(self)


def parse_copy(text: str) -> CopyTarget:
    """What one of COPY_FORMS names. Raises ValueError."""
    for kind in COPY_KINDS:
        if text == kind.prefix and not kind.place:
            return CopyTarget(kind)
        if not text.startswith(f"{kind.prefix}:"):
            continue
        place = text[len(kind.prefix) + 1 :]
        if kind.place == "PATH" and place.startswith("/"):
            return CopyTarget(kind, place)
        host, _, port = place.rpartition(":")
        is_number = port.isascii() and port.isdigit() and 0 < int(port) < 65_536
        if kind.place == "HOST:PORT" and host and is_number:
            return CopyTarget(kind, host.removeprefix("[").removesuffix("]"), int(port))
    raise ValueError(f"'{text}' is no place for copies")


def syslog_message(line: bytes, moment: datetime, host: str, process: int) -> bytes:
    """The message of RFC 5424 that has this line; it is sent at `moment`."""
    time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"<{_PRIORITY}>1 {time} {host} sealwire {process} audit - ".encode() + line


def _messages(lines: Sequence[bytes]) -> list[bytes]:
    host = "".join(letter for letter in socket.gethostname() if "!" <= letter <= "~")[:255] or "-"
    now, process = datetime.now(UTC), os.getpid()
    return [syslog_message(line, now, host, process) for line in lines]


@final
class _StandardOutput:
    def send(self, lines: Sequence[bytes]) -> None:
        data = b"".join(line + b"\n" for line in lines)
        while data:
            data = data[os.write(_STDOUT, data) :]

    def close(self) -> None:
        pass


@final
class _Datagrams:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, lines: Sequence[bytes]) -> None:
        for message in _messages(lines):
            try:
                self._socket.send(message)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                note(_log, logging.ERROR, "a line is too long for a datagram", bytes=len(message))

    def close(self) -> None:
        self._socket.close()


@final
class _Stream:
    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(TIMEOUT_S)
        self._socket = sock

    def send(self, lines: Sequence[bytes]) -> None:
        self._expect_open()
        self._socket.sendall(b"".join(b"%d %b" % (len(each), each) for each in _messages(lines)))

    def close(self) -> None:
        # what was not read, such as a ticket of TLS, would turn the end into a reset, which loses lines
        with suppress(OSError, ValueError):
            self._socket.settimeout(GOODBYE_S)
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.unwrap()
            else:
                self._socket.shutdown(socket.SHUT_WR)
                self._socket.recv(1024)
        self._socket.close()

    def _expect_open(self) -> None:
        """A server says nothing; what can be read is the end, which a first write would not notice."""
        self._socket.settimeout(0)
        try:
            is_over = not self._socket.recv(1024)
        except (BlockingIOError, ssl.SSLWantReadError):
            is_over = False
        finally:
            self._socket.settimeout(TIMEOUT_S)
        if is_over:
            raise ConnectionResetError
