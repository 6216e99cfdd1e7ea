"""Incidents: which state follows which, what has to be said for that, and the 72 hours."""

from datetime import timedelta
from pathlib import Path

import pytest

from sealwire.sidecars.detection.alerts import Alerts, Cause
from sealwire.sidecars.detection.incidents import (
    TRANSITIONS,
    DeadlineStage,
    Incident,
    IncidentBook,
    IncidentState,
    Risk,
    require_step,
)
from sealwire.sidecars.detection.rules import DEFAULTS, RuleName
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import DetectionReason, Missing, Unusable
from tests.sidecars.detection.logs import START
from tests.support.reasons import raising

HOUR = timedelta(hours=1)
STEPS = [(first, then) for first in IncidentState for then in IncidentState]


def incident(state: IncidentState = IncidentState.OPEN, risk: Risk | None = Risk.UNLIKELY) -> Incident:
    return Incident(3, "title", state, START, START, None, risk, None)


@pytest.mark.parametrize(("first", "then"), STEPS)
def test_only_the_steps_of_the_table_can_be_taken(first: IncidentState, then: IncidentState) -> None:
    if then in TRANSITIONS[first]:
        require_step(incident(first), then, START, risk=Risk.HIGH, text="because")
        return
    with raising(Unusable, DetectionReason.TRANSITION):
        require_step(incident(first), then, START, risk=Risk.HIGH, text="because")


@pytest.mark.parametrize("risk", [None, Risk.LIKELY, Risk.HIGH])
def test_what_may_be_a_risk_is_not_dismissed(risk: Risk | None) -> None:
    with pytest.raises(Unusable):
        require_step(incident(IncidentState.ASSESSED, risk), IncidentState.NOT_NOTIFIABLE, START, text="x")


@pytest.mark.parametrize("hours", [1, 100])
def test_nothing_is_told_without_a_word(hours: int) -> None:
    with pytest.raises(Unusable):
        require_step(
            incident(IncidentState.ASSESSED), IncidentState.NOTIFIED, START + hours * HOUR, text="  "
        )
    with pytest.raises(Unusable):
        require_step(incident(), IncidentState.ASSESSED, START)


@pytest.mark.parametrize(
    ("hours", "stage"),
    [
        (0, DeadlineStage.RUNNING),
        (48, DeadlineStage.RUNNING),
        (48.1, DeadlineStage.SOON),
        (72, DeadlineStage.OVERDUE),
        (900, DeadlineStage.OVERDUE),
    ],
)
def test_the_time_runs_from_when_one_is_aware(hours: float, stage: DeadlineStage) -> None:
    now = START + hours * HOUR
    assert incident().stage(now) is stage
    assert incident(IncidentState.NOTIFIED).stage(now) is DeadlineStage.STOPPED
    assert incident().left(now) == timedelta(hours=72 - hours)


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "watch.sqlite")


def raised(state: StateFile) -> int:
    number = Alerts(state).raise_alert(DEFAULTS[RuleName.REFUSED], Cause((), 1, 1, "", "", 0), 0, START)
    assert number is not None
    return number


def test_an_incident_is_kept_with_all_that_was_done(state: StateFile) -> None:
    book, alert = IncidentBook(state), raised(state)
    number = book.open_incident("list", [alert], START, START, "ann").number
    book.acknowledge(number, START + HOUR, "bob")
    book.acknowledge(number, START + HOUR, "eve")
    book.note(number, "containment", "disabled", START + HOUR, "bob")
    book.advance(number, IncidentState.ASSESSED, START + HOUR, "bob", risk=Risk.HIGH, text="names")
    book.advance(number, IncidentState.NOTIFIED, START + HOUR, "bob", text="IC-1")
    done = book.advance(number, IncidentState.CLOSED, START + HOUR, "bob", text="narrowed")
    assert (done.state, done.risk, done.outcome) == (IncidentState.CLOSED, Risk.HIGH, "narrowed")
    assert done.acknowledged is not None
    assert done.acknowledged.startswith("bob ")
    assert [entry.kind for entry in book.entries(number)] == [
        *("opened", "acknowledged", "acknowledged", "containment", "assessed", "notified", "closed"),
    ]
    assert [each.number for each in Alerts(state).of_incident(number)] == [alert]
    assert book.incidents(also_closed=False) == []
    assert book.incidents(also_closed=True) == [done]
    state.close()


def test_what_is_refused_changes_nothing(state: StateFile) -> None:
    book = IncidentBook(state)
    with pytest.raises(Missing):
        book.open_incident("list", [raised(state), 99], START, START, "ann")
    assert book.incidents(also_closed=True) == []
    number = book.open_incident("list", [], START, START, "ann").number
    before = book.entries(number)
    with pytest.raises(Unusable):
        book.advance(number, IncidentState.CLOSED, START, "ann", text="x")
    assert (book.one(number).state, book.entries(number)) == (IncidentState.OPEN, before)
    with pytest.raises(Missing):
        book.one(99)
    with pytest.raises(Missing):
        book.note(99, "note", "x", START, "ann")
    with pytest.raises(Missing):
        Alerts(state).acknowledge(99, "ann")
    state.close()


def test_an_alert_of_one_incident_is_not_taken_for_another(state: StateFile) -> None:
    book, alert = IncidentBook(state), raised(state)
    first = book.open_incident("list", [alert, alert], START, START, "ann").number
    with raising(Unusable, DetectionReason.TRANSITION):
        book.open_incident("list again", [alert], START, START, "bob")
    assert [each.number for each in book.incidents(also_closed=True)] == [first]
    assert [each.number for each in Alerts(state).of_incident(first)] == [alert]
    state.close()


def test_that_time_passes_is_told_once_for_each_stage(state: StateFile) -> None:
    book = IncidentBook(state)
    book.open_incident("list", [], START, START, "ann")
    told = [[stage for _, stage in book.newly_due(START + hours * HOUR)] for hours in (1, 49, 50, 73, 80, 49)]
    assert told == [[], [DeadlineStage.SOON], [], [DeadlineStage.OVERDUE], [], [DeadlineStage.SOON]]
    state.close()
