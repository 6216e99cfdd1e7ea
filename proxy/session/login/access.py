"""What may pass before the server has said yes to a login on this connection.

Until then nobody knows who is there, so nothing is planned for them that could cost much, and their messages
are short. MongoDB answers a few commands without a login; all others get the error that it would give.
Source: Authentication (driver specifications); MongoDB manual, "Self-Managed Authentication".
"""

from typing import Final

from sealwire.proxy.session import replies
from sealwire.proxy.session.login.handshake import HELLO_COMMANDS
from sealwire.wire import kinds
from sealwire.wire.raw_bson import find_element

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
