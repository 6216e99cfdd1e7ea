"""The rules: what each counts, by whom, from how many on and in which time, unless the file says else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

BUCKET_S: Final = 60
"""Windows are counted in whole minutes."""


class RuleName(Enum):
    """Stable names; alerts and the file use the same words."""

    BULK_READ = "bulk-read"
    BULK_LOOKUP = "bulk-lookup"
    BULK_DOCUMENTS = "bulk-documents"
    SUBJECTS = "subjects"
    REFUSED = "refused"
    FAILED_LOGINS = "failed-logins"
    UNDECRYPTABLE = "undecryptable"
    UNKNOWN_KEYS = "unknown-keys"
    PLAINTEXT = "plaintext"
    NEW_ADDRESS = "new-address"
    OUT_OF_HOURS = "out-of-hours"
    BREAK_GLASS = "break-glass"
    AUDIT_GAP = "audit-gap"
    CLOCK = "clock"
    LIMITS = "limits"
    DEADLINE = "deadline"


class Urgency(Enum):
    """How soon somebody should look at an alert."""

    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class OwnPast:
    """A threshold that each user's past sets: `factor` times the usual, within bounds."""

    factor: float
    at_most: int
    """From here on it is an alert whatever is usual: who reads a little more each day gets no further."""


@dataclass(frozen=True, slots=True)
class Hours:
    """When work is done: from one time of day to another, on some days. All else is out of hours."""

    begin: time
    end: time
    days: frozenset[int]
    """0 is Monday."""
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class DetectionRule:
    """One rule as it counts."""

    name: RuleName
    at_least: int
    """From how many on it is an alert."""
    window_s: int
    cool_down_s: int
    """For so long after an alert of the same rule about the same ones another is a part of it."""
    urgency: Urgency
    classes: Mapping[str, int] = field(default_factory=dict)
    """Thresholds of classes that have their own."""
    users: Mapping[str, int] = field(default_factory=dict)
    """Thresholds of users that have their own, whatever the class and their past."""
    past: OwnPast | None = None
    hours: Hours | None = None
    learn_s: int = 0
    """For so long after a user was first seen his addresses are learnt."""

    def threshold(self, class_name: str | None, user: str | None) -> int:
        """From how many on it is an alert, for values of this class and this user."""
        return self.users.get(user or "", self.classes.get(class_name or "", self.at_least))


def _rule(name: RuleName, at_least: int, minutes: int, urgency: Urgency, **more: object) -> DetectionRule:
    window = minutes * BUCKET_S
    return DetectionRule(name, at_least, window, max(window, 3600), urgency, **more)  # type: ignore[arg-type]


_NOTICE, _WARNING, _CRITICAL = Urgency.NOTICE, Urgency.WARNING, Urgency.CRITICAL
DAY_S: Final = 86_400

DEFAULTS: Final[Mapping[RuleName, DetectionRule]] = {
    rule.name: rule
    for rule in (
        _rule(RuleName.BULK_READ, 1000, 10, _CRITICAL),
        _rule(RuleName.BULK_LOOKUP, 2000, 10, _WARNING),
        _rule(RuleName.BULK_DOCUMENTS, 5000, 10, _WARNING),
        _rule(RuleName.SUBJECTS, 50, 60, _CRITICAL, past=OwnPast(3.0, 1000)),
        _rule(RuleName.REFUSED, 20, 10, _WARNING),
        _rule(RuleName.FAILED_LOGINS, 10, 10, _WARNING),
        _rule(RuleName.UNDECRYPTABLE, 5, 10, _CRITICAL),
        _rule(RuleName.UNKNOWN_KEYS, 1, 60, _CRITICAL),
        _rule(RuleName.PLAINTEXT, 1, 60, _WARNING),
        _rule(RuleName.NEW_ADDRESS, 1, 60, _NOTICE, learn_s=7 * DAY_S),
        _rule(RuleName.OUT_OF_HOURS, 50, 60, _WARNING),
        _rule(RuleName.BREAK_GLASS, 1, 1, _WARNING),
        _rule(RuleName.AUDIT_GAP, 1, 1, _CRITICAL),
        _rule(RuleName.CLOCK, 1, 1, _WARNING),
        _rule(RuleName.LIMITS, 1, 1, _WARNING),
        _rule(RuleName.DEADLINE, 1, 1, _CRITICAL),
    )
}

ALWAYS_ON: Final = frozenset({RuleName.AUDIT_GAP, RuleName.CLOCK, RuleName.LIMITS, RuleName.DEADLINE})
"""What tells that the watch itself cannot be relied on, or that a time limit passes."""

NEEDS_HOURS: Final = RuleName.OUT_OF_HOURS
"""Off where the file has no hours for it."""

MEANINGS: Final[Mapping[RuleName, str]] = {
    RuleName.BULK_READ: "values of a class that a user was shown",
    RuleName.BULK_LOOKUP: "values of a class that a user's filters compared with",
    RuleName.BULK_DOCUMENTS: "documents that a user was shown",
    RuleName.SUBJECTS: "people whose documents a user was shown",
    RuleName.REFUSED: "commands of a user that were refused",
    RuleName.FAILED_LOGINS: "logins from an address that failed",
    RuleName.UNDECRYPTABLE: "replies that could not be decrypted",
    RuleName.UNKNOWN_KEYS: "replies with values under a key that Sealwire does not have",
    RuleName.PLAINTEXT: "plaintext in a covered path",
    RuleName.NEW_ADDRESS: "a user comes from an address that he never came from",
    RuleName.OUT_OF_HOURS: "values that a user was shown out of hours",
    RuleName.BREAK_GLASS: "a user broke the glass",
    RuleName.AUDIT_GAP: "the audit log is not as it was written",
    RuleName.CLOCK: "the time in the audit log jumped",
    RuleName.LIMITS: "more is to be counted than can be; the oldest was dropped",
    RuleName.DEADLINE: "the 72 hours of an incident pass",
}
