"""Who is let in: a token that is presented once, then a cookie for a while; or a token with each request.

Tokens and cookies are compared by their hashes, in constant time, so that neither their length nor their
beginning shows. Nothing here has a `repr` with either. All methods are for any thread.
"""

import hmac
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, final

from sealwire.keys.errors import KeysError, KeySettingError
from sealwire.keys.private_file import read_private
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason
from sealwire.proxy.server.observability.logs import note

MIN_TOKEN_CHARACTERS: Final = 32
IDLE_S: Final = 1800.0
LONGEST_S: Final = 8 * 3600.0
WRONG_TRIES: Final = 10
WRONG_WITHIN_S: Final = 300.0

_MAX_TOKEN_BYTES: Final = 1024
_MAX_VISITS: Final = 64
_MAX_PEERS: Final = 1024
_log = logging.getLogger("sealwire.server")

Clock = Callable[[], float]


@final
class Token:
    """The secret in a file. The file is read for each request, so that a new token counts at once."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises FileProblem, PermissionProblem."""
        self._path = path
        try:
            self._read()
        except KeySettingError as error:
            raise FileProblem(StartReason.FILE_MISSING, str(error), error.hint) from None
        except KeysError as error:
            raise PermissionProblem(StartReason.FILE_FORBIDDEN, str(error), error.hint) from None

    def __repr__(self) -> str:
        return "Token()"

    def hashed(self) -> bytes | None:
        """The hash of what the file holds now; None, with a line in the log, where it cannot be had."""
        try:
            return self._read()
        except (FileProblem, KeysError) as error:
            note(_log, logging.ERROR, "nobody is let in by token", problem=str(error), hint=error.hint)
            return None

    def is_in(self, presented: bytes) -> bytes | None:
        """The hash of the token if `presented` is the token. Cost: one small file."""
        hashed = self.hashed()
        found = sha256(presented.strip()).digest()
        return hashed if hashed is not None and hmac.compare_digest(found, hashed) else None

    def _read(self) -> bytes:
        token = read_private(self._path, _MAX_TOKEN_BYTES).strip()
        if len(token) < MIN_TOKEN_CHARACTERS:
            raise FileProblem(
                StartReason.TOKEN_SHORT,
                f"{self._path}: a token has {MIN_TOKEN_CHARACTERS} characters at least",
                f"(umask 077; openssl rand -hex 32 > {self._path})",
            )
        return sha256(token).digest()


@dataclass(slots=True)
class _Visit:
    token: bytes
    """The hash of the token that opened it: it ends when that token counts no more."""
    begun_s: float
    seen_s: float


@final
class Visits:
    """Who has presented the token: by a cookie of 32 random bytes, of which only the hash is kept."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._visits: OrderedDict[bytes, _Visit] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, token: bytes) -> str:
        """A new cookie. Beyond 64 visits the one that began first ends."""
        cookie, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            while len(self._visits) >= _MAX_VISITS:
                self._visits.popitem(last=False)
            self._visits[sha256(cookie.encode()).digest()] = _Visit(token, now, now)
        return cookie

    def goes_on(self, cookie: str, token: bytes | None) -> bool:
        """Whether a cookie counts: within half an hour of its last use, and eight hours of its first."""
        key, now = sha256(cookie.encode()).digest(), self._clock()
        with self._lock:
            found = self._visits.get(key)
            if found is None:
                return False
            is_late = now - found.seen_s > IDLE_S or now - found.begun_s > LONGEST_S
            if is_late or token is None or not hmac.compare_digest(found.token, token):
                del self._visits[key]
                return False
            found.seen_s = now
            return True

    def end(self, cookie: str) -> None:
        """The cookie counts no more."""
        with self._lock:
            self._visits.pop(sha256(cookie.encode()).digest(), None)


@final
class Tries:
    """Wrong tokens by address: a few, then a pause. A network of IPv6 counts as one address."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, peer: str) -> float:
        """How long this peer has to wait before a token of its is looked at; 0 for not at all."""
        with self._lock:
            recent = self._recent(_network(peer))
            return 0.0 if len(recent) < WRONG_TRIES else recent[0] + WRONG_WITHIN_S - self._clock()

    def failed(self, peer: str) -> None:
        """A token was wrong. Beyond 1024 addresses the one that was met first is forgotten."""
        with self._lock:
            key = _network(peer)
            recent = self._recent(key)
            self._wrong[key] = [*recent, self._clock()][-WRONG_TRIES:]
            self._wrong.move_to_end(key)
            while len(self._wrong) > _MAX_PEERS:
                self._wrong.popitem(last=False)

    def _recent(self, key: str) -> list[float]:
        since = self._clock() - WRONG_WITHIN_S
        return [at for at in self._wrong.get(key, ()) if at > since]


def _network(peer: str) -> str:
    address = ip_address(peer.partition("%")[0])
    return peer if address.version == 4 else str(ip_network((address, 64), strict=False))
