"""`sealwire audit`: who did what, and whether the record of it is whole.

A key for the log, its verification, its last lines, and how often who did what.
"""

import json
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes
from typing import Any

import click

from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.audit.files import LogPlace, files_of, files_to_verify, load_verification_key
from sealwire.audit.line import FILE_EVENT, MAX_LINE_BYTES, NotALine, read_line
from sealwire.audit.pseudonyms import KEY_BYTES, PseudonymKey
from sealwire.audit.signing import make_key
from sealwire.audit.verification import Flaw, LogReport, read_checkpoints, verify
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import PATH, Interval, json_option, settings
from sealwire.cli.output import Manner, manner_options, print_json, progress_bar, show_table
from sealwire.cli.pages import (
    PageSection,
    PageTable,
    ReportPage,
    columns,
    html_option,
    rows,
    unverified,
    write_page,
)
from sealwire.keys.private_file import create_private, create_public, require_free, writer_lock
from sealwire.policies.planning.arguments import one_line

MAX_SHOWN = 1024
"""Characters of one field."""

_DATE = click.DateTime(["%Y-%m-%d"])

log_argument = click.argument("log", type=PATH)


@dataclass(frozen=True, slots=True)
class Days:
    """A time from one day to another, both included; None leaves that side open."""

    since: datetime | None
    until: datetime | None

    def have(self, line: Mapping[str, object]) -> bool:
        """Whether a line was written in this time; where there is no bound, any line was."""
        if self.since is None and self.until is None:
            return True
        moment = moment_of(line)
        if moment is None:
            return False
        if self.since is not None and moment < self.since.replace(tzinfo=UTC):
            return False
        return self.until is None or moment < self.until.replace(tzinfo=UTC) + timedelta(days=1)

    def __str__(self) -> str:
        bounds = (self.since, self.until)
        return " to ".join("..." if each is None else f"{each:%Y-%m-%d}" for each in bounds)


# The command gets `days: Days`.
days_option = settings(
    "days",
    Days,
    click.option("--since", type=_DATE, help="From this day on (UTC)."),
    click.option("--until", type=_DATE, help="Up to this day, which counts (UTC)."),
)


def shown(value: object) -> str:
    """A field of a line, for a terminal: who edits a log could put anything there."""
    return one_line(str(value), MAX_SHOWN)


def existing_files(log: Path) -> list[Path]:
    """The files of the log at `log`, oldest first. Raises AuditFileProblem where there is none."""
    files = files_of(log)
    if not files:
        raise AuditFileProblem(
            AuditReason.FILE_MISSING,
            f"there is no audit log at {log}",
            "give the value of audit.path; if it was there, keep what is left and treat it as an incident",
        )
    return files


def moment_of(line: Mapping[str, object]) -> datetime | None:
    """When a line was written, as it says; None where it does not say so: anybody may have edited it."""
    try:
        moment = datetime.fromisoformat(str(line.get("time")))
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment


def lines_of(log: Path) -> Iterator[Mapping[str, object] | None]:
    """As `lines_in`, of all files of the log at `log`, with a bar. Raises as `existing_files`."""
    files = existing_files(log)
    with progress_bar("reading", sum(each.stat().st_size for each in files)) as progress:
        yield from lines_in(files, progress)


def lines_in(files: Iterable[Path], progress: Callable[[int], None]) -> Iterator[Mapping[str, object] | None]:
    """What each line says, but for those that open a file; None for one that cannot be read.

    `progress` is told of bytes. Raises OSError. Cost: O(the files), of which one line is in memory.
    """
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


_SEED_BYTES = 32


@click.command(name="create-key")
@click.argument("path", type=PATH, required=False)
@click.option("--name", help="With PATH: whose log it is, without spaces: clinic.example/sealwire.")
@click.option("--subjects-key", type=PATH, metavar="FILE", help="Make the key of pseudonyms here.")
@manner_options
def create_key(path: Path | None, name: str | None, subjects_key: Path | None, manner: Manner) -> None:
    """Make a key at PATH that signs checkpoints, and at PATH.pub the one that verifies them.

    PATH belongs to the proxy alone (`audit.key`). Give PATH.pub to whoever verifies, and keep a copy of it
    where nobody who could change the log can change it: who puts another key there can sign what he likes.

    With --subjects-key a key of pseudonyms is made as well, or alone: who has it can ask the log whether it
    is about a person whom he knows, and nobody else can. Keep a copy: no other key makes the same pseudonyms.

    \b
    Examples:
      sealwire audit create-key audit.key --name clinic.example/sealwire
      sealwire audit create-key --subjects-key subjects.key
    """
    if path is None and subjects_key is None:
        raise click.UsageError("name a PATH, or --subjects-key")
    made: dict[Path, tuple[Callable[[Path, bytes], object], bytes]] = {}
    texts: list[str] = []
    document: dict[str, object] = {}
    if path is not None:
        if name is None:
            raise click.UsageError("--name says whose log it is")
        key = make_key(name, token_bytes(_SEED_BYTES))
        public, verifies = path.with_name(f"{path.name}.pub"), str(key.verification)
        made[path] = create_private, key.written()
        made[public] = create_public, f"{verifies}\n".encode()
        texts += [f"{path}: signs, for audit.key", f"{public}: verifies", verifies]
        shown_key = {} if manner.dry_run else {"verification_key": verifies}
        document |= {"private": str(path), "public": str(public), **shown_key}
    if subjects_key is not None:
        made[subjects_key] = create_private, PseudonymKey(token_bytes(KEY_BYTES)).written()
        document["subjects_key"] = str(subjects_key)
        texts.append(f"{subjects_key}: makes pseudonyms, for audit.subjects_key")
    with ExitStack() as locks:
        for each in made:
            locks.enter_context(writer_lock(each))
            require_free(each)
        if manner.dry_run:
            texts = [f"{' and '.join(map(str, made))} would be made"]
        else:
            for each, (create, content) in made.items():
                create(each, content)
    manner.answer("\n".join(texts), document)


@click.command(name="verify")
@log_argument
@click.option("--key", "key_path", type=PATH, help="The key that verifies: PATH.pub of `create-key`.")
@click.option("--chain-only", is_flag=True, help="Do without checkpoints: finds edits, no chain made anew.")
@click.option(
    "--checkpoints",
    "others",
    type=PATH,
    multiple=True,
    help="Another file of checkpoints, beside LOG.checkpoints. May be given more than once.",
)
@click.option("--archived", is_flag=True, help="Older files than those beside LOG need not be there.")
@click.option(
    "--max-age",
    type=Interval(),
    metavar="2d|never",
    # twice the longest audit.checkpoint_s; without new lines a proxy signs twice a day
    default="2d",
    show_default=True,
    help="How old the newest checkpoint may be. `never` for a log that nobody writes to any more.",
)
@json_option
def verify_command(  # noqa: PLR0913 - one parameter an option
    log: Path,
    key_path: Path | None,
    chain_only: bool,
    others: tuple[Path, ...],
    max_age: timedelta | None,
    *,
    archived: bool,
    as_json: bool,
) -> None:
    """Read the audit log at LOG, with all files it was renamed to, and say what was changed and where.

    Every line is held against the one before it, and all of them against the signed checkpoints. Exit code 1
    when anything is found. What was written after the last checkpoint is fixed by the chain alone: the answer
    says how many lines that are.

    Exit code 1 also when the newest checkpoint is older than --max-age: then nothing is signed any more, no
    proxy runs, or the end of the log was cut off together with its checkpoints.

    \b
    Examples:
      sealwire audit verify /var/log/sealwire/audit.jsonl --key audit.key.pub
      sealwire audit verify audit.jsonl --key audit.key.pub --checkpoints /mnt/worm/clinic.checkpoints --json
      sealwire audit verify evidence/audit.jsonl --key audit.key.pub --max-age never
      sealwire audit verify audit.jsonl --chain-only
    """
    if chain_only == (key_path is not None):
        raise click.UsageError("give --key, or --chain-only to do without")
    places = (*LogPlace(log).checkpoints, *others)
    files = files_to_verify(log)
    if not files and not any(each.exists() for each in places):
        # where a checkpoint tells of lines, they were emptied or taken away: that is what is found then
        existing_files(log)
    report = LogReport()
    checkpoints = {}
    if key_path is not None:
        key = load_verification_key(key_path)
        checkpoints = read_checkpoints(places, key, report)
    size = sum(each.stat().st_size for each in files)
    with progress_bar("reading", size) as progress:
        verify(files, checkpoints, report, progress, archived=archived)
    age = None if report.signed_at is None else datetime.now(UTC) - report.signed_at
    is_stale = age is not None and max_age is not None and age > max_age
    if as_json:
        print_json(_document(report, files, age, is_stale=is_stale))
    else:
        _show(report, files, chain_only=chain_only)
        if is_stale and age is not None:
            old = f"{age.days} days" if age.days else f"{age.seconds // 3600} hours"
            click.echo(f"the newest checkpoint is {old} old, more than --max-age allows")
    sys.exit(0 if report.is_whole and not is_stale else EX_NO)


def _show(report: LogReport, files: list[Path], *, chain_only: bool) -> None:
    if report.flaws:
        rows = [(_place(each), each.kind.value, each.detail) for each in report.flaws]
        show_table(("where", "what", "more"), rows)
    if report.more:
        click.echo(f"and {report.more} more")
    read = f"{report.read} lines in {len(files)} file{'s' * (len(files) > 1)}"
    if chain_only:
        click.echo(f"{read}: {'one chain' if report.is_whole else 'not whole'}; no checkpoint was looked at")
        return
    signed = f"signed up to line {report.signed} of {report.lines}"
    if report.signed_at is not None:
        signed += f", at {report.signed_at.isoformat(timespec='seconds')}"
    click.echo(f"{read}: {'whole' if report.is_whole else 'not whole'}; {signed}")


def _place(flaw: Flaw) -> str:
    spot = flaw.spot
    return "" if spot.path is None else f"{spot.path.name}:{spot.line}"


def _document(
    report: LogReport, files: list[Path], age: timedelta | None, *, is_stale: bool
) -> dict[str, Any]:
    return {
        "whole": report.is_whole,
        "files": [str(each) for each in files],
        "lines": report.lines,
        "read": report.read,
        "signed": report.signed,
        "signed_at": None if report.signed_at is None else report.signed_at.isoformat(),
        "signed_age_s": None if age is None else round(age.total_seconds()),
        "stale": is_stale,
        "checkpoints": report.checkpoints,
        "flaws": [
            {
                "flaw": each.kind.name.lower().replace("_", "-"),
                "file": None if each.spot.path is None else str(each.spot.path),
                "line": each.spot.line,
                "meaning": each.kind.value,
                "detail": each.detail,
            }
            for each in report.flaws
        ],
        "more": report.more,
    }


_LOOK_S = 0.2
_COUNT = click.IntRange(0, 100_000)
_FIRST = ("time", "event", "user", "client", "namespace", "command", "outcome", "reason")
_MAX_PERSONS = 2
_LEFT_OUT = frozenset({"n", "prev", "peaks", *_FIRST})


@click.command(name="tail")
@log_argument
@click.option("-n", "--lines", type=_COUNT, default=20, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with the lines to come, until interrupted.")
@click.option("--event", help="Only lines of this event: command, refused, login, login-failed, ...")
@click.option("--user", help="Only lines of this user: NAME@DATABASE.")
@json_option
def tail(log: Path, lines: int, follow: bool, event: str | None, user: str | None, as_json: bool) -> None:
    """Show the last lines of the audit log at LOG. Nothing is verified: `sealwire audit verify` does that.

    \b
    Examples:
      sealwire audit tail /var/log/sealwire/audit.jsonl
      sealwire audit tail audit.jsonl -n 100 --event login-failed
      sealwire audit tail audit.jsonl -f --user ann@admin --json
    """
    wanted = {name: value for name, value in (("event", event), ("user", user)) if value is not None}
    existing_files(log)
    read: dict[int, int] = {}
    last = deque((each for each in _new_lines(log, read) if _fits(each, wanted)), maxlen=lines)
    for each in last:
        _print(each, as_json=as_json)
    while follow:
        time.sleep(_LOOK_S)
        for each in _new_lines(log, read):
            if _fits(each, wanted):
                _print(each, as_json=as_json)


def _new_lines(log: Path, read: dict[int, int]) -> Iterator[Mapping[str, object]]:
    """The lines of a log that were not read yet, from its first file on. Cost: O(what is new), a line a file.

    `read` is how many bytes of a file were read, by its number in the file system: its name may change.
    """
    for path in files_of(log):
        with path.open("rb") as file:
            number = os.fstat(file.fileno()).st_ino
            file.seek(read.get(number, 0))
            for data in iter(lambda: file.readline(MAX_LINE_BYTES), b""):
                if not data.endswith(b"\n") and len(data) < MAX_LINE_BYTES:
                    break
                read[number] = read.get(number, 0) + len(data)
                with suppress(NotALine):
                    yield read_line(data).fields


def _fits(line: Mapping[str, object], wanted: Mapping[str, str]) -> bool:
    return all(line.get(name) == value for name, value in wanted.items())


def _print(line: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(line, sort_keys=True))
        return
    first = [shown(line[name]) for name in _FIRST if name in line]
    rest = [shown(f"{name}={_brief(line[name])}") for name in sorted(line) if name not in _LEFT_OUT]
    click.echo("  ".join([*first, *rest]))


def _brief(value: object) -> str:
    """Counts by class as `nhs:2,notes:1`, and of many persons how many they are."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{amount}" for name, amount in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value)) if len(value) <= _MAX_PERSONS else f"({len(value)})"
    return str(value)


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
    metavar="FIELD",
    multiple=True,
    default=("event", "user"),
    show_default=True,
    help=f"What lines are counted by: {', '.join(BY)}. May be given more than once.",
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
        ("lines that cannot be read", tally.unread),
    )
    more = (f"{len(keys) - top} more rows are left out.",) if len(keys) > top else ()
    table = PageTable.of(tally.columns, map(tally.row, keys[:top]))
    sections = (PageSection("Overview", (), tuple(plots)), PageSection("Counts", more, (), (table,)))
    verdict = unverified(f"{tally.days.total()} lines", tally.unread)
    return ReportPage("Audit report", verdict, facts, sections)


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
