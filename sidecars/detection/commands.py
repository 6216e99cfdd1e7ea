"""`sealwire watch`, which raises alerts, and `sealwire incident`: incidents and their 72 hours."""

import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Column

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import PATH, json_option, settings, variable_option
from sealwire.cli.output import answer, print_json, show_table
from sealwire.cli.recording import operator_at_host
from sealwire.cli.tasks import until_signal
from sealwire.keys.private_file import writer_lock
from sealwire.policies.planning.arguments import one_line
from sealwire.sidecars.detection.alerts import Alert, Alerts
from sealwire.sidecars.detection.breach_form import about
from sealwire.sidecars.detection.delivery import LogChannel
from sealwire.sidecars.detection.incidents import DeadlineStage, Incident, IncidentBook, IncidentState, Risk
from sealwire.sidecars.detection.observations import moment_of
from sealwire.sidecars.detection.rules import WatchSettings, load_watch_settings
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.detection.watcher import AuditWatch, channels_of

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
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
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

        Raises Unusable, SourceError; Missing, Unavailable as `StateFile`.
        """
        watched = load_watch_settings(self.config)
        with closing(StateFile(watched.state, create=create)) as state:
            yield OpenIncidents(watched, Alerts(state), IncidentBook(state))


@dataclass(frozen=True, slots=True)
class OpenIncidents:
    """What lies on it."""

    settings: WatchSettings
    alerts: Alerts
    book: IncidentBook


# Gives the command `desk: IncidentDesk`.
desk_options = settings(
    "desk",
    lambda config: IncidentDesk(config, datetime.now(UTC), operator_at_host()),
    variable_option(
        "--config",
        type=PATH,
        default=Path("alerts.yaml"),
        show_default=True,
        envvar="SEALWIRE_WATCH_CONFIG",
        help="The file of `sealwire watch`.",
    ),
)

note_option = click.option("--note", type=note_text, default=None, help="What is to be said about it.")


def left_text(incident: Incident, now: datetime) -> str:
    """How much of the 72 hours is left, for people."""
    seconds = int(incident.left(now).total_seconds())
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' * (seconds < 0)}{hours}:{minutes:02d}"


def incident_document(incident: Incident, now: datetime) -> dict[str, Any]:
    """For programs."""
    left_s = int(incident.left(now).total_seconds())
    return incident.document() | {"left_s": left_s, "stage": incident.stage(now).value}


_CELL = 200
_MOST = click.IntRange(1, 10_000)
PRESSING = (DeadlineStage.SOON, DeadlineStage.OVERDUE)


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
    sys.exit(EX_NO if any(each.stage(desk.now) in PRESSING for each in found) else 0)


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
        document["entries"] = [asdict(each) for each in entries]
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
        since = aware or min([desk.now, *(moment_of(each.raised) or desk.now for each in found)])
        if since > desk.now:
            raise click.BadParameter("it lies in the future", param_hint="--aware")
        said = title or f"{found[0].rule.value}: {about(found[0])}"
        incident = opened.book.open_incident(said, alerts, since, desk.now, desk.operator)
    text = f"{incident.id}: open; {left_text(incident, desk.now)} of 72 hours are left"
    answer(text, incident_document(incident, desk.now), as_json=as_json)


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


_EPILOG = """\b
Exit codes (docs/errors.md has all cases):
  0   ended by a signal; --check: the file can be used; --once: all were told
  1   with --once: somebody could not be told of an alert
  2   wrong usage
  65  the key, the state or the log is damaged
  69  another process watches with the same state, or the state file is busy
  77  a file may not be read or written
  78  the file of the rules cannot be used"""


@click.command(name="watch", epilog=_EPILOG)
@click.argument("config", type=PATH, envvar="SEALWIRE_WATCH_CONFIG")
@click.option("--check", is_flag=True, help="Read CONFIG and what it names, and end.")
@click.option("--once", is_flag=True, help="Read to the end of the log, tell of alerts once, and end.")
@click.option("--learn", is_flag=True, help="Read to the end of the log, tell nobody of its alerts, and end.")
def watch(config: Path, *, check: bool, once: bool, learn: bool) -> None:
    """Follow the audit log that CONFIG names, and raise the alerts of its rules.

    Runs until a signal ends it, and goes on where it stopped: no line is left out or counted twice. The
    chain and the signed checkpoints of the log are verified as it is read. Alerts go to standard output,
    a webhook and a command, as CONFIG says; `sealwire incident` shows them and keeps incidents.

    \b
    Examples:
      sealwire watch /etc/sealwire/alerts.yaml
      sealwire watch alerts.yaml --check
      sealwire watch alerts.yaml --learn
      sealwire watch alerts.yaml --once
    """
    if check + once + learn > 1:
        raise click.UsageError("give one of --check, --once and --learn")
    settings = load_watch_settings(config)
    with writer_lock(settings.state), closing(StateFile(settings.state)) as state:
        _watch(settings, state, check=check, once=once, learn=learn)


def _watch(settings: WatchSettings, state: StateFile, *, check: bool, once: bool, learn: bool) -> None:
    log = LogChannel()
    channels = channels_of(settings, state, log)
    watcher = AuditWatch(settings, state, channels, log.write, is_learning=learn)
    if check:
        click.echo(f"{len(settings.rules)} rules, {len(channels)} channels: can be used")
    elif learn:
        watcher.read()
    elif once:
        sys.exit(0 if watcher.run_once() else EX_NO)
    else:
        with until_signal() as stop:
            said = {"event": "watching", "log": str(settings.place.path), "rules": len(settings.rules)}
            until = watcher.learns_until()
            # somebody has to know that alerts of these days are only listed
            log.write(said if until is None else {**said, "learning_until": until.isoformat("T", "seconds")})
            watcher.run(stop)
