"""A watch that is killed again and again counts each line once, and tells of each alert."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sealwire.sidecars.detection.alerts import Alerts
from sealwire.sidecars.detection.state_file import StateFile
from tests.sidecars.detection.logs import append, line, source
from tests.support import warm

pytestmark = pytest.mark.integration

KILLS = 6
PEOPLE = 40


def lines_of(number: int) -> list[dict[str, Any]]:
    """A line of each person."""
    return [line(number / 1000, user=f"u{person}@admin", read={"nhs": 10}) for person in range(PEOPLE)]


def test_a_watch_that_is_killed_counts_each_line_once(tmp_path: Path) -> None:
    config, said = tmp_path / "alerts.yaml", tmp_path / "said"
    config.write_bytes(source(tmp_path, "bulk-read: {at_least: 100}"))
    written, chance = 0, random.Random(7)
    command = [sys.executable, "-m", "sealwire", "watch", str(config)]
    for killed in range(KILLS):
        with said.open("ab") as file, warm.WarmProcess(command, stdout=file) as process:
            deadline = time.monotonic() + 60
            while said.read_bytes().count(b'"watching"') <= killed:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            for _ in range(chance.randrange(3, 15)):  # and then it is killed in the middle of some
                append(tmp_path, lines_of(written))
                written += 1
                time.sleep(0.01)
            process.kill()
    done = warm.run([*command, "--once"], stdout=subprocess.PIPE, check=True)
    with said.open("ab") as file:
        file.write(done.stdout)
    state = StateFile(tmp_path / "watch.sqlite")
    found = Alerts(state).latest(1000, only_open=True)
    assert Alerts(state).untold() == {}
    state.close()
    bulk = [alert for alert in found if alert.rule.value == "bulk-read"]
    # what has become ten times as much is an alert of its own
    last = {dict(alert.about)["user"]: alert.amount for alert in reversed(bulk)}
    assert last == {f"u{person}@admin": 10 * written for person in range(PEOPLE)}
    told = {json.loads(each)["id"] for each in said.read_bytes().splitlines() if b'"alert"' in each}
    assert told == {alert.id for alert in found}
