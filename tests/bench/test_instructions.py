"""An operation takes no more instructions than it did in the compiled core, nor does what is around it."""

import shutil
import subprocess
import sys

import pytest

from bench.instructions import MOST
from bench.workloads import FIND_100, FIND_ONE
from tests.build_context import ROOT
from tests.support.skips import skip_in_samples

NO_TOOL = 78
AROUND = 16_500
"""Counted were 14,100 and 15,000: event loop, connection, and what runs now and then."""


@pytest.mark.slow(minutes=2)
@pytest.mark.integration
@pytest.mark.parametrize("workload", MOST)
def test_no_operation_takes_more_instructions_than_it_did(workload: str) -> None:
    if workload not in {FIND_ONE, FIND_100}:
        skip_in_samples("counting instructions")
    done = _run("bench.instructions", workload, "--check")
    if done.returncode == NO_TOOL:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow(minutes=2)
@pytest.mark.integration
def test_the_whole_proxy_takes_little_more_than_its_session() -> None:
    skip_in_samples("counting the instructions of a whole proxy")
    if shutil.which("valgrind") is None:
        pytest.skip("there is no valgrind")
    whole, session = (
        int(_run(module, FIND_ONE).stdout.rpartition(f"{FIND_ONE}: ")[2].split()[0].replace(",", ""))
        for module in ("bench.process_instructions", "bench.instructions")
    )
    assert session < whole < session + AROUND


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/compiled_tree.py", "--run", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
