"""What stops `sealwire policy enforce` before it looks at any collection."""

from enum import Enum


class EnforceReason(Enum):
    """Stable names, for tests and scripts."""

    URI = "uri"
    UNREACHABLE = "unreachable"
    DENIED = "denied"
    SEALWIRE = "sealwire"


class EnforceError(Exception):
    """`hint` is the next step. No text holds any part of the connection string: it may be the password."""

    def __init__(self, reason: EnforceReason, message: str, hint: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint


class UnusableUri(EnforceError):
    """The connection string cannot be read, or leads to Sealwire instead of the server itself."""


class ServerUnreachable(EnforceError):
    """The server that the connection string names does not answer."""


class ServerDenied(EnforceError):
    """The server refuses the login, or a command that is needed to look at its collections."""
