"""`python -m bench` from end to end, with too few rounds to mean anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import report
from bench.canned_backend import CALLS
from bench.machine import describe_machine
from bench.measure import Figure
from bench.micro import MicroFigure
from bench.routes import ROUTES

FIGURE = Figure("find one", "direct", 1e-3, 1e-3, 1e-3, 1.0, 1.0, 1.0, 1.0, 8, 300)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("options", [["--only", "real", "--tls"], ["--only", "canned", "--only", "micro"]])
def test_it_measures_every_operation_over_every_route(options: list[str]) -> None:
    command = [sys.executable, "-m", "bench", "--rounds", "1", "--no-file", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    for name in CALLS:
        assert name in done.stdout
    for route in ROUTES:
        assert done.stdout.count(route) >= len(CALLS)


def test_a_report_is_written_as_json_with_machine_and_versions(tmp_path: Path) -> None:
    micro = MicroFigure("work", 1e-3, 1e-3, 1e-3, 4, 30)
    path = report.write(report.Report(describe_machine(), False, [FIGURE], [], [micro], 2.0), tmp_path)
    written = json.loads(path.read_text())
    assert written["real"][0]["operation"] == "find one"
    assert written["micro"][0]["values"] == 4
    assert written["machine"]["cores"] > 0
    assert written["machine"]["packages"]["pymongo"]
    assert path.parent == tmp_path
