"""What the audit log has of an incident: who, what, when and whose, counted while the log is verified.

The lines are counted as they are verified, in one pass: what is reported is what was looked at.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, final

from sealwire.audit.line import Line
from sealwire.audit.signing import Checkpoint
from sealwire.audit.verification import LogReport, verify
from sealwire.sidecars.detection import observations
from sealwire.sidecars.detection.alerts import Alert
from sealwire.sidecars.errors import DetectionReason, Unsound

MAX_SUBJECTS: Final = 1_000_000
"""Pseudonyms that are told apart; 100 bytes of memory each."""
MAX_NAMES: Final = 10_000
"""Names and hours of one kind that are counted apart."""
_MARGIN: Final = timedelta(hours=1)
_EVENTS: Final = frozenset(
    {
        "command",
        "refused",
        "login",
        "login-failed",
        "undecryptable",
        "plaintext",
        "break-glass",
        "command-begun",
    }
)
_OTHERS: Final = "others"
_OF_COMMAND: Final = ("time", "client", "connection", "worker", "command")
"""What all lines of a command have alike."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which lines belong to an incident. With neither users nor addresses, all of the time."""

    since: datetime
    until: datetime
    users: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()

    def has(self, fields: Mapping[str, object]) -> bool:
        """Whether a line belongs to it; one without a readable time does, for nobody can say when it was."""
        moment = observations.moment_of(fields.get("time"))
        if moment is not None and not self.since <= moment <= self.until:
            return False
        if not self.users and not self.addresses:
            return True
        return observations.who(fields) in self.users or observations.address_of(fields) in self.addresses

    def document(self) -> dict[str, object]:
        """For programs."""
        return {
            "since": self.since.isoformat(timespec="seconds"),
            "until": self.until.isoformat(timespec="seconds"),
            "users": sorted(self.users),
            "addresses": sorted(self.addresses),
        }


def scope_of(alerts: Sequence[Alert], aware: datetime, now: datetime) -> Scope:
    """What the alerts of an incident are about: their users and addresses, with an hour before and after.

    Without alerts: the day before one became aware of it.
    """
    times = [observations.moment_of(text) for alert in alerts for text in (alert.first, alert.last)]
    moments = [each for each in times if each is not None]
    if not moments:
        return Scope(aware - timedelta(days=1), now)
    named = [dict(alert.about) for alert in alerts]
    return Scope(
        min(moments) - _MARGIN,
        max(moments) + _MARGIN,
        frozenset(each["user"] for each in named if each.get("user")),
        frozenset(each["address"] for each in named if each.get("address")),
    )


@final
class FurtherLines:
    """Which lines there are of commands that have several. A line may be there twice.

    Others follow a line that would be too long with all persons whom its command is about. One is missing
    where the ring was full: nobody can say then whom it named.
    """

    __slots__ = ("_found", "_wanted")

    def __init__(self) -> None:
        self._wanted: dict[tuple[str, ...], int] = {}
        self._found: set[tuple[tuple[str, ...], int]] = set()

    def note(self, line: Mapping[str, object]) -> None:
        """Note one line: `parts` of the first says how many there are, `part` which of them another is."""
        parts, part = observations.number_of(line, "parts"), observations.number_of(line, "part")
        if parts or part:
            key = tuple(str(line.get(name)) for name in _OF_COMMAND)
            self._wanted[key] = max(parts, part, self._wanted.get(key, 0))
            self._found.add((key, part or 1))

    @property
    def missing(self) -> int:
        """How many lines there should be besides."""
        # none is found that is not wanted; a log that was meddled with may name any number
        return sum(self._wanted.values()) - len(self._found)


@dataclass(slots=True)
class Collected:
    """What was counted."""

    lines: int = 0
    documents: int = 0
    unknown: int = 0
    """Documents of which nobody can tell whose they are."""
    unnamed: int = 0
    """Writes that name nobody: statements, and documents of inserts."""
    first: str = ""
    last: str = ""
    last_line: int = -1
    subjects: set[str] = field(default_factory=set)
    is_more: bool = False
    """Whether there are more subjects than are told apart."""
    further: FurtherLines = field(default_factory=FurtherLines)
    """Which lines there are of commands that have several."""
    events: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    users: Counter[str] = field(default_factory=Counter)
    addresses: Counter[str] = field(default_factory=Counter)
    namespaces: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    glass: Counter[str] = field(default_factory=Counter)
    hours: dict[str, Counter[str]] = field(default_factory=dict)
    """By the hour: lines of each event, documents and values shown."""

    def add(self, line: Line) -> None:
        """Count one line."""
        fields = line.fields
        event, time = str(fields.get("event"))[: observations.MAX_TEXT], str(fields.get("time", ""))[:40]
        read, documents = observations.amounts(fields, "read"), observations.number_of(fields, "documents")
        self.lines += 1
        self.last_line = max(self.last_line, line.number)
        self.first, self.last = min(self.first or time, time), max(self.last, time)
        self.documents += documents
        self.unknown += observations.number_of(fields, "subjects_unknown")
        self.unnamed += observations.number_of(fields, "unnamed")
        for each in observations.subjects_of(fields):
            if len(self.subjects) < MAX_SUBJECTS or each in self.subjects:
                self.subjects.add(each)
            else:
                self.is_more = True
        self.further.note(fields)
        # a command about many persons has several lines
        _count(self.events, event, int("part" not in fields))
        for counter, found in ((self.read, read), (self.written, observations.amounts(fields, "written"))):
            for name, amount in found.items():
                _count(counter, name, amount)
        _count(self.users, observations.who(fields), 1)
        _count(self.addresses, observations.address_of(fields), 1)
        for counter, name in ((self.namespaces, "namespace"), (self.reasons, "reason")):
            _count(counter, str(fields.get(name, ""))[: observations.MAX_TEXT], 1)
        if observations.breaks_glass(fields):
            _count(self.glass, str(fields["glass"])[: observations.MAX_TEXT], 1)
        self._add_hour(time[:13], event, documents, sum(read.values()))

    def _add_hour(self, hour: str, event: str, documents: int, values: int) -> None:
        if hour not in self.hours and len(self.hours) >= MAX_NAMES:
            hour = _OTHERS
        counted = self.hours.setdefault(hour, Counter())
        counted.update({event: 1, "documents": documents, "values": values})


def _count(counter: Counter[str], name: str, amount: int) -> None:
    if name:
        counter[name if name in counter or len(counter) < MAX_NAMES else _OTHERS] += amount


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was collected, of which lines, and what proves them."""

    scope: Scope
    collected: Collected
    log: LogReport
    is_signed: bool
    """Whether checkpoints were looked at."""

    @property
    def unsigned(self) -> int:
        """How many of the log's lines up to the last that counts no checkpoint vouches for."""
        return max(0, self.collected.last_line + 1 - self.log.signed)

    @property
    def is_proved(self) -> bool:
        """Whether the log is whole and all of it that counts is signed."""
        return self.log.is_whole and self.is_signed and self.unsigned == 0


def collect(
    files: Sequence[Path],
    checkpoints: Mapping[int, Checkpoint] | None,
    log: LogReport,
    scope: Scope,
    progress: Callable[[int], None] = lambda _bytes: None,
) -> Evidence:
    """Read all lines of a log, verify them, and count those of the incident.

    `checkpoints`: None to look at the chain alone. Raises AuditFileProblem. Cost: 15 us a line.
    """
    collected = Collected()

    def seen(line: Line) -> None:
        if line.fields.get("event") in _EVENTS and scope.has(line.fields):
            collected.add(line)

    verify(files, checkpoints or {}, log, progress, archived=True, seen=seen)
    return Evidence(scope, collected, log, checkpoints is not None)


def require_whole(evidence: Evidence) -> None:
    """Raises Unsound where the log has a flaw."""
    log = evidence.log
    if not log.is_whole:
        raise Unsound(
            DetectionReason.NOT_WHOLE,
            f"the audit log is not whole: {len(log.flaws) + log.more} flaws, as {log.flaws[0].kind.value}",
            "sealwire audit verify says where; --unproved makes a report that says so at its head",
        )
