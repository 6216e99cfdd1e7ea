"""What held on the server: a row for each part, as a table for people or as JSON for programs."""

import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from tests.integration.differential.campaign import SHAPES, both_ways, compare_many
from tests.integration.differential.shapes import draw_shapes, policy_yaml
from tests.integration.outside.chosen import STANDALONE
from tests.integration.outside.server import Server

_HEAD = ("part", "counted", "held", "refused", "differed", "not applicable")
_WIDTHS = (16, 20, 8, 9, 10, 16)
_LAST_LINES = 40
"""How much of a difference the table shows; the JSON has all of it."""


@dataclass(slots=True)
class Row:
    """One part. `counted` says of what the figures are: commands, or tests."""

    part: str
    counted: str
    held: int = 0
    """Commands with the same answer both ways, or the same error; tests that passed."""
    refused: Counter[str] = field(default_factory=Counter)
    """Commands that Sealwire refused, by reason: nothing to compare."""
    differences: list[tuple[str, str]] = field(default_factory=list)
    """What differed, and how."""
    not_applicable: Counter[str] = field(default_factory=Counter)
    """What this server, this user or this machine cannot do, by reason."""

    @property
    def figures(self) -> tuple[int, int, int, int]:
        """Held, refused, differed, not applicable."""
        return self.held, self.refused.total(), len(self.differences), self.not_applicable.total()

    def to_json(self) -> dict[str, object]:
        """The row for programs."""
        return {
            **{"part": self.part, "counted": self.counted, "held": self.held, "refused": dict(self.refused)},
            "differed": [{"what": what, "how": how} for what, how in self.differences],
            "not_applicable": dict(self.not_applicable),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """One run. `left` are databases of the run that could not be dropped."""

    server: Server
    prefix: str
    seed: int
    rows: Sequence[Row]
    left: Sequence[str] = ()

    @property
    def differed(self) -> bool:
        """Whether anything did."""
        return any(row.differences for row in self.rows)

    def to_json(self) -> dict[str, object]:
        """Everything, for programs; no address and no user."""
        server = self.server
        return {
            "server": {
                **{"version": server.version, "replica_set": server.replica_set},
                **{"members": len(server.members), "logins": bool(server.login)},
                "tls": server.tls.get("mode") != "plaintext",
            },
            **{"prefix": self.prefix, "seed": self.seed, "differed": self.differed},
            **{"parts": [row.to_json() for row in self.rows], "left": list(self.left)},
        }

    def lines(self) -> list[str]:
        """The table, then what differed, why commands were refused, and what did not apply."""
        rows = [(row.part, row.counted, *map(str, row.figures)) for row in self.rows]
        lines = [self._server(), "", *(_aligned(cells) for cells in (_HEAD, *rows)), ""]
        for row in self.rows:
            lines += [f"differed: {what}\n{_end_of(how)}\n" for what, how in row.differences]
        lines += _reasons("refused", [row.refused for row in self.rows])
        lines += _reasons("not applicable", [row.not_applicable for row in self.rows])
        lines += [f"could not be dropped: {name}" for name in self.left]
        return [*lines, "Something differed." if self.differed else "Nothing differed."]

    def _server(self) -> str:
        server = self.server
        kind = f"a replica set of {len(server.members)}" if server.replica_set else "standalone"
        login = "with a login" if server.login else "without a login"
        tls = "without TLS" if server.tls.get("mode") == "plaintext" else "with TLS"
        return f"server of version {server.version}, {kind}, {login}, {tls}; seed {self.seed}"


def _aligned(cells: Sequence[str]) -> str:
    first, second, *figures = zip(cells, _WIDTHS, strict=True)
    left = "".join(f"{cell:<{width}}" for cell, width in (first, second))
    return left + "".join(f"{cell:>{width}}" for cell, width in figures)


def _reasons(title: str, counters: Sequence[Counter[str]]) -> list[str]:
    total = sum(counters, Counter[str]())
    return [f"{title}: {count:>6}  {reason}" for reason, count in total.most_common()]


def _end_of(text: str) -> str:
    return "\n".join(text.splitlines()[-_LAST_LINES:])


# Generated sequences on the server: such as are answered, and such as MongoDB rejects.


MALFORMED_SHARE = 0.3
"""How many malformed sequences are run for each of the others."""


def run_campaigns(folder: Path, seed: int, examples: int) -> list[Row]:
    """A row for each of the two. `folder` takes the files of the proxies."""
    return [
        _campaign(folder / "answered", seed, examples, malformed=False),
        _campaign(folder / "malformed", seed, int(examples * MALFORMED_SHARE), malformed=True),
    ]


def _campaign(folder: Path, seed: int, examples: int, *, malformed: bool) -> Row:
    row = Row("differential", "malformed commands" if malformed else "commands")
    sys.stderr.write(f"{examples} generated sequences of {row.counted}\n")
    shapes = draw_shapes(seed, SHAPES)
    with both_ways(folder, policy_yaml(shapes)) as runner:
        try:
            compare_many(runner, shapes, seed, examples, malformed=malformed)
        except (AssertionError, PyMongoError) as error:
            how = "".join(traceback.format_exception_only(error))
            row.differences.append((f"a sequence of {row.counted}, made small", how))
        tally = runner.tally
    row.refused = tally.reasons
    # Where something differed, the search for a smaller sequence is counted as well.
    row.held = tally.commands - tally.refused - len(row.differences)
    if tally.left_out:
        row.not_applicable[STANDALONE] = tally.left_out
    return row


# Files of tests on the server, run by pytest in this process.


_FOLDER = Path(__file__).parents[1]
_ROOT = _FOLDER.parents[1]

FILES: dict[str, tuple[str, ...]] = {
    "differential": ("test_differential.py", "test_joins.py", "test_forwarding.py"),
    "conversations": (
        *("test_scripted_differential.py", "test_newly_answered.py"),
        *("test_views.py", "test_bulk_write.py"),
    ),
    "drivers": ("test_drivers.py", "test_mongosh.py"),
    "enforcement": ("test_enforce.py",),
}
"""The files of each part, in `tests/integration`."""


def run_files(parts: Sequence[str], folder: Path) -> list[Row]:
    """A row for each part. pytest writes its progress to standard error, and test files below `folder`.

    Where pytest itself fails, as on a file that it cannot import, that counts as a difference.

    Raises:  KeyboardInterrupt when the user ended it
    """
    rows = {part: Row(part, "tests") for part in parts}
    counting = _Counting({name: rows[part] for part in parts for name in FILES[part]})
    # the report has what pytest would print of failures, and hides the password in it
    options = ["-p", "no:cacheprovider", "--no-summary", "--tb=short", "-m", "integration and not slow"]
    options += [f"--rootdir={_ROOT}", f"--config-file={_ROOT / 'pyproject.toml'}", f"--basetemp={folder}"]
    with redirect_stdout(sys.stderr):
        code = pytest.main([*options, *(str(_FOLDER / name) for name in counting.rows)], plugins=[counting])
    if code is pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    for part, row in rows.items():
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or not any(row.figures):
            row.differences.append((part, f"pytest ended with {code!r}"))
    return list(rows.values())


class _Counting:
    """A plugin of pytest that counts into the row of each file what became of its tests."""

    def __init__(self, rows: dict[str, Row]) -> None:
        self.rows = rows

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        name = Path(report.nodeid).name
        if report.failed and name in self.rows:
            self.rows[name].differences.append((report.nodeid, report.longreprtext))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = self.rows[Path(report.nodeid.partition("::")[0]).name]
        if report.failed:
            row.differences.append((report.nodeid, report.longreprtext))
        elif report.skipped:
            row.not_applicable[_reason(report)] += 1
        elif report.when == "call":
            row.held += 1


def _reason(report: pytest.TestReport) -> str:
    said = report.longrepr
    return said[2].removeprefix("Skipped: ") if isinstance(said, tuple) else str(said)
