"""Which processes are known to have ended, and which stand in each other's way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sealwire.sidecars.migration.windows.workers import Process, Worker

ME = Process.of_this_one()


def test_a_process_of_this_machine_is_known_to_run_or_to_have_ended() -> None:
    assert not ME.has_ended
    assert ME._replace(started=ME.started + 1).has_ended  # another one has its number now
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert ME._replace(pid=child.pid).has_ended


def test_one_that_nobody_has_waited_for_has_ended() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    started = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[19])
    assert ME._replace(pid=child, started=started).has_ended
    os.waitpid(child, 0)


def test_of_another_machine_nothing_is_known() -> None:
    assert not ME._replace(machine="another", pid=2**22 + 1).has_ended
    assert not ME._replace(machine="", pid=2**22 + 1).has_ended


BEFORE = Worker("a", "job-1", 7, 2, frozenset({"clinic.patients nhs"}), ME)


@pytest.mark.parametrize(
    ("other", "stands_in_the_way"),
    [
        (BEFORE, False),
        (BEFORE._replace(job="job-2"), False),
        (BEFORE._replace(new_version=3, paths=frozenset()), True),
        (BEFORE._replace(class_id=8), True),
        (BEFORE._replace(class_id=8, paths=frozenset({"clinic.patients mrn"})), False),
    ],
)
def test_another_move_is_one_of_the_same_values_to_another_version(
    other: Worker, *, stands_in_the_way: bool
) -> None:
    assert BEFORE.is_of_another_move(other) is other.is_of_another_move(BEFORE) is stands_in_the_way
