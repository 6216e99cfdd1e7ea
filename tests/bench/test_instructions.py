"""The count of instructions: its workloads run, and it says what it lacks."""

import subprocess
import sys

import pytest

from bench.instructions import COUNTS, main
from tests.build_context import ROOT


@pytest.mark.parametrize("workload", COUNTS)
def test_every_workload_can_be_driven(
    workload: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.instructions", workload, "--drive", "2"])
    assert main() == 0
    assert capfd.readouterr().err == ""


@pytest.mark.plain_core  # says that the core is plain
def test_a_plain_core_is_not_counted() -> None:
    command = [sys.executable, "-m", "bench.instructions", "find-one"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "tools/compiled_tree.py --run bench.instructions" in done.stderr
