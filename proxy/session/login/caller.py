"""Who is at the other end of a session: what the server says of the login, and the client of itself.

Only the server's word counts for the users; it is asked after each login (`sides.ask_users`). Nothing is
read from what a client sends to log in: that may hold a password, and a client could begin one login and end
another. Application and driver are the client's own claim, from the `client` document of its handshake.
Source: Handshake (driver specifications); MongoDB manual, `connectionStatus`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from sealwire.policies.roles.screening import screened
from sealwire.proxy.session import replies
from sealwire.proxy.session.login.handshake import HELLO_COMMANDS
from sealwire.proxy.session.login.scram import ScramSecret
from sealwire.wire import kinds
from sealwire.wire.raw_bson import elements, find_element, string_bytes

MAX_USERS: Final = 8
"""Servers before MongoDB 6.0 let one connection log in as several users, each of another database."""
_MAX_NAME_BYTES: Final = 64
_MAX_USER_BYTES: Final = 1024
"""A longer name is shown as `?`. Cut short, it could be the name of another user."""
_TOO_LONG: Final = "?"


# ------------------------------- what may pass before the server has said yes to a login on this connection
#
# Until then nobody knows who is there, so nothing is planned for them that could cost much, and their
# messages are short. MongoDB answers a few commands without a login; all others get the error that it
# would give. Source: Authentication (driver specifications); MongoDB manual, "Self-Managed
# Authentication".

LOGIN_COMMANDS: Final = frozenset({b"saslStart", b"saslContinue"})

OPEN_COMMANDS: Final = (
    HELLO_COMMANDS
    | LOGIN_COMMANDS
    | frozenset(
        b"""authenticate logout getnonce ping buildInfo buildinfo connectionStatus whatsmyuri listCommands
        isdbgrid endSessions""".split()
    )
)
"""What every server answers without a login."""


class UsersUnknown(Exception):
    """A command came before the server has said who has logged in; it is asked, and the command waits."""


class LoginNeeded(Exception):
    """A command came before a login; the session answers as the server would."""

    def __init__(self, command: str) -> None:
        super().__init__("a command before a login")
        self.command = command
        """Its name, made printable."""


def is_yes(message: bytes, body: int) -> bool:
    """Whether a reply to `saslStart` or `saslContinue` ends a login with success. Raises BsonError."""
    return replies.is_ok(message, body) and _is_done(message, body)


def is_speculative_yes(message: bytes, hello: int) -> bool:
    """Whether a hello's reply carries the end of a login that began with the hello. Raises BsonError."""
    part = find_element(message, hello, b"speculativeAuthenticate")
    return part is not None and part.kind == kinds.OBJECT and _is_done(message, part.value)


def _is_done(message: bytes, document: int) -> bool:
    done = find_element(message, document, b"done")
    return done is not None and done.kind == kinds.BOOL and any(message[done.value : done.end])


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


class Holder(NamedTuple):
    """Whose certificate a client shows, as the configuration names it."""

    subject: str
    issuer: str = ""
    """Who has signed it; empty: any authority that is verified."""


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


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a client. All of it is safe for one line of a log."""

    users: tuple[str, ...] = ()
    """As `user@database`, as the server says; empty where nobody has logged in, or it does not say. In a name
    `%` and spaces are written `%25` and `%20`, and in that of a database `@` is `%40`: one user's name must
    not look like those of two, or like another's."""
    application: str = ""
    driver: str = ""
    """Its name and version."""


def described(message: bytes, hello: int) -> tuple[str, str]:
    """Application and driver as a handshake names them, screened; empty where it does not.

    Raises BsonError. Cost: O(bytes of the hello).
    """
    client = _document(message, hello, b"client")
    if client is None:
        return "", ""
    application, driver = (_document(message, client, name) for name in (b"application", b"driver"))
    named = "" if application is None else _text(message, application, b"name")
    if driver is None:
        return named, ""
    return named, f"{_text(message, driver, b'name')} {_text(message, driver, b'version')}".strip()


def users_in(message: bytes, body: int) -> tuple[str, ...]:
    """The users that a reply to `connectionStatus` names, `MAX_USERS` at most. Raises BsonError."""
    info = _document(message, body, b"authInfo")
    listed = None if info is None else find_element(message, info, b"authenticatedUsers")
    if listed is None or listed.kind != kinds.ARRAY:
        return ()
    found: list[str] = []
    for item in elements(message, listed.value):
        if item.kind == kinds.OBJECT and len(found) < MAX_USERS:
            name, database = (_user_part(message, item.value, part) for part in (b"user", b"db"))
            found.append(f"{name}@{database.replace('@', '%40')}")
    return tuple(found)


def _document(message: bytes, start: int, name: bytes) -> int | None:
    found = find_element(message, start, name)
    return found.value if found is not None and found.kind == kinds.OBJECT else None


def _user_part(message: bytes, start: int, name: bytes) -> str:
    found = _string(message, start, name)
    if len(found) > _MAX_USER_BYTES:
        return _TOO_LONG
    return _printable(found).replace("%", "%25").replace(" ", "%20")


def _text(message: bytes, start: int, name: bytes) -> str:
    """What the client says of itself. Beyond the limit a number could be cut, and so not be seen as one."""
    text = _printable(_string(message, start, name)[: 2 * _MAX_NAME_BYTES])
    return screened(text, _MAX_NAME_BYTES, has_names=False)


def _string(message: bytes, start: int, name: bytes) -> bytes:
    found = find_element(message, start, name)
    return b"" if found is None or found.kind != kinds.STRING else string_bytes(message, found)


def _printable(name: bytes) -> str:
    return "".join(char if char.isprintable() else "?" for char in name.decode("utf-8", "replace"))
