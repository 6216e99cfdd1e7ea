"""Files of tests on the server, run by pytest in this process."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.integration.outside.report import Row

_FOLDER = Path(__file__).parents[1]
_ROOT = _FOLDER.parents[1]

FILES: dict[str, tuple[str, ...]] = {
    "differential": ("test_differential.py", "test_joins.py", "test_forwarding.py"),
    "conversations": ("test_scripted_differential.py", "test_bulk_write.py"),
    "drivers": ("test_drivers.py",),
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
