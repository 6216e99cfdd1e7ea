"""`sealwire audit report`: how often who did what, over a time."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from sealwire.audit.line import MAX_LINE_BYTES, NotALine, read_line
from sealwire.audit.tail import FILE_EVENT
from sealwire.cli.audit.options import existing_files, log_argument, shown
from sealwire.cli.options import json_option, settings
from sealwire.cli.output import print_json, progress_bar, show_table

_FIELDS = ("user", "client", "certificate", "application", "namespace", "command", "reason", "operator")
BY = ("day", "event", *_FIELDS)
_NOBODY = "-"
_DATE = click.DateTime(["%Y-%m-%d"])


@dataclass(frozen=True, slots=True)
class Days:
    """A time from one day to another, both included; None: from ever, for ever."""

    since: datetime | None
    until: datetime | None

    def have(self, line: Mapping[str, object]) -> bool:
        """Whether a line was written in this time; where there is no bound, any line was."""
        if self.since is None and self.until is None:
            return True
        try:
            moment = datetime.fromisoformat(str(line.get("time")))
        except ValueError:
            return False
        if moment.tzinfo is None:
            return False
        if self.since is not None and moment < self.since.replace(tzinfo=UTC):
            return False
        return self.until is None or moment < self.until.replace(tzinfo=UTC) + timedelta(days=1)


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
@settings(
    "days",
    Days,
    click.option("--since", type=_DATE, help="From this day on (UTC)."),
    click.option("--until", type=_DATE, help="Up to this day, which counts (UTC)."),
)
@click.option("--top", type=click.IntRange(1), default=50, show_default=True, help="How many rows at most.")
@json_option
def report(
    log: Path,
    by: tuple[str, ...],
    events: tuple[str, ...],
    days: Days,
    top: int,
    as_json: bool,
) -> None:
    """Count the lines of the audit log at LOG by who, what and when, most frequent first.

    Nothing is verified: `sealwire audit verify` does that. Lines that are none are counted apart.

    \b
    Examples:
      sealwire audit report /var/log/sealwire/audit.jsonl
      sealwire audit report audit.jsonl --by user --by reason --event refused --since 2026-11-01
      sealwire audit report audit.jsonl --by day --by event --json
    """
    counted: Counter[tuple[str, ...]] = Counter()
    unread = 0
    for line in _lines(log):
        if line is None:
            unread += 1
        elif (not events or line.get("event") in events) and days.have(line):
            counted[tuple(_said(line, name) for name in by)] += 1
    rows = sorted(counted.items(), key=lambda row: (-row[1], row[0]))
    if as_json:
        found = [{**dict(zip(by, key, strict=True)), "lines": amount} for key, amount in rows[:top]]
        print_json({"rows": found, "more": len(rows[top:]), "lines": counted.total(), "unreadable": unread})
        return
    show_table((*by, "lines"), ((*map(shown, key), amount) for key, amount in rows[:top]))
    if len(rows) > top:
        click.echo(f"and {len(rows) - top} more rows: --top shows them")
    if unread:
        click.echo(f"{unread} lines cannot be read: sealwire audit verify says where")


def _lines(log: Path) -> Iterator[Mapping[str, object] | None]:
    """What each line says, but for those that open a file; None for one that cannot be read."""
    files = existing_files(log)
    with progress_bar("reading", sum(each.stat().st_size for each in files)) as progress:
        for path in files:
            with path.open("rb") as file:
                while data := file.readline(MAX_LINE_BYTES):
                    progress(len(data))
                    try:
                        line = read_line(data)
                    except NotALine:
                        yield None
                        continue
                    if line.fields.get("event") != FILE_EVENT:
                        yield line.fields


def _said(line: Mapping[str, object], name: str) -> str:
    if name == "day":
        return str(line.get("time", _NOBODY))[:10]
    return str(line.get(name, _NOBODY))
