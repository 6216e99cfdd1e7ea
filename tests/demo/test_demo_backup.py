"""`sealwire demo backup` as a user runs it: every step holds, and nothing is left."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support import warm

pytestmark = pytest.mark.integration


def test_every_step_of_the_backups_story_holds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sealwire", "demo", "backup", "--patients", "100", "--json"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = warm.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    story = json.loads(done.stdout)
    assert story["holds"] is True
    assert len(story["checks"]) == 6
    assert all(check["passed"] for check in story["checks"])
    assert list(tmp_path.iterdir()) == []
