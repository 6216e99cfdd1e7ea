"""Who is at the other end of a session: what the server says of the login, and the client of itself.

Only the server's word counts for the users; it is asked after each login (`sides.ask_users`). Nothing is
read from what a client sends to log in: that may hold a password, and a client could begin one login and end
another. Application and driver are the client's own claim, from the `client` document of its handshake.
Source: Handshake (driver specifications); MongoDB manual, `connectionStatus`.
"""

from dataclasses import dataclass
from typing import Final

from sealwire.policies.roles.screening import screened
from sealwire.wire import kinds
from sealwire.wire.raw_bson import elements, find_element, string_bytes

MAX_USERS: Final = 8
"""Servers before MongoDB 6.0 let one connection log in as several users, each of another database."""
_MAX_NAME_BYTES: Final = 64
_MAX_USER_BYTES: Final = 1024
"""A longer name is shown as `?`. Cut short, it could be the name of another user."""
_TOO_LONG: Final = "?"


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
