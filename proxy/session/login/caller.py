"""Who is at the other end of a session: what the server says of the login, and the client of itself.

Only the server's word counts for the users; it is asked after each login (`sides.ask_users`). Nothing is
read from what a client sends to log in: that may hold a password, and a client could begin one login and end
another. Application and driver are the client's own claim, from the `client` document of its handshake.
Source: Handshake (driver specifications); MongoDB manual, `connectionStatus`.

A client also says something of a command in its `comment`: for what purpose it reads, and why it breaks the
glass. An application that says nothing says so to nobody's harm; where a role asks for a purpose, its command
is refused. A comment is the client's own claim. The server is sent it as it is, and may log it.

    comment: {sealwire: {purpose: "direct-care", breakGlass: "patient unconscious"}}
    comment: "purpose=direct-care; breakGlass=patient unconscious"

Source: MongoDB manual, `comment` of `find`, `aggregate`, `update` and the others: any BSON type.
"""

from dataclasses import dataclass
from typing import Final

from sealwire.policies.roles.role import Roles
from sealwire.policies.roles.screening import screened
from sealwire.proxy.session import replies
from sealwire.proxy.session.login.handshake import HELLO_COMMANDS
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, find_element, string_bytes

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
    return replies.is_ok(message, body) and is_done(message, body)


def is_speculative_yes(message: bytes, hello: int) -> bool:
    """Whether a hello's reply carries the end of a login that began with the hello. Raises BsonError."""
    part = find_element(message, hello, b"speculativeAuthenticate")
    return part is not None and part.kind == kinds.OBJECT and is_done(message, part.value)


def is_done(message: bytes, document: int) -> bool:
    """Whether what answers a step of a login says that it was the last. Raises BsonError."""
    done = find_element(message, document, b"done")
    return done is not None and done.kind == kinds.BOOL and any(message[done.value : done.end])


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
    return _string_of(message, find_element(message, start, name))


def _string_of(message: bytes, element: Element | None) -> bytes:
    return b"" if element is None or element.kind != kinds.STRING else string_bytes(message, element)


def _printable(name: bytes) -> str:
    return "".join(char if char.isprintable() else "?" for char in name.decode("utf-8", "replace"))


# --------------------------------------------------------------------- what it says of a command in a comment

MAX_PURPOSE_CHARACTERS: Final = 64
MAX_REASON_CHARACTERS: Final = 256
_MAX_SHOWN_PURPOSE: Final = 32
_MAX_SHOWN_REASON: Final = 128

_PURPOSE: Final = b"purpose"
_GLASS: Final = b"breakGlass"


@dataclass(frozen=True, slots=True)
class Stated:
    """Both are printable, and the client's own words: for a log, `on_record` screens them."""

    purpose: str = ""
    glass: str = ""
    """The reason for reading what the caller's own role does not show; empty: the glass stays whole."""


NOTHING_STATED: Final = Stated()


def on_record(stated: Stated, roles: Roles | None) -> Stated:
    """What a log says of it: a purpose that a role lists as it is; other text screened and cut shorter."""
    if stated is NOTHING_STATED:
        return stated
    purpose = stated.purpose
    if roles is None or not any(purpose in each.purposes for each in roles.roles):
        purpose = screened(purpose, _MAX_SHOWN_PURPOSE)
    return Stated(purpose, screened(stated.glass, _MAX_SHOWN_REASON))


def stated_in(message: bytes, body: int) -> Stated:
    """What the comment of the command at `body` says. Raises BsonError. Cost: O(elements of the body)."""
    return stated_by(message, find_element(message, body, b"comment"))


def stated_by(message: bytes, comment: Element | None) -> Stated:
    """What the comment of a command says. Raises BsonError. Cost: O(its elements)."""
    if comment is None:
        return NOTHING_STATED
    if comment.kind == kinds.STRING:
        return _of_text(string_bytes(message, comment))
    if comment.kind != kinds.OBJECT:
        return NOTHING_STATED
    ours = find_element(message, comment.value, b"sealwire")
    if ours is None or ours.kind != kinds.OBJECT:
        return NOTHING_STATED
    parts = {part.name: part for part in elements(message, ours.value)}
    return _stated(*(_string_of(message, parts.get(name)) for name in (_PURPOSE, _GLASS)))


def _of_text(text: bytes) -> Stated:
    found: dict[bytes, bytes] = {}
    for part in text[: 4 * (MAX_PURPOSE_CHARACTERS + MAX_REASON_CHARACTERS)].split(b";"):
        name, _, value = part.partition(b"=")
        found[name.strip()] = value.strip()
    return _stated(found.get(_PURPOSE, b""), found.get(_GLASS, b""))


def _stated(purpose: bytes, glass: bytes) -> Stated:
    if not purpose and not glass:
        return NOTHING_STATED
    return Stated(_cut(purpose, MAX_PURPOSE_CHARACTERS), _cut(glass, MAX_REASON_CHARACTERS))


def _cut(text: bytes, most: int) -> str:
    return _printable(text[: 4 * most])[:most]
