"""Errors of an audit log. Every error has a stable reason and a next step, and shows no line."""

from enum import Enum


class AuditReason(Enum):
    """Stable names of everything that this room refuses."""

    FILE_MISSING = "file-missing"
    FILE_FORBIDDEN = "file-forbidden"
    UNWRITABLE = "unwritable"
    FOREIGN = "foreign"
    CHANGED = "changed"
    NOT_SIGNED = "not-signed"
    KEY = "key"
    KEY_NAME = "key-name"


class AuditError(Exception):
    """Base of the room. `str()` is one line; `hint` is the next step, or empty."""

    def __init__(self, reason: AuditReason, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint


class AuditFileProblem(AuditError):
    """A file of the log is missing, or may not be read or written."""


class LogDamaged(AuditError):
    """A file of the log does not hold what Sealwire left there."""


class NotAudited(AuditError):
    """A line could not be kept: what it says is not in the log."""


class AuditKeyProblem(AuditError):
    """A key is malformed, or has a name that no key may have."""
