"""What the readers of an audit log share."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.audit.files import files_of
from sealwire.audit.line import FILE_EVENT, MAX_LINE_BYTES, NotALine, read_line
from sealwire.cli.options.common import PATH, settings
from sealwire.cli.output import progress_bar
from sealwire.proxy.session.replies import one_line

MAX_SHOWN = 1024
"""Characters of one field."""

_DATE = click.DateTime(["%Y-%m-%d"])

log_argument = click.argument("log", type=PATH)


@dataclass(frozen=True, slots=True)
class Days:
    """A time from one day to another, both included; None: from ever, for ever."""

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
