"""`sealwire audit tail`: the last lines of an audit log, and those to come."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import click

from sealwire.audit.files import files_of
from sealwire.audit.line import MAX_LINE_BYTES, NotALine, read_line
from sealwire.cli.audit.options import existing_files, log_argument, shown
from sealwire.cli.options.common import json_option

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
    reader = _Reader(log)
    last = deque((each for each in reader.lines() if _fits(each, wanted)), maxlen=lines)
    for each in last:
        _print(each, as_json=as_json)
    while follow:
        time.sleep(_LOOK_S)
        for each in reader.lines():
            if _fits(each, wanted):
                _print(each, as_json=as_json)


class _Reader:
    """Goes through the files of a log, from the first on, and then on as they grow."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read: dict[int, int] = {}
        """How many bytes of a file were read, by its number in the file system: its name may change."""

    def lines(self) -> Iterator[Mapping[str, object]]:
        """Those that were not read yet. Cost: O(what is new), and a line of each file."""
        for path in files_of(self._log):
            with path.open("rb") as file:
                number = os.fstat(file.fileno()).st_ino
                file.seek(self._read.get(number, 0))
                for data in iter(lambda: file.readline(MAX_LINE_BYTES), b""):
                    if not data.endswith(b"\n") and len(data) < MAX_LINE_BYTES:
                        break
                    self._read[number] = self._read.get(number, 0) + len(data)
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
