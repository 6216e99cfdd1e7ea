"""Incidents: their states, which may follow which, and the 72 hours. Source: UK GDPR articles 33 and 34.

A controller tells the supervisory authority of a personal data breach within 72 hours after becoming aware of
it, unless it is unlikely to be a risk to people. What is told later is told with the reasons for that.

The book of incidents in the state file says of each what was done about it, by whom and when.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, final

from sealwire.sidecars.detection.alerts import Alerts
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import DetectionReason, Missing, Unusable

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

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "id": self.id,
            "title": self.title,
            "state": self.state.value,
            "aware": as_text(self.aware),
            "deadline": as_text(self.deadline),
            "acknowledged": self.acknowledged,
            "risk": None if self.risk is None else self.risk.value,
            "outcome": self.outcome,
        }


def require_step(
    incident: Incident, to: IncidentState, now: datetime, *, risk: Risk | None = None, text: str = ""
) -> None:
    """Raises Unusable where an incident cannot go to a state, or something is missing for that."""
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


def _wrong(problem: str, hint: str) -> Unusable:
    return Unusable(DetectionReason.TRANSITION, problem, hint)


_COLUMNS: Final = "number, title, state, aware, opened, acknowledged, risk, outcome"


@dataclass(frozen=True, slots=True)
class BookEntry:
    """What was done about an incident."""

    time: str
    operator: str
    kind: str
    text: str


@final
class IncidentBook:
    """See the module. Each change is a transaction of its own."""

    def __init__(self, state: StateFile) -> None:
        self._state = state
        self._alerts = Alerts(state)

    def open_incident(
        self, title: str, alerts: Sequence[int], aware: datetime, now: datetime, operator: str
    ) -> Incident:
        """A new one, of these alerts. Raises Missing, Unusable: then there is none."""
        begun = as_text(now)
        with self._state.transaction():
            number = self._state.run(
                "INSERT INTO incidents (title, state, aware, opened, warned) VALUES (?, ?, ?, ?, ?)",
                *(title, IncidentState.OPEN.value, as_text(aware), begun, DeadlineStage.RUNNING.value),
            )
            for each in alerts:
                self._alerts.assign(each, number)
                self._alerts.acknowledge(each, f"{operator} {begun}")
            self._enter(number, now, operator, "opened", title)
        return self.one(number)

    def one(self, number: int) -> Incident:
        """Raises Missing."""
        found = self._select("WHERE number = ?", number)
        if not found:
            raise Missing(
                DetectionReason.MISSING,
                f"there is no incident i{number}",
                "sealwire incident list shows them",
            )
        return found[0]

    def incidents(self, *, also_closed: bool) -> list[Incident]:
        """All of them, newest first."""
        where = "" if also_closed else f"WHERE state != '{IncidentState.CLOSED.value}'"
        return self._select(f"{where} ORDER BY number DESC")

    def entries(self, number: int) -> list[BookEntry]:
        """What was done about one, oldest first."""
        select = "SELECT time, operator, kind, text FROM entries WHERE incident = ? ORDER BY rowid"
        return [BookEntry(*row) for row in self._state.rows(select, number)]

    def note(self, number: int, kind: str, text: str, now: datetime, operator: str) -> None:
        """Write something down about one. Raises Missing."""
        with self._state.transaction():
            self.one(number)
            self._enter(number, now, operator, kind, text)

    def acknowledge(self, number: int, now: datetime, operator: str) -> None:
        """Somebody has taken it on. Raises Missing."""
        with self._state.transaction():
            self.one(number)
            by = f"{operator} {as_text(now)}"
            self._state.run(
                "UPDATE incidents SET acknowledged = coalesce(acknowledged, ?) WHERE number = ?", by, number
            )
            self._enter(number, now, operator, "acknowledged", "")

    def advance(
        self,
        number: int,
        to: IncidentState,
        now: datetime,
        operator: str,
        *,
        risk: Risk | None = None,
        text: str = "",
    ) -> Incident:
        """Take it to another state. Raises Missing; Unusable as `incidents.require_step`."""
        with self._state.transaction():
            incident = self.one(number)
            require_step(incident, to, now, risk=risk, text=text)
            kept = risk if risk is not None else incident.risk
            self._state.run(
                "UPDATE incidents SET state = ?, risk = ?, outcome = ? WHERE number = ?",
                *(to.value, None if kept is None else kept.value),
                *(text if to is IncidentState.CLOSED else incident.outcome, number),
            )
            said = f"{kept.value}: {text}" if kept is not None and to is IncidentState.ASSESSED else text
            self._enter(number, now, operator, to.value, said)
        return self.one(number)

    def newly_due(self, now: datetime) -> list[tuple[Incident, DeadlineStage]]:
        """Those whose time passes, once for each stage; the caller holds a transaction, and tells of them."""
        found: list[tuple[Incident, DeadlineStage]] = []
        for incident in self.incidents(also_closed=False):
            stage = incident.stage(now)
            select = "SELECT warned FROM incidents WHERE number = ?"
            warned = self._state.rows(select, incident.number)[0][0]
            if stage in (DeadlineStage.SOON, DeadlineStage.OVERDUE) and warned != stage.value:
                self._state.run(
                    "UPDATE incidents SET warned = ? WHERE number = ?", stage.value, incident.number
                )
                found.append((incident, stage))
        return found

    def _enter(self, number: int, now: datetime, operator: str, kind: str, text: str) -> None:
        self._state.run(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?)", number, as_text(now), operator, kind, text
        )

    def _select(self, where: str, *values: object) -> list[Incident]:
        select = f"SELECT {_COLUMNS} FROM incidents {where}"  # noqa: S608 - constants
        return [_incident(row) for row in self._state.rows(select, *values)]


def _incident(row: Sequence[Any]) -> Incident:
    number, title, state, aware, opened, acknowledged, risk, outcome = row
    since, begun = datetime.fromisoformat(aware), datetime.fromisoformat(opened)
    found = None if risk is None else Risk(risk)
    return Incident(number, title, IncidentState(state), since, begun, acknowledged, found, outcome)


def as_text(moment: datetime) -> str:
    """As texts and the file have it, in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")
