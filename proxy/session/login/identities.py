"""Logging a client in that has shown a certificate: as whom, and what the server is asked for it.

The proxy runs the client's half of SCRAM, without channel binding, as servers have it. The server is believed
only once it has proved that it knows the password too.
Source: RFC 5802, RFC 7677; Authentication (driver specifications), MONGODB-X509 and SCRAM.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar, final

from bson.binary import Binary

from sealwire.proxy.session import replies
from sealwire.proxy.session.choices import Holder, ScramHash
from sealwire.proxy.session.login.caller import is_done
from sealwire.wire import kinds
from sealwire.wire.raw_bson import find_element, int32_at

MIN_ITERATIONS: Final = 4096
"""RFC 7677 section 4. A server that asks for fewer wants the password."""
MAX_ITERATIONS: Final = 300_000
"""20 times what MongoDB asks for; more would hold up all other clients of the process."""
NONCE_BYTES: Final = 24

_HEADER: Final = "n,,"
_REMEMBERED: Final = 4


class ScramFailed(Exception):
    """The server's message breaks the protocol, or does not prove that it knows the password."""


@final
class ScramSecret:
    """A password as the mechanism takes it, and what was derived from it last. No repr shows it."""

    __slots__ = ("_derived", "_password", "digest", "mechanism")

    def __init__(self, mechanism: ScramHash, password: bytes) -> None:
        self.mechanism = mechanism
        self.digest = "sha1" if mechanism is ScramHash.SHA_1 else "sha256"
        self._password = password
        self._derived: dict[tuple[bytes, int], bytes] = {}

    def __repr__(self) -> str:
        return f"ScramSecret({self.mechanism.value})"

    def salted(self, salt: bytes, iterations: int) -> bytes:
        """Cost: 5 to 100 ms, and nothing for a salt that was asked for before."""
        key = salt, iterations
        found = self._derived.get(key)
        if found is None:
            if len(self._derived) >= _REMEMBERED:
                self._derived.clear()
            found = hashlib.pbkdf2_hmac(self.digest, self._password, salt, iterations)
            self._derived[key] = found
        return found


@final
class ScramExchange:
    """One login: `first`, then `proof` of the server's first message, then `verify` its last one."""

    __slots__ = ("_nonce", "_secret", "_signature", "_start")

    def __init__(self, user: str, secret: ScramSecret, nonce: bytes) -> None:
        """`nonce`: NONCE_BYTES random bytes, of this login alone."""
        self._secret = secret
        self._nonce = base64.b64encode(nonce).decode()
        name = user.replace("=", "=3D").replace(",", "=2C")
        self._start = f"n={name},r={self._nonce}"
        self._signature = b""

    def __repr__(self) -> str:
        return "ScramExchange()"

    def first(self) -> bytes:
        """The client's first message."""
        return f"{_HEADER}{self._start}".encode()

    def proof(self, server_first: bytes) -> bytes:
        """The client's last message. Raises ScramFailed."""
        parts = _parts(server_first)
        nonce, salt = parts.get("r", ""), _decoded(parts.get("s", ""))
        count = parts.get("i", "")
        iterations = int(count) if count.isascii() and count.isdigit() and len(count) < 8 else 0
        is_ours = nonce.startswith(self._nonce) and len(nonce) > len(self._nonce)
        if not is_ours or not salt or not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS or "m" in parts:
            raise ScramFailed
        salted = self._secret.salted(salt, iterations)
        ending = f"c={base64.b64encode(_HEADER.encode()).decode()},r={nonce}"
        said = f"{self._start},".encode() + server_first + f",{ending}".encode()
        client_key = self._sign(salted, b"Client Key")
        signature = self._sign(hashlib.new(self._secret.digest, client_key).digest(), said)
        self._signature = self._sign(self._sign(salted, b"Server Key"), said)
        proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
        return f"{ending},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_last: bytes) -> None:
        """Raises ScramFailed where the server does not know the password."""
        claimed = _decoded(_parts(server_last).get("v", ""))
        if not self._signature or not hmac.compare_digest(claimed, self._signature):
            raise ScramFailed

    def _sign(self, key: bytes, text: bytes) -> bytes:
        return hmac.digest(key, text, self._secret.digest)


def _parts(message: bytes) -> dict[str, str]:
    """`r=...,s=...,i=...`; the first of each name."""
    found: dict[str, str] = {}
    for part in message.decode("utf-8", "replace").split(","):
        name, equals, value = part.partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


# As whom the proxy logs a client in that has shown a certificate: by subject, as the configuration says.


@dataclass(frozen=True, slots=True)
class ScramIdentity:
    """A user with a password, which the proxy knows and the client does not."""

    user: str
    database: str
    """Where the server keeps the user."""
    secret: ScramSecret = field(repr=False)


@dataclass(frozen=True, slots=True)
class CertificateIdentity:
    """Whoever the server takes the holder of a certificate for, which the proxy shows it."""

    subject: str
    """The subject of that certificate."""


UpstreamIdentity = ScramIdentity | CertificateIdentity


Identities = Mapping[Holder, UpstreamIdentity]
"""By the exact names in the client's certificate."""

T = TypeVar("T")


def entry_of(entries: Mapping[Holder, T], names: tuple[str, ...], issuer: str) -> T | None:
    """The entry for a certificate: the one that names its subject and its issuer, else its subject alone.

    `names` has the subject in its spellings. The first counts; without any there is no entry.
    """
    if not names:
        return None
    found = entries.get(Holder(names[0], issuer))
    return entries.get(Holder(names[0])) if found is None else found


NO_IDENTITIES: Final[Identities] = {}


@dataclass(frozen=True, slots=True)
class Certified:
    """What a client has proved by its certificate, in the handshake before everything else."""

    names: tuple[str, ...]
    """The subject, exact, in the spellings that drivers and servers have for it; the first is what
    `Identities` has."""
    presented: UpstreamIdentity | None = None
    """As whom the connection to the server was opened; with a CertificateIdentity, by its certificate."""
    issuer: str = ""
    """Who has signed it, in the first of these spellings."""

    def identity(self, identities: Identities) -> UpstreamIdentity | None:
        """As whom a login counts now; None without one, or where the connection shows another certificate."""
        found = entry_of(identities, self.names, self.issuer)
        if isinstance(found, CertificateIdentity) and found != self.presented:
            return None
        return found


NOT_CERTIFIED: Final = Certified(())


# ------------------------------------------------------------------------ what is asked, question by question

_MAX_PAYLOAD_BYTES: Final = 4096

Command = dict[str, object]
Steps = Generator[Command, tuple[bytes, int], None]
"""The commands of a login. It is sent each answer, as a message and where its body begins, and ends with the
login. Raises NotLoggedIn, BsonError."""


class NotLoggedIn(Exception):
    """The server does not log the client in. The text is a code or a fixed word, not the server's own."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def certificate_steps() -> Steps:
    """One command: the server has seen the certificate that the proxy shows for this client."""
    message, body = yield {"authenticate": 1, "mechanism": "MONGODB-X509", "$db": "$external"}
    _require_ok(message, body)


def scram_steps(identity: ScramIdentity, nonce: bytes) -> Steps:
    """Two or three commands: the first message, the proof, and an empty one where the server waits."""
    exchange = ScramExchange(identity.user, identity.secret, nonce)
    message, body = yield {
        "saslStart": 1,
        "mechanism": identity.secret.mechanism.value,
        "payload": Binary(exchange.first()),
        "options": {"skipEmptyExchange": True},
        "$db": identity.database,
    }
    _require_ok(message, body)
    try:
        if is_done(message, body):
            # a server that lets somebody in without a proof is not the one that knows the password
            raise ScramFailed
        proof = exchange.proof(_payload(message, body))
        message, body = yield _continued(identity, message, body, proof)
        _require_ok(message, body)
        exchange.verify(_payload(message, body))
    except ScramFailed:
        raise NotLoggedIn("server not proved") from None
    if not is_done(message, body):
        message, body = yield _continued(identity, message, body, b"")
        _require_ok(message, body)
        if not is_done(message, body):
            raise NotLoggedIn("never done")


def _continued(identity: ScramIdentity, message: bytes, body: int, payload: bytes) -> Command:
    number = find_element(message, body, b"conversationId")
    if number is None or number.kind != kinds.INT:
        raise NotLoggedIn("no conversation")
    return {
        "saslContinue": 1,
        "conversationId": int32_at(message, number.value),
        "payload": Binary(payload),
        "$db": identity.database,
    }


def _require_ok(message: bytes, body: int) -> None:
    if not replies.is_ok(message, body):
        raise NotLoggedIn(replies.code_text(message, body))


def _payload(message: bytes, body: int) -> bytes:
    """The bytes of a binary, after its length and subtype; empty without one."""
    found = find_element(message, body, b"payload")
    if found is None or found.kind != kinds.BIN_DATA or found.end - found.value > _MAX_PAYLOAD_BYTES:
        return b""
    return message[found.value + 5 : found.end]
