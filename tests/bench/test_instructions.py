"""An operation takes no more instructions in the compiled core than it did."""

import subprocess
import sys

import pytest

from tests.build_context import ROOT

NO_TOOL = 78


@pytest.mark.slow(minutes=4)
@pytest.mark.integration
def test_no_operation_takes_more_instructions_than_it_did() -> None:
    command = [sys.executable, "tools/compiled_tree.py", "--run", "bench.instructions", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == NO_TOOL:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout
