"""An operation takes no more instructions in the compiled core than it did."""

import subprocess
import sys

import pytest

from bench.instructions import MOST
from bench.workloads import FIND_100, FIND_ONE
from tests.build_context import ROOT
from tests.support.skips import skip_in_samples

NO_TOOL = 78


@pytest.mark.slow(minutes=2)
@pytest.mark.integration
@pytest.mark.parametrize("workload", MOST)
def test_no_operation_takes_more_instructions_than_it_did(workload: str) -> None:
    if workload not in {FIND_ONE, FIND_100}:
        skip_in_samples("counting instructions")
    command = [sys.executable, "tools/compiled_tree.py", "--run", "bench.instructions", workload, "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == NO_TOOL:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout
