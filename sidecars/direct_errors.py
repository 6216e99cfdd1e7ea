"""What keeps a tool from working on the server itself."""

from enum import Enum


class DirectReason(Enum):
    """Stable names, for tests and scripts."""

    URI = "uri"
    UNREACHABLE = "unreachable"
    DENIED = "denied"
    SEALWIRE = "sealwire"


class DirectError(Exception):
    """`hint` is the next step. No text holds any part of the connection string: it may be the password."""

    def __init__(self, reason: DirectReason, message: str, hint: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint


class UnusableUri(DirectError):
    """The connection string cannot be read, or leads to Sealwire instead of the server itself."""


class ServerUnreachable(DirectError):
    """The server that the connection string names does not answer."""


class ServerDenied(DirectError):
    """The server refuses the login, or a command that is needed to look at its collections."""
