"""What the commands about incidents share."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from sealwire.cli.options.common import PATH, declare, settings
from sealwire.cli.recording import operator_at_host
from sealwire.sidecars.detection.alerts import Alerts
from sealwire.sidecars.detection.collecting import utc
from sealwire.sidecars.detection.incidents import Incident, IncidentBook
from sealwire.sidecars.detection.rules import WatchSettings, load_watch_settings
from sealwire.sidecars.detection.state_file import StateFile

MAX_TEXT = 4096
"""Characters of a note."""


def alert_number(text: str) -> int:
    """`a12`, or the number alone. Raises BadParameter."""
    return _number("a", text)


def incident_number(text: str) -> int:
    """`i3`, or the number alone. Raises BadParameter."""
    return _number("i", text)


def _number(letter: str, text: str) -> int:
    found = re.fullmatch(rf"{letter}?([1-9][0-9]{{0,17}})", text)
    if found is None:
        raise click.BadParameter(f"write {letter} and a number, as in {letter}3")
    return int(found[1])


def moment(text: str) -> datetime:
    """A moment in ISO 8601, in UTC; without a zone it is UTC. Raises BadParameter."""
    try:
        return utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise click.BadParameter("write a time as 2026-11-27T14:30 or 2026-11-27T14:30+00:00") from None


def note_text(text: str) -> str:
    """What an operator says, without blanks around it. Raises BadParameter."""
    said = text.strip()
    if not said or len(said) > MAX_TEXT:
        raise click.BadParameter(f"give a text of 1 to {MAX_TEXT} characters")
    return said


incident_argument = click.argument("incident", type=incident_number)


@dataclass(frozen=True, slots=True)
class IncidentDesk:
    """Where incidents are worked on."""

    config: Path
    now: datetime
    operator: str

    @contextmanager
    def opened(self, *, create: bool = False) -> Iterator["OpenIncidents"]:
        """The state file that the rules' file names.

        Raises UnusableWatchFile, SourceError; NoSuchRecord, StateProblem as `StateFile`.
        """
        watched = load_watch_settings(self.config)
        state = StateFile(watched.state, create=create)
        try:
            yield OpenIncidents(watched, Alerts(state), IncidentBook(state))
        finally:
            state.close()


@dataclass(frozen=True, slots=True)
class OpenIncidents:
    """What lies on it."""

    settings: WatchSettings
    alerts: Alerts
    book: IncidentBook


def _desk(config: Path) -> IncidentDesk:
    return IncidentDesk(config, datetime.now(UTC), operator_at_host())


# Gives the command `desk: IncidentDesk`.
desk_options = settings(
    "desk",
    _desk,
    click.option(
        "--config",
        type=PATH,
        default=Path("alerts.yaml"),
        show_default=True,
        envvar="SEALWIRE_WATCH_CONFIG",
        show_envvar=True,
        help="The file of `sealwire watch`.",
    ),
)

note_option = declare(
    click.option("--note", type=note_text, default=None, help="What is to be said about it.")
)


def left_text(incident: Incident, now: datetime) -> str:
    """How much of the 72 hours is left, for people."""
    seconds = int(incident.left(now).total_seconds())
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' * (seconds < 0)}{hours}:{minutes:02d}"


def incident_document(incident: Incident, now: datetime) -> dict[str, Any]:
    """For programs."""
    return {
        "id": incident.id,
        "title": incident.title,
        "state": incident.state.value,
        "aware": incident.aware.isoformat(timespec="seconds"),
        "deadline": incident.deadline.isoformat(timespec="seconds"),
        "left_s": int(incident.left(now).total_seconds()),
        "stage": incident.stage(now).value,
        "acknowledged": incident.acknowledged,
        "risk": None if incident.risk is None else incident.risk.value,
        "outcome": incident.outcome,
    }
