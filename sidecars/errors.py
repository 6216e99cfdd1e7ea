"""The shape of every sidecar's errors, and what keeps a tool from working on the server itself."""

from enum import Enum
from typing import Generic, TypeVar

R = TypeVar("R", bound=Enum)


class SidecarError(Exception, Generic[R]):
    """`reason` has a stable name; `str()` is one line; `hint` is the next step, or empty. Shows no secret."""

    def __init__(self, reason: R, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint


class DirectReason(Enum):
    """Stable names, for tests and scripts."""

    URI = "uri"
    UNREACHABLE = "unreachable"
    DENIED = "denied"
    SEALWIRE = "sealwire"
    NOT_SEALWIRE = "not-sealwire"


class DirectError(SidecarError[DirectReason]):
    """No text holds any part of the connection string: it may be the password."""


class UnusableUri(DirectError):
    """The connection string cannot be read, or leads to Sealwire instead of the server, or past it."""


class ServerUnreachable(DirectError):
    """The server that the connection string names does not answer."""


class ServerDenied(DirectError):
    """The server refuses the login, or a command that is needed to look at its collections."""


class CoverageReason(Enum):
    """Stable names, for tests and scripts."""

    EXTRA = "extra"


class LibraryMissing(SidecarError[CoverageReason]):
    """What judges identifiers is an extra, and not installed."""
