"""`sealwire incident report`: what the verified audit log has of an incident."""

import sys
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import click

from sealwire.audit.files import files_to_verify, load_verification_key
from sealwire.audit.verification import LogReport, read_checkpoints
from sealwire.cli.audit import existing_files
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import PATH, json_option, settings
from sealwire.cli.output import print_json, progress_bar
from sealwire.cli.pages import PageSection, PageTable, ReportPage, columns, html_option, write_page
from sealwire.files.html.frame import Mark, Tone
from sealwire.keys.private_file import replace_private
from sealwire.policies.planning.arguments import one_line
from sealwire.sidecars.detection.breach_form import BreachReport, about, breach_form, ranked
from sealwire.sidecars.detection.collecting import Evidence, Scope, collect, require_whole, scope_of
from sealwire.sidecars.detection.commands import (
    IncidentDesk,
    OpenIncidents,
    desk_options,
    incident_argument,
    moment,
)

_MAX_TIMES = 500
_MAX_SHOWN = 1024


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What an operator says about the lines that belong to an incident."""

    since: datetime | None
    until: datetime | None
    users: tuple[str, ...]
    everybody: bool

    def scope(self, found: Scope) -> Scope:
        """The scope of the alerts, as far as nothing else is said."""
        scope = replace(found, since=self.since or found.since, until=self.until or found.until)
        if scope.since > scope.until:
            raise click.UsageError("--since is later than --until")
        if self.everybody:
            return replace(scope, users=frozenset(), addresses=frozenset())
        return replace(scope, users=scope.users | set(self.users))


@click.command(name="report")
@incident_argument
@desk_options
@settings(
    "narrowed",
    Narrowed,
    click.option("--since", type=moment, help="From then on; by default an hour before the first alert."),
    click.option("--until", type=moment, help="Until then; by default an hour after the last alert."),
    click.option(
        "--user", "users", multiple=True, help="Lines of this user too. May be given more than once."
    ),
    click.option("--everybody", is_flag=True, help="Lines of all, not only of the alerts' users."),
)
@html_option
@click.option("--form", type=PATH, help="Write a form in the order of the ICO's questions, as Markdown.")
@click.option("--unproved", is_flag=True, help="Report of a log that is not whole; the report says so.")
@json_option
def report(  # noqa: PLR0913, PLR0917 - one for each option
    incident: int,
    desk: IncidentDesk,
    narrowed: Narrowed,
    html: Path | None,
    form: Path | None,
    unproved: bool,
    as_json: bool,
) -> None:
    """Verify the audit log, and collect what it has of an incident: what, whose, when, by whom.

    A log that is not whole makes no report, but for `--unproved`. Exit code 1 when a line that counts has no
    checkpoint that vouches for it. People are counted by pseudonyms, which JSON lists.

    \b
    Examples:
      sealwire incident report i3 --html report.html --form ico.md
      sealwire incident report i3 --since 2026-11-27T06:00 --user ann@admin --json
    """
    with desk.opened() as opened:
        found = _report(incident, desk, opened, narrowed)
    if not unproved:
        require_whole(found.evidence)
    if html is not None:
        write_page(html, _page(found))
    if form is not None:
        replace_private(form, breach_form(found).encode("utf-8", "replace"))
    if as_json:
        print_json(found.document())
    else:
        click.echo(_summary(found))
    sys.exit(0 if found.evidence.is_proved else EX_NO)


def _report(number: int, desk: IncidentDesk, opened: OpenIncidents, narrowed: Narrowed) -> BreachReport:
    incident, alerts = opened.book.one(number), opened.alerts.of_incident(number)
    scope = narrowed.scope(scope_of(alerts, incident.aware, desk.now))
    evidence = _evidence(opened, scope)
    return BreachReport(incident, alerts, opened.book.entries(number), evidence, desk.now)


def _evidence(opened: OpenIncidents, scope: Scope) -> Evidence:
    place, key = opened.settings.place, opened.settings.key
    log = LogReport()
    checkpoints = None
    if key is not None:
        checkpoints = read_checkpoints(place.checkpoints, load_verification_key(key), log)
    files = files_to_verify(place.path) or existing_files(place.path)
    with progress_bar("reading", sum(each.stat().st_size for each in files)) as progress:
        return collect(files, checkpoints, log, scope, progress)


def _summary(found: BreachReport) -> str:
    collected = found.evidence.collected
    classes = ", ".join(f"{name} ({amount})" for name, amount in ranked(collected.read)) or "none"
    return "\n".join(
        (
            f"{found.incident.id}: {found.proof}",
            f"{collected.lines} lines, {collected.documents} documents shown; {found.people}",
            f"values shown, by class: {one_line(classes, _MAX_SHOWN)}",
            f"risk: {found.risk}",
        )
    )


def _page(found: BreachReport) -> ReportPage:
    collected, scope = found.evidence.collected, found.evidence.scope
    alerts = (
        (each.id, each.rule.value, each.urgency.value, about(each), each.amount, each.first)
        for each in found.alerts
    )
    noticed = PageTable.of(("alert", "rule", "urgency", "about", "amount", "first"), alerts)
    times = found.timeline()
    more = (f"and {len(times) - _MAX_TIMES} more",) if len(times) > _MAX_TIMES else ()
    hours = [(hour, counted["values"]) for hour, counted in sorted(collected.hours.items())]
    plots = (columns("Values shown, by the hour (UTC)", hours),) if any(amount for _, amount in hours) else ()
    lines = (
        f"From {scope.since:%Y-%m-%d %H:%M} to {scope.until:%Y-%m-%d %H:%M} UTC.",
        f"Users: {', '.join(sorted(scope.users)) or 'all'}.",
        f"Addresses: {', '.join(sorted(scope.addresses)) or 'all of theirs'}.",
    )
    sections = (
        PageSection("What was noticed", tables=(noticed,)),
        PageSection(
            "Which data",
            tables=_tables(
                (("class", "values shown"), collected.read),
                (("class", "values written"), collected.written),
                (("collection", "lines"), collected.namespaces),
            ),
        ),
        PageSection(
            "Who",
            tables=_tables(
                (("user", "lines"), collected.users),
                (("address", "lines"), collected.addresses),
                (("glass broken because", "lines"), collected.glass),
                (("refused or failed because", "lines"), collected.reasons),
            ),
        ),
        PageSection("When", more, plots, (PageTable.of(("time", "what"), times[:_MAX_TIMES]),)),
        PageSection("Which lines", lines),
    )
    proof = Mark(found.proof, Tone.FINE if found.evidence.is_proved else Tone.ACT)
    return ReportPage(f"{found.incident.id}: {found.incident.title}", proof, _facts(found), sections)


def _facts(found: BreachReport) -> tuple[tuple[str, str | int], ...]:
    """What a reader has to know first."""
    incident = found.incident
    return (
        ("State", incident.state.value),
        ("Aware since", incident.aware.isoformat(timespec="seconds")),
        ("72 hours end", incident.deadline.isoformat(timespec="seconds")),
        ("Risk", found.risk),
        ("People", found.people),
        ("Documents shown", found.evidence.collected.documents),
    )


def _tables(*counted: tuple[tuple[str, str], Counter[str]]) -> tuple[PageTable, ...]:
    """Tables of what there is any of."""
    return tuple(PageTable.of(names, ranked(counter)) for names, counter in counted if counter)
