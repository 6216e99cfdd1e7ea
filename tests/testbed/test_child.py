"""Child processes end when told, and what they printed can be read."""

import sys
from pathlib import Path

import pytest

from sealwire.testbed.child import Child
from sealwire.testbed.errors import TestbedError, TestbedReason

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def wait_for_output(child: Child, text: str) -> None:
    while text not in child.last_lines():
        assert child.exit_code is None


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "print('one'); print('two'); raise SystemExit(3)"], tmp_path / "log")
    while child.exit_code is None:
        pass
    assert child.exit_code == 3
    assert child.last_lines() == "one\ntwo"
    assert child.stop() == 3


def test_stop_ends_it_with_sigterm(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"], tmp_path / "log"
    )
    wait_for_output(child, "ready")
    assert child.stop() == -15
    assert child.stop() == -15


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.testbed.child.TERMINATE_WITHIN_S", 0.05)
    child = Child([sys.executable, "-c", STUBBORN], tmp_path / "log")
    wait_for_output(child, "ready")
    assert child.stop() == -9


def test_only_the_end_of_long_output_is_shown(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "for n in range(9000): print(n)"], tmp_path / "log")
    while child.exit_code is None:
        pass
    assert child.last_lines().split() == [str(number) for number in range(8994, 9000)]


def test_a_given_environment_replaces_the_own(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import os; print(sorted(os.environ))"], tmp_path / "log", {"ONLY": "this"}
    )
    while child.exit_code is None:
        pass
    assert "ONLY" in child.last_lines()
    assert "PATH" not in child.last_lines()


def test_waiting_ends_when_it_answers_or_says_why_not(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"], tmp_path / "a"
    )
    child.wait_until(lambda: "ready" in child.last_lines(), "it")
    with pytest.raises(TestbedError) as silent:
        child.wait_until(lambda: False, "it", within_s=0)
    child.stop()
    with pytest.raises(TestbedError) as died:
        child.wait_until(lambda: False, "it")
    assert (silent.value.reason, died.value.reason) == (TestbedReason.SILENT, TestbedReason.DIED)
