"""Incidents: their states, which may follow which, and the 72 hours. Source: UK GDPR articles 33 and 34.

A controller tells the supervisory authority of a personal data breach within 72 hours after becoming aware of
it, unless it is unlikely to be a risk to people. What is told later is told with the reasons for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from sealwire.sidecars.detection.errors import DetectionReason, WrongStep

LIMIT: Final = timedelta(hours=72)
SOON: Final = timedelta(hours=24)
"""With less than this left an alert says so."""


class IncidentState(Enum):
    """How far an incident is."""

    OPEN = "open"
    ASSESSED = "assessed"
    NOTIFIED = "notified"
    NOT_NOTIFIABLE = "not-notifiable"
    CLOSED = "closed"


class Risk(Enum):
    """What the breach means to people."""

    UNLIKELY = "unlikely"
    LIKELY = "likely"
    HIGH = "high"


class DeadlineStage(Enum):
    """Where an incident is in its 72 hours."""

    RUNNING = "running"
    SOON = "soon"
    OVERDUE = "overdue"
    STOPPED = "stopped"


_S = IncidentState
TRANSITIONS: Final[Mapping[IncidentState, frozenset[IncidentState]]] = {
    _S.OPEN: frozenset({_S.ASSESSED}),
    # what is known changes: it may be assessed again, also after it was not to be notified
    _S.ASSESSED: frozenset({_S.ASSESSED, _S.NOTIFIED, _S.NOT_NOTIFIABLE}),
    _S.NOT_NOTIFIABLE: frozenset({_S.ASSESSED, _S.CLOSED}),
    _S.NOTIFIED: frozenset({_S.CLOSED}),
    _S.CLOSED: frozenset(),
}
_RUNNING: Final = frozenset({_S.OPEN, _S.ASSESSED})


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident."""

    number: int
    title: str
    state: IncidentState
    aware: datetime
    """Since when one is aware of it: the 72 hours run from here."""
    opened: datetime
    acknowledged: str | None
    """Who has taken it on, and when."""
    risk: Risk | None
    outcome: str | None

    @property
    def id(self) -> str:
        """Its name for people."""
        return f"i{self.number}"

    @property
    def deadline(self) -> datetime:
        """Until when the authority is to be told."""
        return self.aware + LIMIT

    def left(self, now: datetime) -> timedelta:
        """How much of the 72 hours is left; negative once they are over."""
        return self.deadline - now

    def stage(self, now: datetime) -> DeadlineStage:
        """Where it is in its 72 hours."""
        if self.state not in _RUNNING:
            return DeadlineStage.STOPPED
        left = self.left(now)
        if left <= timedelta():
            return DeadlineStage.OVERDUE
        return DeadlineStage.SOON if left < SOON else DeadlineStage.RUNNING


def require_step(
    incident: Incident, to: IncidentState, now: datetime, *, risk: Risk | None = None, text: str = ""
) -> None:
    """Raises WrongStep where an incident cannot go to a state, or something is missing for that."""
    if to not in TRANSITIONS[incident.state]:
        nexts = ", ".join(sorted(each.value for each in TRANSITIONS[incident.state])) or "nothing"
        raise _wrong(
            f"{incident.id} is {incident.state.value}, which {to.value} cannot follow", f"next: {nexts}"
        )
    if to is IncidentState.ASSESSED and risk is None:
        raise _wrong("the risk to people is missing", "give --risk unlikely, likely or high")
    if to is IncidentState.NOT_NOTIFIABLE and incident.risk is not Risk.UNLIKELY:
        raise _wrong(
            f"{incident.id} was assessed as a risk to people, so the authority is to be told",
            "notify it, or assess it anew with the reasons",
        )
    if to is not IncidentState.ASSESSED and not text.strip():
        is_late = to is IncidentState.NOTIFIED and incident.left(now) < timedelta()
        what = "the reasons why it comes after 72 hours" if is_late else "the text"
        raise _wrong(
            f"{what} is missing" if not is_late else f"{what} are missing", "give --note, or --outcome"
        )


def _wrong(problem: str, hint: str) -> WrongStep:
    return WrongStep(DetectionReason.TRANSITION, problem, hint)
