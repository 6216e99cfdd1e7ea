"""What can go wrong in the demo."""

from enum import Enum


class DemoReason(Enum):
    """Why the demo stopped."""

    DATABASE_MISSING = "database-missing"
    DATABASE_DIED = "database-died"
    DATABASE_SILENT = "database-silent"
    PROXY_DIED = "proxy-died"
    PROXY_SILENT = "proxy-silent"
    APPLICATION_FAILED = "application-failed"


class DemoError(Exception):
    """A part of the demo did not start or did not finish. The text names the part, `hint` the next step."""

    def __init__(self, reason: DemoReason, text: str, hint: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.hint = hint
