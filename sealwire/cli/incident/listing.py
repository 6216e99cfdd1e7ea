"""`sealwire incident list`, `alerts` and `show`: what there is, and how much of the 72 hours is left."""

import sys
from datetime import datetime

import click
from rich.table import Column

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.incident.options import (
    IncidentDesk,
    desk_options,
    incident_argument,
    incident_document,
    left_text,
)
from sealwire.cli.options.common import json_option
from sealwire.cli.output import print_json, show_table
from sealwire.proxy.session.replies import one_line
from sealwire.sidecars.detection.alerts import Alert
from sealwire.sidecars.detection.breach_form import about
from sealwire.sidecars.detection.incidents import DeadlineStage, Incident

_CELL = 200
_MOST = click.IntRange(1, 10_000)
_PRESSING = (DeadlineStage.SOON, DeadlineStage.OVERDUE)


@click.command(name="list")
@desk_options
@click.option("--all", "also_closed", is_flag=True, help="Closed incidents as well.")
@json_option
def list_command(desk: IncidentDesk, *, also_closed: bool, as_json: bool) -> None:
    """List incidents, newest first, with what is left of their 72 hours.

    Exit code 1 when one has less than 24 hours left or is overdue.

    \b
    Examples:
      sealwire incident list
      sealwire incident list --all --json --config /etc/sealwire/alerts.yaml
    """
    with desk.opened() as opened:
        found = opened.book.incidents(also_closed=also_closed)
        untold = opened.alerts.untold()
    if as_json:
        print_json({"incidents": [incident_document(each, desk.now) for each in found], "untold": untold})
    else:
        columns = ("incident", "state", "left", "risk", "taken on by", "title")
        show_table(columns, (_row(each, desk.now) for each in found))
        for channel, outcomes in untold.items():
            counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
            click.echo(f"alerts that {channel} was not told of: {counts}")
    sys.exit(EX_NO if any(each.stage(desk.now) in _PRESSING for each in found) else 0)


def _row(incident: Incident, now: datetime) -> tuple[str, ...]:
    is_running = incident.stage(now) is not DeadlineStage.STOPPED
    return (
        incident.id,
        incident.state.value,
        left_text(incident, now) if is_running else "-",
        "-" if incident.risk is None else incident.risk.value,
        incident.acknowledged or "-",
        one_line(incident.title, _CELL),
    )


@click.command(name="alerts")
@desk_options
@click.option("--all", "also_seen", is_flag=True, help="Those that were acknowledged as well.")
@click.option("--last", type=_MOST, default=50, show_default=True, help="How many at most.")
@json_option
def alerts_command(desk: IncidentDesk, *, also_seen: bool, last: int, as_json: bool) -> None:
    """List alerts that nobody has acknowledged, newest first.

    \b
    Examples:
      sealwire incident alerts
      sealwire incident alerts --all --last 500 --json
    """
    with desk.opened() as opened:
        found = opened.alerts.latest(last, only_open=not also_seen)
    if as_json:
        print_json([alert.document() for alert in found])
    else:
        columns = [Column(name, no_wrap=True) for name in ("alert", "urgency", "rule", "first", "amount")]
        show_table([*columns, Column("about", overflow="fold")], map(_alert_row, found))


def _alert_row(alert: Alert) -> tuple[object, ...]:
    first = one_line(alert.first[5:16].replace("T", " "), _CELL)
    names = one_line(", ".join(value for _, value in alert.about), _CELL)
    return (alert.id, alert.urgency.value, alert.rule.value, first, alert.amount, names)


@click.command(name="show")
@incident_argument
@desk_options
@json_option
def show(incident: int, desk: IncidentDesk, as_json: bool) -> None:
    """Show an incident with its alerts and all that was done about it.

    \b
    Examples:
      sealwire incident show i3
    """
    with desk.opened() as opened:
        found, alerts = opened.book.one(incident), opened.alerts.of_incident(incident)
        entries = opened.book.entries(incident)
    if as_json:
        document = incident_document(found, desk.now)
        document["alerts"] = [alert.document() for alert in alerts]
        document["entries"] = [
            {"time": each.time, "operator": each.operator, "kind": each.kind, "text": each.text}
            for each in entries
        ]
        print_json(document)
        return
    click.echo(
        f"{found.id}: {one_line(found.title, _CELL)}: {found.state.value}, {left_text(found, desk.now)} left"
    )
    # what stands in a line was chosen by clients, or by who edits a log
    cells = (
        (each.id, each.rule.value, one_line(each.first[:19], _CELL), one_line(about(each), _CELL))
        for each in alerts
    )
    show_table(("alert", "rule", "first", "about"), cells)
    rows = ((each.time, each.operator, each.kind, one_line(each.text, _CELL)) for each in entries)
    show_table(("time", "who", "what", "text"), rows)
