"""Tests that run in several processes: each is reported as in one, also where a process ends too early."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.build_context import ROOT
from tests.support.processes import STANDS_STILL_S

HOOKS = """
import os
import pytest
from tests.support import processes

def pytest_addoption(parser):
    processes.add_option(parser)
    if os.environ.get("TELLS_WATCH"):
        processes.faulthandler.dump_traceback_later = tell_watch

def tell_watch(after, file):
    os.write(file, f"watched for {after} s\\n".encode())

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    return processes.run_loop(session)

@pytest.fixture(scope="session")
def shared():
    yield os.getpid()
    if os.environ.get("BAD_END"):
        raise OSError("the end")

@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    return tmp_path_factory.mktemp(request.module.__name__, numbered=False)
"""
GOOD = """
import os, pytest

@pytest.mark.parametrize("number", range(3))
def test_good(number, shared, place):
    assert os.getpid() == shared
    print("said by a good one")
"""
BAD = """
def test_bad(shared):
    print("said before")
    assert shared == 0

def test_skipped():
    import pytest
    pytest.skip("no reason")
"""
KILLED = """
import os

def test_before():
    pass

def test_killed():
    os.kill(os.getpid(), 9)

def test_after():
    pass
"""


def run(
    folder: Path, tests: dict[str, str], *options: str, **environ: str
) -> "subprocess.CompletedProcess[str]":
    (folder / "conftest.py").write_text(HOOKS, encoding="utf-8")
    for name, text in tests.items():
        (folder / f"test_{name}.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-rfE", "-c", os.devnull, "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *options, str(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def figures(done: "subprocess.CompletedProcess[str]") -> str:
    """The last line, without how long it took."""
    return re.sub(r" in .*", "", done.stdout.splitlines()[-1].strip("= "))


@pytest.mark.parametrize("processes", ["0", "1", "2", "9"])
def test_what_becomes_of_each_test_is_reported(tmp_path: Path, processes: str) -> None:
    done = run(tmp_path, {"good": GOOD, "good_too": GOOD, "bad": BAD}, "--processes", processes)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert figures(done) == "1 failed, 6 passed, 1 skipped"
    # what a test prints is its own
    assert "said before" in done.stdout
    assert "said by" not in done.stdout
    assert "FAILED test_bad.py::test_bad - assert" in done.stdout


def test_tests_that_follow_a_killed_process_fail_and_it_is_said_which_killed_it(tmp_path: Path) -> None:
    done = run(tmp_path, {"good": GOOD, "killed": KILLED}, "--processes", "2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert figures(done) == "1 failed, 4 passed"
    assert re.search(r"FAILED test_killed.py::test_killed.* \(-9\)", done.stdout)


def test_files_that_no_process_is_left_for_fail(tmp_path: Path) -> None:
    done = run(tmp_path, {"a": KILLED, "b": GOOD, "c": GOOD}, "--processes", "1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert figures(done) == "3 failed, 1 passed"
    assert re.findall(r"FAILED \S*test_(\w)\.py", done.stdout) == ["a", "b", "c"]


def test_a_fixture_of_the_session_that_fails_at_its_end_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, {"good": GOOD}, "--processes", "2", BAD_END="1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "OSError: the end" in done.stderr


def test_the_run_ends_at_the_failure_that_it_was_told(tmp_path: Path) -> None:
    """Also one in the background, which a shell lets ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    still = "import threading\ndef test_still():\n    threading.Event().wait()\n"
    try:
        done = run(tmp_path, {"bad": BAD, "still": still}, "--processes", "2", "--maxfail", "1")
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert figures(done).startswith("1 failed")


def test_each_file_is_watched_for_standing_still(tmp_path: Path) -> None:
    done = run(tmp_path, {"good": GOOD, "good_too": GOOD}, "--processes", "1", TELLS_WATCH="1")
    assert figures(done) == "6 passed"
    assert done.stderr.splitlines() == [f"watched for {STANDS_STILL_S} s"] * 2
