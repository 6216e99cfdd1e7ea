"""`sealwire incident assess`, `notify`, `dismiss` and `close`: from one state to the next."""

import click

from sealwire.cli.incident.options import (
    IncidentDesk,
    desk_options,
    incident_argument,
    incident_document,
    note_option,
    note_text,
)
from sealwire.cli.options.common import json_option
from sealwire.cli.output import answer
from sealwire.sidecars.detection.incidents import IncidentState, Risk


@click.command(name="assess")
@incident_argument
@desk_options
@click.option(
    "--risk", type=click.Choice([each.value for each in Risk]), required=True, help="Of a risk to people."
)
@note_option
@json_option
def assess(incident: int, desk: IncidentDesk, risk: str, note: str | None, as_json: bool) -> None:
    """Say how likely an incident is to be a risk to people. What becomes known later may change it.

    `unlikely`: it need not be notified. `high`: the people themselves have to be told too.

    \b
    Examples:
      sealwire incident assess i3 --risk likely --note "names and diagnoses of 312 people"
    """
    _advance(incident, desk, IncidentState.ASSESSED, note or "", Risk(risk), as_json=as_json)


@click.command(name="notify")
@incident_argument
@desk_options
@note_option
@json_option
def notify(incident: int, desk: IncidentDesk, note: str | None, as_json: bool) -> None:
    """Write down that the authority was told, and how: this stops the 72 hours. It tells nobody by itself.

    \b
    Examples:
      sealwire incident notify i3 --note "ICO, reference IC-123456, by telephone"
    """
    _advance(incident, desk, IncidentState.NOTIFIED, note or "", None, as_json=as_json)


@click.command(name="dismiss")
@incident_argument
@desk_options
@note_option
@json_option
def dismiss(incident: int, desk: IncidentDesk, note: str | None, as_json: bool) -> None:
    """Write down why the authority need not be told: only where a risk to people was assessed as unlikely.

    \b
    Examples:
      sealwire incident dismiss i3 --note "the clerk was on duty, and the list was asked for"
    """
    _advance(incident, desk, IncidentState.NOT_NOTIFIABLE, note or "", None, as_json=as_json)


@click.command(name="close")
@incident_argument
@desk_options
@click.option("--outcome", type=note_text, required=True, help="What came of it, and what was changed.")
@json_option
def close(incident: int, desk: IncidentDesk, outcome: str, as_json: bool) -> None:
    """Close an incident that was notified, or need not be.

    \b
    Examples:
      sealwire incident close i3 --outcome "account disabled, role narrowed, staff told"
    """
    _advance(incident, desk, IncidentState.CLOSED, outcome, None, as_json=as_json)


def _advance(
    incident: int, desk: IncidentDesk, to: IncidentState, text: str, risk: Risk | None, *, as_json: bool
) -> None:
    with desk.opened() as opened:
        changed = opened.book.advance(incident, to, desk.now, desk.operator, risk=risk, text=text)
    answer(f"{changed.id}: {changed.state.value}", incident_document(changed, desk.now), as_json=as_json)
