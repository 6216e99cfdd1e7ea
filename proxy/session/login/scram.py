"""The client's half of a SCRAM login, which the proxy runs for a client that has shown a certificate.

Source: RFC 5802, RFC 7677; Authentication (driver specifications), SCRAM. Without channel binding, as servers
have it. The server is believed only once it has proved that it knows the password too.
"""

import base64
import binascii
import hashlib
import hmac
from enum import Enum
from typing import Final, final

MIN_ITERATIONS: Final = 4096
"""RFC 7677 section 4. A server that asks for fewer wants the password."""
MAX_ITERATIONS: Final = 300_000
"""20 times what MongoDB asks for; more would hold up all other clients of the process."""
NONCE_BYTES: Final = 24

_HEADER: Final = "n,,"
_REMEMBERED: Final = 4


class ScramHash(Enum):
    """The mechanisms, by their names."""

    SHA_1 = "SCRAM-SHA-1"
    SHA_256 = "SCRAM-SHA-256"


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
