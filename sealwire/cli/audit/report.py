"""`sealwire audit report`: how often who did what, over a time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from sealwire.cli.audit.options import Days, days_option, lines_of, log_argument, shown
from sealwire.cli.html.page import PageSection, PageTable, ReportPage, html_option, write_page
from sealwire.cli.html.plots import columns, rows
from sealwire.cli.options.common import json_option
from sealwire.cli.output import print_json, show_table

_FIELDS = (
    *("user", "client", "certificate", "application", "namespace", "command", "outcome", "reason"),
    *("purpose", "role", "operator"),
)
BY = ("day", "event", "class", *_FIELDS)
_CLASSES = ("read", "written", "filtered")
_NOBODY = "-"
_MAX_BARS = 20


@dataclass(slots=True)
class LineCounts:
    """What was counted. By class a line counts once for each class that it names."""

    by: tuple[str, ...]
    counted: Counter[tuple[str, ...]] = field(default_factory=Counter)
    values: Counter[tuple[tuple[str, ...], str]] = field(default_factory=Counter)
    """By key and by what became of the values, one of _CLASSES: how many values."""
    days: Counter[str] = field(default_factory=Counter)
    unread: int = 0

    def count(self, line: Mapping[str, object]) -> None:
        """Count one line, as many times as what it stands for happened."""
        amount = _stands_for(line)
        is_part = "part" in line
        if not is_part:
            self.days[_said(line, "day")] += amount
        if "class" not in self.by:
            if not is_part:
                self.counted[tuple(_said(line, name) for name in self.by)] += amount
            return
        named = {name: _amounts(line.get(name)) for name in _CLASSES}
        # of the lines of one command each has classes of its own
        classes = sorted({name for amounts in named.values() for name in amounts})
        for each in classes or ([] if is_part else [_NOBODY]):
            key = tuple(each if name == "class" else _said(line, name) for name in self.by)
            self.counted[key] += amount
            for use, amounts in named.items():
                self.values[key, use] += amounts.get(each, 0)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of what `row` gives."""
        return (*self.by, "lines", *(_CLASSES if "class" in self.by else ()))

    def row(self, key: tuple[str, ...]) -> tuple[str | int, ...]:
        """One row of the report."""
        values = [self.values[key, use] for use in _CLASSES] if "class" in self.by else ()
        return (*key, self.counted[key], *values)

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """The most frequent first."""
        return [key for key, _ in sorted(self.counted.items(), key=lambda row: (-row[1], row[0]))]


@click.command(name="report")
@log_argument
@click.option(
    "--by",
    type=click.Choice(BY),
    multiple=True,
    default=("event", "user"),
    show_default=True,
    help="What lines are counted by. May be given more than once.",
)
@click.option(
    "--event", "events", multiple=True, help="Only lines of this event. May be given more than once."
)
@days_option
@click.option("--top", type=click.IntRange(1), default=50, show_default=True, help="How many rows at most.")
@html_option
@json_option
def report(  # noqa: PLR0913, PLR0917 - one for each option
    log: Path,
    by: tuple[str, ...],
    events: tuple[str, ...],
    days: Days,
    top: int,
    html: Path | None,
    as_json: bool,
) -> None:
    """Count the lines of the audit log at LOG by who, what and when, most frequent first.

    Nothing is verified: `sealwire audit verify` does that. Lines that are none are counted apart. A line that
    stands for several failed logins counts for each, and one command counts once. By class, a
    line counts for each class of which it has values, and the values that were read, written and compared
    are added up.

    \b
    Examples:
      sealwire audit report /var/log/sealwire/audit.jsonl
      sealwire audit report audit.jsonl --by user --by reason --event refused --since 2026-11-01
      sealwire audit report audit.jsonl --by class --by purpose --event command --html report.html
      sealwire audit report audit.jsonl --by day --by event --json
    """
    tally = LineCounts(by)
    for line in lines_of(log):
        if line is None:
            tally.unread += 1
        elif (not events or line.get("event") in events) and days.have(line):
            tally.count(line)
    keys = tally.keys
    if html is not None:
        write_page(html, _page(tally, log, days, top))
    found = [dict(zip(tally.columns, tally.row(key), strict=True)) for key in keys[:top]]
    if as_json:
        more, total = len(keys[top:]), tally.counted.total()
        print_json({"rows": found, "more": more, "lines": total, "unreadable": tally.unread})
        return
    show_table(tally.columns, (map(shown, tally.row(key)) for key in keys[:top]))
    if len(keys) > top:
        click.echo(f"and {len(keys) - top} more rows: --top shows them")
    if tally.unread:
        click.echo(f"{tally.unread} lines cannot be read: sealwire audit verify says where")


def _page(tally: LineCounts, log: Path, days: Days, top: int) -> ReportPage:
    keys = tally.keys
    plots = [columns("Lines each day", sorted(tally.days.items()))]
    for place, name in enumerate(tally.by):
        amounts: Counter[str] = Counter()
        for key, amount in tally.counted.items():
            amounts[key[place]] += amount
        plots.append(rows(f"Lines by {name}", amounts.most_common(_MAX_BARS)))
    facts = (
        *(("log", str(log)), ("days (UTC)", str(days)), ("lines", tally.days.total())),
        *(("lines that cannot be read", tally.unread), ("verified", "no: sealwire audit verify does that")),
    )
    more = (f"{len(keys) - top} more rows are left out.",) if len(keys) > top else ()
    table = PageTable.of(tally.columns, map(tally.row, keys[:top]))
    sections = (PageSection("Overview", (), tuple(plots)), PageSection("Counts", more, (), (table,)))
    return ReportPage("Audit report", facts, sections)


def _stands_for(line: Mapping[str, object]) -> int:
    """Failed logins are gathered with their number."""
    count = line.get("count")
    return count if isinstance(count, int) and count > 0 else 1


def _said(line: Mapping[str, object], name: str) -> str:
    if name == "day":
        return str(line.get("time", _NOBODY))[:10]
    return str(line.get(name, _NOBODY))


def _amounts(value: object) -> dict[str, int]:
    """What a line says of its classes, as far as that can be read."""
    found = value.items() if isinstance(value, dict) else ()
    return {str(name): amount for name, amount in found if type(amount) is int}
