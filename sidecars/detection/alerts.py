"""Alerts: what is kept of one, how those of one cause are made one, and who still has to be told."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, final

from sealwire.sidecars.detection.observations import About
from sealwire.sidecars.detection.rules import BUCKET_S, DetectionRule, RuleName, Urgency
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import DetectionReason, Missing, Unusable

MOST_NAMED: Final = 100
"""Alerts of one rule in an hour; what comes after is one alert: nobody can bury one among thousands."""
WORSE: Final = 10
"""What has become so many times as much is told of again, within the cool-down too."""
_HOUR: Final = 3600 // BUCKET_S
OTHERS: Final[About] = (("others", "too many to name each"),)
_COLUMNS: Final = (
    "number, rule, about, urgency, first, last, amount, threshold, times, line, detail, raised, "
    "acknowledged, incident"
)


@dataclass(frozen=True, slots=True)
class Cause:
    """What made an alert."""

    about: About
    amount: int
    threshold: int
    first: str
    """The time of the first line of the minute in which it came to that, as the log has it."""
    last: str
    line: int
    """The number of the last line."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. No field has a value of a document."""

    number: int
    rule: RuleName
    about: About
    urgency: Urgency
    first: str
    last: str
    amount: int
    threshold: int
    times: int
    """How often it came to that."""
    line: int
    detail: str
    raised: str
    """When the watch has seen it."""
    acknowledged: str | None
    """Who has seen it, and when."""
    incident: int | None

    @property
    def id(self) -> str:
        """Its name for people."""
        return f"a{self.number}"

    def document(self) -> dict[str, Any]:
        """For programs, and for who is told."""
        return {
            "id": self.id,
            "rule": self.rule.value,
            "meaning": self.rule.meaning,
            "urgency": self.urgency.value,
            "about": dict(self.about),
            "amount": self.amount,
            "threshold": self.threshold,
            "first": self.first,
            "last": self.last,
            "times": self.times,
            "line": self.line,
            "detail": self.detail,
            "raised": self.raised,
            "acknowledged": self.acknowledged,
            "incident": None if self.incident is None else f"i{self.incident}",
        }


@final
class Alerts:
    """The alerts of a state file. Who raises one holds a transaction."""

    def __init__(self, state: StateFile, channels: Sequence[str] = ()) -> None:
        """`channels`: whom a new alert is told to."""
        self._state, self._channels = state, tuple(channels)

    def raise_alert(self, rule: DetectionRule, cause: Cause, bucket: int, now: datetime) -> int | None:
        """Keep an alert, and that it has to be told; its number, or None where it is a part of another."""
        about = about_text(cause.about)
        if self._fold(rule, about, cause, bucket):
            return None
        select = "SELECT count(*) FROM alerts WHERE rule = ? AND begun > ?"
        if self._state.rows(select, rule.name.value, bucket - _HOUR)[0][0] >= MOST_NAMED:
            about = about_text(OTHERS)
            if self._fold(rule, about, cause, bucket):
                return None
        number = self._state.run(
            """INSERT INTO alerts (rule, about, urgency, begun, first, last, amount, threshold, times, line,
                detail, raised, told) VALUES (?,?,?,?,?,?,?,?,1,?,?,?,?)""",
            *(rule.name.value, about, rule.urgency.value, bucket, cause.first, cause.last, cause.amount),
            *(cause.threshold, cause.line, cause.detail),
            *(now.isoformat(timespec="milliseconds"), cause.amount),
        )
        channels = () if rule.urgency is Urgency.LEARNING else self._channels
        for channel in channels:
            self._state.run("INSERT INTO deliveries VALUES (?, ?, 0, 'waiting')", number, channel)
        return number

    def _fold(self, rule: DetectionRule, about: str, cause: Cause, bucket: int) -> bool:
        """Make it a part of an alert that was raised not long ago."""
        found = self._state.rows(
            # an alert that nobody was told of takes in no other kind
            """SELECT number, told FROM alerts WHERE rule = ? AND about = ? AND begun > ?
                AND (urgency != 'learning' OR ? = 'learning') ORDER BY number DESC LIMIT 1""",
            *(rule.name.value, about, bucket - rule.cool_down_s // BUCKET_S, rule.urgency.value),
        )
        if not found or cause.amount >= found[0][1] * WORSE:
            return False
        self._state.run(
            """UPDATE alerts SET last = ?, amount = max(amount, ?), times = times + 1, line = ?
                WHERE number = ?""",
            *(cause.last, cause.amount, cause.line, found[0][0]),
        )
        return True

    def one(self, number: int) -> Alert:
        """Raises Missing."""
        found = self._select("WHERE number = ?", number)
        if not found:
            raise Missing(
                DetectionReason.MISSING, f"there is no alert a{number}", "sealwire incident alerts lists them"
            )
        return found[0]

    def latest(self, most: int, *, only_open: bool) -> list[Alert]:
        """The last ones, newest first; `only_open`: those that nobody has acknowledged."""
        where = "WHERE acknowledged IS NULL" if only_open else ""
        return self._select(f"{where} ORDER BY number DESC LIMIT ?", most)

    def of_incident(self, incident: int) -> list[Alert]:
        """Those that belong to an incident, oldest first."""
        return self._select("WHERE incident = ? ORDER BY number", incident)

    def acknowledge(self, number: int, by: str) -> None:
        """Somebody has seen it. Raises Missing."""
        self.one(number)
        self._state.run(
            "UPDATE alerts SET acknowledged = coalesce(acknowledged, ?) WHERE number = ?", by, number
        )

    def assign(self, number: int, incident: int) -> None:
        """It belongs to an incident.

        Raises Missing; Unusable where it is another one's already, which would lose what it rests on.
        """
        found = self.one(number).incident
        if found is not None and found != incident:
            raise Unusable(
                DetectionReason.TRANSITION,
                f"a{number} belongs to i{found} already",
                f"go on with i{found}, or leave that alert out",
            )
        self._state.run("UPDATE alerts SET incident = ? WHERE number = ?", incident, number)

    def untold(self) -> dict[str, dict[str, int]]:
        """For each channel how many alerts wait to be told, and of how many that was given up."""
        found: dict[str, dict[str, int]] = {}
        select = "SELECT target, outcome, count(*) FROM deliveries WHERE outcome != 'done' GROUP BY 1, 2"
        for channel, outcome, count in self._state.rows(select):
            found.setdefault(channel, {})[outcome] = count
        return found

    def _select(self, where: str, *values: object) -> list[Alert]:
        return [_alert(row) for row in self._state.rows(f"SELECT {_COLUMNS} FROM alerts {where}", *values)]  # noqa: S608 - constants


@lru_cache(1000)
def about_text(about: About) -> str:
    """As it stands in the state file."""
    return json.dumps(dict(about), sort_keys=True)


def _alert(row: Sequence[Any]) -> Alert:
    number, rule, about, urgency, *rest = row
    pairs: About = tuple(sorted(json.loads(about).items()))
    return Alert(number, RuleName(rule), pairs, Urgency(urgency), *rest)
