"""`sealwire demo migration` as a user runs it: every claim holds, and nothing is left."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support import warm

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_a_clinic_is_taken_in_and_given_back_while_it_works(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sealwire", "demo", "migration", "--patients", "100", "--json"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = warm.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    story = json.loads(done.stdout)
    assert story["holds"] is True
    assert len(story["chapters"]) == 5
    assert all(check["passed"] for check in story["checks"])
    assert list(tmp_path.iterdir()) == []
