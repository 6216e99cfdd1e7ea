"""What the operator wants verified, and what was seen of it. What may be secret in it is dropped here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pymongo.errors import ConfigurationError, PyMongoError
from pymongo.uri_parser import parse_uri

from sealwire.crypto.host_names import server_name
from sealwire.sidecars.errors import TlsCheckReason, Unusable
from sealwire.sidecars.tls_check.certificate import CertificateFacts, Revocation
from sealwire.sidecars.tls_check.handshake import ClientCertificate, HttpAnswer, Trouble
from sealwire.sidecars.tls_check.offers import VersionSupport

MAX_TARGET_CHARACTERS = 8192
MAX_TARGETS = 1000
MONGODB_PORT = 27017
HTTPS_PORT = 443
HTTP_PORT = 80

_HTTPS_HINT = "give the https:// URL: the redirect from http is looked at with it"
_HINT = "write mongodb://HOST:PORT/?tls=true, https://HOST/ or HOST:PORT; [ADDRESS]:PORT for IPv6"


class TargetKind(Enum):
    """What is spoken inside TLS."""

    MONGODB = "mongodb"
    HTTPS = "https"
    TLS = "tls"
    """The protocol is not known. A MongoDB server that answers without TLS is still found."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address to connect to."""

    kind: TargetKind
    host: str
    port: int
    path: str = "/"

    @property
    def label(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """One target, without user, password and options."""

    label: str
    kind: TargetKind
    endpoints: tuple[Endpoint, ...]
    discover: bool = False
    """Ask the servers for the other members of their replica set."""
    asks_for_tls: bool = True
    """False: a connection string that does not turn TLS on."""
    verifies: bool = True
    """False: a connection string that turns the verification of certificates or names off."""
    authorities: Path | None = None
    """tlsCAFile of the connection string."""
    identity: Path | None = None
    """tlsCertificateKeyFile of the connection string."""


def parse_targets(arguments: Sequence[str], filename: str = "", content: str = "") -> tuple[Target, ...]:
    """Targets that were given one by one, and those of a file: one a line, `#` begins a comment line.

    Raises Unusable with the number of the target or the line, never with its text.
    """
    places = [(f"target {number}", text) for number, text in enumerate(arguments, 1)]
    numbered = [(f"{filename}:{number}", line.strip()) for number, line in enumerate(content.splitlines(), 1)]
    places += [(place, line) for place, line in numbered if line and not line.startswith("#")]
    if not 0 < len(places) <= MAX_TARGETS:
        text = "no target is given" if not places else f"there are more than {MAX_TARGETS} targets"
        hint = "name one, or a file of them with --targets-file"
        raise Unusable(TlsCheckReason.NO_TARGETS, text, hint)
    targets = []
    for place, text in places:
        try:
            targets.append(parse_target(text))
        except Unusable as error:
            raise Unusable(error.reason, f"{place}: {error}", error.hint) from None
    return tuple(targets)


def parse_target(text: str) -> Target:
    """Read one TARGET.

    Cost:    no connection; a DNS query for mongodb+srv://
    Raises:  Unusable TARGET, TARGET_OPTIONS, TARGET_LOOKUP; never quotes the target
    """
    if not text or len(text) > MAX_TARGET_CHARACTERS or not text.isprintable():
        raise Unusable(TlsCheckReason.TARGET, "a target is empty, too long or not printable", _HINT)
    if text.startswith(("mongodb://", "mongodb+srv://")):
        return _mongodb(text)
    if text.startswith("https://"):
        return _https(text)
    if "://" in text:
        hint = _HINT if text[:5] != "http:" else _HTTPS_HINT
        raise Unusable(TlsCheckReason.TARGET, "a target has a scheme that is not known", hint)
    endpoint = parse_address(text, TargetKind.TLS)
    return Target(endpoint.label, TargetKind.TLS, (endpoint,))


def parse_address(text: str, kind: TargetKind) -> Endpoint:
    """`HOST:PORT`, `[ADDRESS]:PORT`. Raises Unusable TARGET."""
    # A comma, slash or at sign means that it is something else, perhaps with a password in it.
    if set(text) & set("/@,?# "):
        raise _not_an_address()
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        raise _not_an_address() from None
    if not parts.hostname or not port:
        raise _not_an_address()
    return Endpoint(kind, _checked_host(parts.hostname), port)


def _https(text: str) -> Target:
    try:
        parts = urlsplit(text)
        port = parts.port or HTTPS_PORT
    except ValueError:
        raise Unusable(TlsCheckReason.TARGET, "an https:// target cannot be read", _HINT) from None
    if not parts.hostname or not parts.path.isascii() or " " in parts.path:
        raise Unusable(TlsCheckReason.TARGET, "an https:// target cannot be read", _HINT)
    endpoint = Endpoint(TargetKind.HTTPS, _checked_host(parts.hostname), port, parts.path or "/")
    return Target(f"https://{endpoint.label}{endpoint.path}", TargetKind.HTTPS, (endpoint,))


def _mongodb(text: str) -> Target:
    database = text.partition("://")[2].partition("/")[2].partition("?")[0]
    if "@" in database:  # a slash in an unquoted password: what stands before it is taken for HOST:PORT
        raise _bad_uri(text, None)
    try:
        parsed: dict[str, Any] = dict(parse_uri(text, default_port=MONGODB_PORT, validate=True))
    except OSError:
        text = "a file that a connection string names cannot be read"
        hint = "check tlsCAFile and tlsCertificateKeyFile"
        raise Unusable(TlsCheckReason.TARGET_OPTIONS, text, hint) from None
    except (PyMongoError, ValueError, TypeError) as error:
        # The driver's texts quote parts of the string, which where it is badly quoted is the password.
        raise _bad_uri(text, error) from None
    options: dict[str, Any] = {str(name).lower(): value for name, value in parsed["options"].items()}
    nodes = [(str(host), port) for host, port in parsed["nodelist"] if port is not None]
    if len(nodes) != len(parsed["nodelist"]):
        problem = "a connection string names a socket file"
        raise Unusable(TlsCheckReason.TARGET, problem, "name HOST:PORT")
    endpoints = tuple(Endpoint(TargetKind.MONGODB, _checked_host(host), port) for host, port in nodes)
    return Target(
        label=f"mongodb://{','.join(endpoint.label for endpoint in endpoints)}/",
        kind=TargetKind.MONGODB,
        endpoints=endpoints,
        discover=not options.get("directconnection") and not options.get("loadbalanced"),
        asks_for_tls=bool(options.get("tls")),
        verifies=not any(options.get(name) for name in _UNVERIFIED),
        authorities=_path(options.get("tlscafile")),
        identity=_path(options.get("tlscertificatekeyfile")),
    )


_NOT_IN_HOSTS = frozenset(" /@?#,;=&%<>[]{}|\\^`\"'")
_UNVERIFIED = ("tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames")


def _bad_uri(text: str, error: Exception | None) -> Unusable:
    if text.startswith("mongodb+srv://") and isinstance(error, ConfigurationError):
        hint = "check the name, and that its SRV record can be looked up from here"
        return Unusable(TlsCheckReason.TARGET_LOOKUP, "a mongodb+srv:// target was not found", hint)
    hint = "write mongodb://HOST:PORT/?tls=true, its options as MongoDB names them; no login is needed"
    return Unusable(TlsCheckReason.TARGET, "a connection string cannot be read", hint)


def _path(value: object) -> Path | None:
    return Path(value) if isinstance(value, str) else None


def _checked_host(host: str) -> str:
    if set(host) & _NOT_IN_HOSTS:
        raise _not_an_address()
    try:
        server_name(host)
    except UnicodeError:
        raise _not_an_address() from None
    return host


def _not_an_address() -> Unusable:
    return Unusable(TlsCheckReason.TARGET, "a target is not HOST:PORT", _HINT)


class Plaintext(Enum):
    """What the endpoint does with a request without TLS."""

    REFUSED = "refused"
    ACCEPTED = "accepted"
    REDIRECTED = "redirected to https"
    CLOSED = "no such port"
    """Nothing listens on the port of plain http (HTTPS only)."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What the server showed in a real handshake."""

    version: str
    suite: str
    chain: tuple[CertificateFacts, ...]
    """The server's own certificate first; never empty."""
    names_host: bool
    distrust: str
    """Why no trusted authority vouches for it; empty when one does."""
    client_certificate: ClientCertificate
    revocation: Revocation
    renegotiates: bool = False
    """Whether a client may begin handshake after handshake on one connection (TLS 1.2 and older)."""


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """Everything that was seen at one endpoint; what could not be seen is None or empty."""

    endpoint: Endpoint
    versions: tuple[VersionSupport, ...] = ()
    plaintext: Plaintext | None = None
    presented: Presented | None = None
    trouble: Trouble | None = None
    """Why there was no connection at all, or no handshake."""
    application_trouble: Trouble | None = None
    """Why MongoDB or HTTP did not answer inside TLS."""
    http: HttpAnswer | None = None
    discovered: bool = False
    """A member that another one named, not the operator."""

    @property
    def accepted(self) -> tuple[VersionSupport, ...]:
        """The versions that the server takes."""
        return tuple(found for found in self.versions if found.suites)


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """One target, all its endpoints, and when it was looked at."""

    target: Target
    endpoints: tuple[EndpointFacts, ...]
    seen: datetime
