"""What can go wrong with the processes of a test bed."""

from enum import Enum


class TestbedReason(Enum):
    """Why a part is missing."""

    __test__ = False  # no test, whatever pytest takes the name for

    PROGRAM_MISSING = "program-missing"
    DIED = "died"
    SILENT = "silent"
    APPLICATION_FAILED = "application-failed"


class TestbedError(Exception):
    """A part of the demo did not start or did not finish. The text names the part, `hint` the next step."""

    __test__ = False

    def __init__(self, reason: TestbedReason, text: str, hint: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.hint = hint
