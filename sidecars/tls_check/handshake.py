"""Real TLS connections with a server, through pyOpenSSL, that accept everything and remember what was wrong.

Nothing secret may be sent on them: certificates are looked at, not trusted. The library's lowest security
level is asked for, so that a server which only speaks TLS 1.0 can still be shown with its certificate.
"""

import http.client
import io
import re
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import bson
from bson.errors import InvalidBSON
from cryptography import x509
from OpenSSL import SSL, crypto

from sealwire.crypto.host_names import server_name
from sealwire.sidecars.tls_check.certificate import ClientIdentity, Trust, printable

# Short connections whose life is bounded, what can go wrong on them, and one request of HTTP or MongoDB.


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


def ask_hello(stream: Stream) -> tuple[str, ...]:
    """Send hello; the members, `host:port` as the server tells its clients, none outside a replica set.

    An error reply counts: the server speaks to us on this stream.
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
        return _members_in(bson.decode(content[_PREFIX_BYTES:]))
    except InvalidBSON:
        raise StreamFailed(Trouble.PROTOCOL) from None


def _members_in(reply: dict[str, Any]) -> tuple[str, ...]:
    lists = [reply.get(kind) for kind in ("hosts", "passives", "arbiters")]
    members = [member for found in lists if isinstance(found, list) for member in found]
    return tuple(printable(member) for member in members if isinstance(member, str))[:MAX_MEMBERS]


_CHUNK_BYTES = 1 << 14
MAX_CHAIN = 16
"""Certificates that are kept of what a server sends."""

# Everything that shows a certificate, what encrypts nothing last.
_SUITES = b"ALL:COMPLEMENTOFALL:!aNULL:@SECLEVEL=0"

_CERTIFICATE_REQUEST = b"SSLv3/TLS read server certificate request"
_EXPIRED_CODES = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED

_VERIFY_ERRORS = {
    2: "the issuer's certificate is missing",
    7: "a signature in the chain does not fit",
    9: "an authority's certificate is not valid yet",
    10: "an authority's certificate has expired",
    18: "self-signed, and not among the trusted authorities",
    19: "the chain ends in an authority that is not trusted",
    20: "no trusted authority has issued it",
    21: "the chain is incomplete",
    24: "an issuer in the chain is not an authority",
    25: "the chain is longer than an authority allows",
    26: "the certificate may not be used for a server",
    79: "an authority's certificate breaks RFC 5280",
}


class ClientCertificate(Enum):
    """What the server wants of its clients."""

    NOT_ASKED = "not asked for"
    OPTIONAL = "asked for, not demanded"
    REQUIRED = "demanded"


@dataclass(slots=True)
class _Notes:
    """What OpenSSL's callbacks tell during a handshake."""

    verify_errors: list[tuple[int, int]] = field(default_factory=list)
    """(error, depth) pairs."""
    certificate_request: bool = False
    refused: bool = False
    """The server sent a fatal alert, or hung up in the handshake."""
    staple: bytes = b""


T = TypeVar("T")


class TlsStream:
    """A TLS client over `stream`, as a Stream. The handshake happens in `shake_hands`."""

    def __init__(
        self,
        stream: Stream,
        host: str,
        trust: Trust,
        identity: ClientIdentity | None = None,
        *,
        newest: int = SSL.TLS1_3_VERSION,
    ) -> None:
        """`newest`: the version to go up to."""
        self._stream = stream
        self._notes = _Notes()
        self._connection = SSL.Connection(_context(trust, identity, self._notes, newest), None)
        name = server_name(host)
        if name is not None:
            self._connection.set_tlsext_host_name(name)
        self._connection.request_ocsp()
        self._connection.set_connect_state()

    def shake_hands(self) -> None:
        """Raises StreamFailed ALERT, CLOSED, TIMEOUT or PROTOCOL."""
        try:
            self._drive(self._connection.do_handshake)
        except StreamFailed as failure:
            # A server that closes with our last flight unread resets the connection, and its alert is lost.
            self._notes.refused |= failure.trouble is Trouble.CLOSED
            raise

    def send(self, content: bytes) -> None:
        self._drive(lambda: self._connection.sendall(content))

    def receive(self, max_bytes: int) -> bytes:
        try:
            return self._drive(lambda: self._connection.recv(max_bytes))
        except SSL.ZeroReturnError:
            return b""

    def await_refusal(self) -> None:
        """Wait for the alert of a TLS 1.3 server that demands a certificate, where it asked for one.

        Such a server refuses after the handshake; one that does not mind says nothing, until the deadline.
        Raises StreamFailed ALERT.
        """
        if self._notes.certificate_request and self.version == "TLSv1.3":
            try:
                self.receive(1)
            except StreamFailed:
                if self._notes.refused:
                    raise

    def begin_anew(self) -> bool:
        """Ask for a second handshake inside the first; whether the server takes part. Not for TLS 1.3.

        Source: RFC 5246 section 7.4.1.1. A server that does not want one warns, hangs up or says nothing.
        """
        try:
            if not self._connection.renegotiate():
                return False
            self._drive(self._connection.do_handshake)
        except (StreamFailed, SSL.ZeroReturnError):
            return False
        return self._connection.total_renegotiations() > 0 and not self._connection.renegotiate_pending()

    def close(self) -> None:
        self._stream.close()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What the server sent, its own certificate first; empty when it sent none."""
        sent = self._connection.get_peer_cert_chain(as_cryptography=True)
        return tuple(sent or ())[:MAX_CHAIN]

    @property
    def verified_chain(self) -> tuple[x509.Certificate, ...]:
        """The chain as OpenSSL completed it from the trusted authorities; for the issuer's key."""
        return tuple(self._connection.get_verified_chain(as_cryptography=True) or ())

    @property
    def distrust(self) -> str:
        """Why the chain does not lead to a trusted authority; empty when it does.

        The validity of certificates that the server sent is not among it: that is judged by itself.
        """
        sent = len(self.chain)
        for code, depth in self._notes.verify_errors:
            if code not in _EXPIRED_CODES or depth >= sent:
                return _VERIFY_ERRORS.get(code, f"verification error {code} of OpenSSL")
        return ""

    @property
    def client_certificate(self) -> ClientCertificate:
        """Known fully only after something was received: TLS 1.3 refuses after the handshake."""
        if not self._notes.certificate_request:
            return ClientCertificate.NOT_ASKED
        return ClientCertificate.REQUIRED if self._notes.refused else ClientCertificate.OPTIONAL

    @property
    def staple(self) -> bytes:
        """The OCSP response that the server sent along, DER; empty without."""
        return self._notes.staple

    @property
    def version(self) -> str:
        """The version in use, as OpenSSL writes it."""
        return self._connection.get_protocol_version_name()

    @property
    def suite(self) -> str:
        """The suite in use, as OpenSSL writes it."""
        return self._connection.get_cipher_name() or ""

    def _drive(self, step: Callable[[], T]) -> T:
        """Run one step of OpenSSL, moving bytes between it and the connection until it is done."""
        while True:
            try:
                result = step()
            except SSL.WantReadError:
                self._flush()
                received = self._stream.receive(_CHUNK_BYTES)
                if not received:
                    raise StreamFailed(Trouble.ALERT if self._notes.refused else Trouble.CLOSED) from None
                self._connection.bio_write(received)
            except SSL.ZeroReturnError:
                raise  # the orderly end, which only `receive` knows what to do with
            except SSL.Error:
                raise StreamFailed(Trouble.ALERT if self._notes.refused else Trouble.PROTOCOL) from None
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        while True:
            try:
                pending = self._connection.bio_read(_CHUNK_BYTES)
            except SSL.WantReadError:
                return
            self._stream.send(pending)


def _context(trust: Trust, identity: ClientIdentity | None, notes: _Notes, newest: int) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_max_proto_version(newest)
    context.set_cipher_list(_SUITES)
    store = context.get_cert_store()
    if trust is None:
        context.set_default_verify_paths()
    elif store is not None:
        for authority in trust:
            store.add_cert(crypto.X509.from_cryptography(authority))
    if identity is not None:
        context.use_certificate(identity.certificate)
        for extra in identity.chain:
            context.add_extra_chain_cert(extra)
        context.use_privatekey(identity.key)

    def on_verify(_c: SSL.Connection, _x: crypto.X509, error: int, depth: int, _ok: int) -> bool:
        if error:
            notes.verify_errors.append((error, depth))
        return True

    def on_state(connection: SSL.Connection, where: int, value: int) -> None:
        if where == SSL.SSL_CB_READ_ALERT and value >> 8 == 2:
            notes.refused = True
        elif connection.get_state_string() == _CERTIFICATE_REQUEST:
            notes.certificate_request = True

    def on_staple(_c: SSL.Connection, response: bytes, _data: object) -> bool:
        notes.staple = response
        return True

    context.set_verify(SSL.VERIFY_PEER, on_verify)
    context.set_info_callback(on_state)
    context.set_ocsp_client_callback(on_staple)
    return context
