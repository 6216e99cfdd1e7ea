"""Child processes end when told, and what they printed can be read."""

import socket
import sys
from pathlib import Path

import pytest

from sealwire.testbed import child
from sealwire.testbed.child import LOOPBACK, MAX_HELD, Child, free_port
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


def test_nobody_else_gets_it_and_a_client_is_refused() -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port))
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((LOOPBACK, port))


def test_a_server_has_it_and_has_it_again() -> None:
    port = free_port()
    for _ in range(2):
        with socket.create_server((LOOPBACK, port)), socket.create_connection((LOOPBACK, port)) as client:
            assert client.getpeername() == (LOOPBACK, port)


def test_two_processes_of_one_server_can_share_it() -> None:
    port = free_port()
    with (
        socket.create_server((LOOPBACK, port), reuse_port=True),
        socket.create_server((LOOPBACK, port), reuse_port=True),
    ):
        pass


def test_so_many_are_held_and_no_more() -> None:
    given = [free_port() for _ in range(MAX_HELD + 10)]
    assert len(set(given[-MAX_HELD:])) == MAX_HELD
    assert len(child._held) == MAX_HELD
