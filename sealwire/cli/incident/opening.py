"""`sealwire incident open`, `acknowledge` and `note`: taking an alert on."""

from datetime import datetime

import click

from sealwire.cli.incident.options import (
    IncidentDesk,
    alert_number,
    desk_options,
    incident_argument,
    incident_document,
    incident_number,
    left_text,
    moment,
    note_text,
)
from sealwire.cli.options.common import json_option
from sealwire.cli.output import answer
from sealwire.sidecars.detection.alerts import Alert
from sealwire.sidecars.detection.breach_form import about
from sealwire.sidecars.detection.observations import moment_of

_KINDS = click.Choice(["note", "containment"])


@click.command(name="open")
@desk_options
@click.option(
    "--alert", "alerts", type=alert_number, multiple=True, help="An alert of it. May be given more than once."
)
@click.option("--title", type=note_text, help="What it is about; by default what its first alert says.")
@click.option(
    "--aware", type=moment, help="Since when one is aware of it; by default since the first alert, or now."
)
@json_option
def open_command(
    desk: IncidentDesk, alerts: tuple[int, ...], title: str | None, aware: datetime | None, as_json: bool
) -> None:
    """Open an incident, of alerts or without. Its 72 hours run from when one became aware of it.

    \b
    Examples:
      sealwire incident open --alert a12 --alert a13
      sealwire incident open --title "laptop lost" --aware 2026-11-27T08:00
    """
    if not alerts and title is None:
        raise click.UsageError("give --alert or --title")
    with desk.opened(create=True) as opened:
        found = [opened.alerts.one(number) for number in alerts]
        since = aware or min((_raised(each, desk.now) for each in found), default=desk.now)
        if since > desk.now:
            raise click.BadParameter("it lies in the future", param_hint="--aware")
        said = title or f"{found[0].rule.value}: {about(found[0])}"
        incident = opened.book.open_incident(said, alerts, since, desk.now, desk.operator)
    text = f"{incident.id}: open; {left_text(incident, desk.now)} of 72 hours are left"
    answer(text, incident_document(incident, desk.now), as_json=as_json)


def _raised(alert: Alert, now: datetime) -> datetime:
    return min(moment_of(alert.raised) or now, now)


@click.command(name="acknowledge")
@click.argument("number")
@desk_options
@json_option
def acknowledge(number: str, desk: IncidentDesk, as_json: bool) -> None:
    """Say that you have seen an alert (aNUMBER), or have taken an incident on (iNUMBER).

    \b
    Examples:
      sealwire incident acknowledge a12
      sealwire incident acknowledge i3
    """
    is_alert = number.startswith("a")
    if not is_alert and not number.startswith("i"):
        raise click.UsageError("give the number of an alert, a12, or of an incident, i3")
    with desk.opened() as opened:
        if is_alert:
            by = f"{desk.operator} {desk.now.isoformat(timespec='seconds')}"
            opened.alerts.acknowledge(alert_number(number), by)
        else:
            opened.book.acknowledge(incident_number(number), desk.now, desk.operator)
    answer(
        f"{number}: acknowledged by {desk.operator}",
        {"id": number, "operator": desk.operator},
        as_json=as_json,
    )


@click.command(name="note")
@incident_argument
@click.argument("text", type=note_text)
@desk_options
@click.option("--kind", type=_KINDS, default="note", show_default=True, help="What the report takes it for.")
@json_option
def note(incident: int, text: str, desk: IncidentDesk, kind: str, as_json: bool) -> None:
    """Write something down about an incident; it goes into the report.

    \b
    Examples:
      sealwire incident note i3 "the account was shared by two clerks"
      sealwire incident note i3 --kind containment "account disabled, 09:40"
    """
    with desk.opened() as opened:
        opened.book.note(incident, kind, text, desk.now, desk.operator)
    answer(f"i{incident}: written down", {"id": f"i{incident}", "kind": kind}, as_json=as_json)
