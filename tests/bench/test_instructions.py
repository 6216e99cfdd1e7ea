"""The count of instructions: its workloads run, and it says what it lacks."""

import subprocess
import sys

import pytest

from bench.instructions import COUNTS
from tests.build_context import ROOT


def instructions(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.instructions", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workload", COUNTS)
def test_every_workload_can_be_driven(workload: str) -> None:
    done = instructions(workload, "--drive", "2")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.plain_core  # says that the core is plain
def test_a_plain_core_is_not_counted() -> None:
    done = instructions("find-one")
    assert done.returncode == 78
    assert "tools/compiled_tree.py --run bench.instructions" in done.stderr
