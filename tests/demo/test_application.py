"""Two desks beside each other: what they print is read, compared and summed up, and they end when told to."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sealwire.demo import application as desk
from sealwire.demo.application import Period, desks_at_work
from sealwire.testbed.errors import TestbedError, TestbedReason

ANSWERS = """
import json, os, sys
for place in range(4):
    answer = {"answer": os.environ["MONGODB_URI"][place]} if place < 3 else {"error": "No: {'code': 11600}"}
    print(json.dumps({"place": place, "question": f"q{place}", "ms": 10.0 * place} | answer), flush=True)
sys.stdin.read()
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "desk.py"
    program.write_text(ANSWERS)
    monkeypatch.setattr(desk, "DESK_APP", program)
    return program


def test_answers_are_compared_question_by_question(program: Path, tmp_path: Path) -> None:
    with desks_at_work("abc", "axc", program, tmp_path) as desks:
        wait_for(lambda: desks.compared == 4)
        assert desks.different() == ["q1"]
        assert desks.guarded.period(0) == Period(4, 1, 15.0, 30.0, ("No 11600",))
        assert desks.guarded.period(2) == Period(2, 1, 25.0, 30.0, ("No 11600",))
        assert desks.guarded.period(4) == Period(0, 0, 0.0, 0.0)


def test_a_desk_that_fails_is_reported(program: Path, tmp_path: Path) -> None:
    program.write_text("import sys\nsys.exit('no database')\n")
    with pytest.raises(TestbedError) as caught, desks_at_work("a", "b", program, tmp_path):
        pass
    assert caught.value.reason is TestbedReason.APPLICATION_FAILED
    assert "no database" in (tmp_path / "desk-direct.log").read_text()


def test_a_desk_that_does_not_end_is_killed(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(desk, "_END_S", 0.2)
    with pytest.raises(TestbedError) as caught, desks_at_work("a", "b", program, tmp_path):
        pass
    assert caught.value.reason is TestbedReason.SILENT
