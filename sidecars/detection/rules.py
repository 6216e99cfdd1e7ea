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
    SUBJECTS_DAY = "subjects-day"
    SUBJECTS_BY_ADDRESS = "subjects-by-address"
    OPENED = "opened"
    OPENED_DAY = "opened-day"
    GATHERED = "gathered"
    SHARE = "share"
    BULK_WRITE = "bulk-write"
    BULK_WRITE_DAY = "bulk-write-day"
    BULK_WRITE_BY_ADDRESS = "bulk-write-by-address"
    BULK_DELETE = "bulk-delete"
    BULK_DELETE_DAY = "bulk-delete-day"
    BULK_DELETE_BY_ADDRESS = "bulk-delete-by-address"
    DESTRUCTION = "destruction"
    ADMINISTRATION = "administration"
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

    LEARNING = "learning"
    """Nobody is told: what is usual is not known yet. No rule has it of itself."""
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
    """Thresholds of users that have their own, whatever the class and their past. What these users do has no
    part in sums by address."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """How many documents collections have, as the operator says. Then `at_least` is a percentage."""
    past: OwnPast | None = None
    hours: Hours | None = None
    learn_s: int = 0
    """For so long after a user was first seen his addresses are learnt. A rule with a `past` raises LEARNING
    alerts for so long after the first line."""

    def threshold(self, class_name: str | None, user: str | None, namespace: str | None = None) -> int:
        """From how many on it is an alert, for values of this class, this user and this collection."""
        at_least = self.at_least
        size = self.sizes.get(namespace or "")
        if size is not None:
            at_least = max(1, size * at_least // 100)
        return self.users.get(user or "", self.classes.get(class_name or "", at_least))


def _rule(name: RuleName, at_least: int, minutes: int, urgency: Urgency, **more: object) -> DetectionRule:
    window = minutes * BUCKET_S
    return DetectionRule(name, at_least, window, max(window, 3600), urgency, **more)  # type: ignore[arg-type]


_NOTICE, _WARNING, _CRITICAL = Urgency.NOTICE, Urgency.WARNING, Urgency.CRITICAL
DAY_S: Final = 86_400
_DAY: Final = DAY_S // 60
_LEARN_S: Final = 7 * DAY_S

DEFAULTS: Final[Mapping[RuleName, DetectionRule]] = {
    rule.name: rule
    for rule in (
        _rule(RuleName.BULK_READ, 1000, 10, _CRITICAL),
        _rule(RuleName.BULK_LOOKUP, 2000, 10, _WARNING),
        _rule(RuleName.BULK_DOCUMENTS, 5000, 10, _WARNING),
        _rule(RuleName.SUBJECTS, 80, 60, _CRITICAL, past=OwnPast(3.0, 1000), learn_s=_LEARN_S),
        _rule(RuleName.SUBJECTS_DAY, 250, _DAY, _CRITICAL, past=OwnPast(3.0, 3000), learn_s=_LEARN_S),
        _rule(RuleName.SUBJECTS_BY_ADDRESS, 300, 60, _WARNING, past=OwnPast(3.0, 5000), learn_s=_LEARN_S),
        _rule(RuleName.OPENED, 200, 60, _CRITICAL, past=OwnPast(3.0, 2000), learn_s=_LEARN_S),
        _rule(RuleName.OPENED_DAY, 600, _DAY, _CRITICAL, past=OwnPast(3.0, 6000), learn_s=_LEARN_S),
        _rule(RuleName.GATHERED, 500, 60, _CRITICAL, past=OwnPast(3.0, 2000), learn_s=_LEARN_S),
        _rule(RuleName.SHARE, 20, _DAY, _CRITICAL),
        _rule(RuleName.BULK_WRITE, 2000, 60, _WARNING),
        _rule(RuleName.BULK_WRITE_DAY, 5000, _DAY, _WARNING),
        _rule(RuleName.BULK_WRITE_BY_ADDRESS, 5000, 60, _WARNING),
        _rule(RuleName.BULK_DELETE, 200, 60, _CRITICAL),
        _rule(RuleName.BULK_DELETE_DAY, 500, _DAY, _CRITICAL),
        _rule(RuleName.BULK_DELETE_BY_ADDRESS, 500, 60, _CRITICAL),
        _rule(RuleName.DESTRUCTION, 1, 60, _WARNING),
        _rule(RuleName.ADMINISTRATION, 1, 60, _NOTICE),
        _rule(RuleName.REFUSED, 20, 10, _WARNING),
        _rule(RuleName.FAILED_LOGINS, 10, 10, _WARNING),
        _rule(RuleName.UNDECRYPTABLE, 5, 10, _CRITICAL),
        _rule(RuleName.UNKNOWN_KEYS, 1, 60, _CRITICAL),
        _rule(RuleName.PLAINTEXT, 1, 60, _WARNING),
        _rule(RuleName.NEW_ADDRESS, 1, 60, _NOTICE, learn_s=14 * DAY_S),
        _rule(RuleName.OUT_OF_HOURS, 200, 60, _WARNING),
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

NEEDS_SIZES: Final = RuleName.SHARE
"""Off where the file does not say how many documents a collection has: no line of the log says that."""

BY_ADDRESS: Final = frozenset(
    {RuleName.SUBJECTS_BY_ADDRESS, RuleName.BULK_WRITE_BY_ADDRESS, RuleName.BULK_DELETE_BY_ADDRESS}
)

COUNTS_PEOPLE: Final = frozenset(
    {RuleName.SUBJECTS, RuleName.SUBJECTS_DAY, RuleName.SUBJECTS_BY_ADDRESS, RuleName.SHARE}
)
"""Rules for which a person counts once in a window."""

MEANINGS: Final[Mapping[RuleName, str]] = {
    RuleName.BULK_READ: "values of a class that a user was shown",
    RuleName.BULK_LOOKUP: "values of a class that a user's filters compared with",
    RuleName.BULK_DOCUMENTS: "documents that a user was shown",
    RuleName.SUBJECTS: "people whose documents a user was shown",
    RuleName.SUBJECTS_DAY: "people whose documents a user was shown in a day",
    RuleName.SUBJECTS_BY_ADDRESS: "people whose documents were shown to one address",
    RuleName.OPENED: "distinct values of a class that grouped or joined documents showed a user",
    RuleName.OPENED_DAY: "distinct values of a class that grouped or joined documents showed a user in a day",
    RuleName.GATHERED: "elements of arrays in grouped or joined documents that a user was shown",
    RuleName.SHARE: "a large share of a collection that a user was shown in a day",
    RuleName.BULK_WRITE: "documents that a user stored or changed",
    RuleName.BULK_WRITE_DAY: "documents that a user stored or changed in a day",
    RuleName.BULK_WRITE_BY_ADDRESS: "documents that were stored or changed from one address",
    RuleName.BULK_DELETE: "documents that a user deleted",
    RuleName.BULK_DELETE_DAY: "documents that a user deleted in a day",
    RuleName.BULK_DELETE_BY_ADDRESS: "documents that were deleted from one address",
    RuleName.DESTRUCTION: "a user dropped or renamed a collection or a database",
    RuleName.ADMINISTRATION: "a user changed users, roles or settings of the server",
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
