"""Tests that run in several processes: each is reported as in one, also where a process ends too early."""

import ast
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.build_context import ROOT
from tests.support import warm
from tests.support.memory import peak_memory
from tests.support.processes import STANDS_STILL_S
from tests.support.rows import rows
from tests.support.runs import ran
from tests.support.time_left import LONGEST, LONGEST_S, VARIABLE, bounded, longest_first, rotated, until
from tests.support.warm import SEALWIRE, WarmProcess

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
    return ran(
        [*command, *options, str(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environ,
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


# `sealwire` from a process that has imported it: as the program itself, in all that a test can see.


CLONE_NEWNET = 0x40000000
POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""


@pytest.mark.integration
@rows(
    "words",
    ["--version"],
    ["keys", "--help"],
    ["keys", "create", "--keyring", "here/keyring.json"],
    ["nonsense"],
    ["policy", "check", "missing.yaml"],
    ids=" ".join,
)
def test_it_ends_and_says_the_same(tmp_path: Path, words: list[str]) -> None:
    environ = {"PATH": os.environ["PATH"], "COLUMNS": "60"}
    ended = [
        run([*SEALWIRE, *words], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        for run in (warm.run, subprocess.run)
    ]
    assert (ended[0].returncode, ended[0].stdout, ended[0].stderr) == (
        ended[1].returncode,
        ended[1].stdout,
        ended[1].stderr,
    )


@contextmanager
def reading(folder: Path) -> Iterator[WarmProcess]:
    """A command that waits for its standard input."""
    (folder / "policy.yaml").write_text(POLICY)
    words, pipe = ("policy", "explain", "policy.yaml", "-", "--json"), subprocess.PIPE
    with WarmProcess([*SEALWIRE, *words], cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    with reading(tmp_path) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait() == -number
        process.kill()  # nobody: its number may be another's by now


@pytest.mark.integration
def test_it_reads_what_it_is_given(tmp_path: Path) -> None:
    with reading(tmp_path) as process:
        out, _ = process.communicate(b'{"find": "patients", "$db": "clinic"}', timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["namespace"] == "clinic.patients"


@pytest.mark.integration
def test_it_is_in_the_network_of_the_thread_that_starts_it(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a network of our own needs root")
    places = []

    def apart() -> None:
        if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
            places.append(Path("/proc/thread-self/ns/net").readlink())
            with reading(tmp_path) as process:
                places.append(Path(f"/proc/{process.pid}/ns/net").readlink())
                process.kill()

    thread = threading.Thread(target=apart)
    thread.start()
    thread.join()
    if not places:
        pytest.skip("this machine makes no networks")
    assert places == [places[0]] * 2


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds the forked `sealwire`."""
    return {"PATH": f"{warm.launchers()}:{os.environ['PATH']}", "HOME": str(tmp_path), "COLUMNS": "60"}


@pytest.mark.integration
@rows("words", "--version", "nonsense", "policy check missing.yaml", "policy check <(echo 'version: 2')")
def test_a_shell_reads_the_same(shell: dict[str, str], tmp_path: Path, words: str) -> None:
    real = Path(sys.executable).with_name("sealwire")
    ended = [
        ran(
            ["bash", "-c", f"umask 077; {program} {words} > out; echo $?; stat -c %a out; cat out"],
            env=shell,
            cwd=tmp_path,
        )
        for program in ("sealwire", real)
    ]
    assert (ended[0].stdout, ended[0].stderr) == (ended[1].stdout, ended[1].stderr)


@pytest.mark.integration
def test_what_it_makes_for_a_shell_has_the_shells_mask(shell: dict[str, str], tmp_path: Path) -> None:
    for mask in ("022", "077"):
        made = f"umask {mask}; sealwire config init --topology demo --output {mask}.yaml"
        subprocess.run(["bash", "-c", made], env=shell, cwd=tmp_path, check=True)
    modes = [(tmp_path / f"{mask}.yaml").stat().st_mode & 0o777 for mask in ("022", "077")]
    assert modes == [0o644, 0o600]


def waiting(pid: int) -> list[int]:
    """The processes that read what a shell's command was to read, besides itself."""
    place = Path(f"/proc/{pid}/fd/0").readlink()
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(each.name) not in (pid, os.getpid()) and (each / "fd" / "0").readlink() == place:
                found.append(int(each.name))
    return found


@pytest.mark.integration
@rows("number, code", (signal.SIGTERM, -15), (signal.SIGUSR1, -10), (signal.SIGKILL, -9))
def test_a_shells_signal_ends_both(
    shell: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    command = [str(warm.launchers() / "sealwire"), "policy", "explain", "policy.yaml", "-"]
    pipe, deadline = subprocess.PIPE, time.monotonic() + 60
    with subprocess.Popen(command, env=shell, cwd=tmp_path, stdin=pipe, stderr=pipe) as process:
        while not waiting(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(60) == code
        process.communicate()  # it would wait for one that has the other end
    assert time.monotonic() < deadline


@pytest.mark.integration
def test_any_other_program_is_started_as_ever() -> None:
    assert warm.run(["cat"], input="text", capture_output=True, text=True).stdout == "text"


# Slow tests where a run has only so long: which come first, and which are left out and named.


ORDERING_HOOKS = """
from tests.conftest import pytest_collection_modifyitems, pytest_runtest_setup, pytest_terminal_summary
"""
SLOW_AND_QUICK = """
import pytest

def test_quick():
    pass

@pytest.fixture
def dear():
    raise AssertionError("made for a test that does not run")

@pytest.mark.slow
def test_slow(dear):
    pass

@pytest.mark.slow(minutes=20)
def test_longer(dear):
    pass
"""


def of(path: str, name: str, slow: bool = True, **declared: float) -> Any:
    mark = SimpleNamespace(kwargs=declared) if slow else None
    return SimpleNamespace(path=path, name=name, get_closest_marker=lambda _: mark)


TESTS = [of("a", "1"), of("a", "2"), of("b", "3"), of("b", "quick", slow=False), of("c", "4")]


@pytest.mark.parametrize(("drawn", "order"), [(0, "1234"), (1, "3412"), (2, "4123"), (3, "1234")])
def test_each_module_of_slow_tests_comes_first_in_its_turn(drawn: int, order: str) -> None:
    assert [test.name for test in rotated(TESTS, drawn)] == ["quick", *order]


@pytest.mark.parametrize(("drawn", "order"), [(0, "5674812"), (1, "5674128"), (2, "5674812")])
def test_modules_that_say_how_long_they_take_come_first_the_longest_before(drawn: int, order: str) -> None:
    long = [of("x", "4", minutes=7), of("y", "5", minutes=4), of("y", "6"), of("y", "7", minutes=4)]
    tests = [of("z", "8"), *long, of("a", "1"), of("a", "2")]
    assert "".join(test.name for test in rotated(tests, drawn)) == order


def test_without_slow_tests_all_stay_where_they_are() -> None:
    quick = [of("a", "1", slow=False), of("b", "2", slow=False)]
    assert rotated(quick, 1) == quick


@pytest.mark.parametrize("environ", [{}, {VARIABLE: ""}])
def test_a_run_ends_at_no_time_unless_it_is_told_to(environ: dict[str, str]) -> None:
    assert until(environ) is None


def pytest_in(folder: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: text for name, text in os.environ.items() if name != VARIABLE}
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", str(folder)]
    return ran(command, cwd=folder, env=kept | {"PYTHONPATH": str(ROOT)} | environ, timeout=60)


@pytest.mark.parametrize(("minutes", "late"), [(1, ["test_slow", "test_longer"]), (15, ["test_longer"])])
def test_a_slow_test_that_would_end_too_late_is_left_out_and_named_and_nothing_is_made_for_it(
    tmp_path: Path, minutes: int, late: list[str]
) -> None:
    (tmp_path / "conftest.py").write_text(ORDERING_HOOKS, encoding="utf-8")
    (tmp_path / "test_both.py").write_text(SLOW_AND_QUICK, encoding="utf-8")
    printed = pytest_in(tmp_path, **{VARIABLE: str(time.time() + 60 * minutes)}).stdout
    assert f"left out, since no time was left: {len(late)} " in printed
    assert re.findall(r"test_both\.py::(\w+)$", printed, re.MULTILINE) == late
    assert f"1 passed, {len(late)} skipped" in printed
    # where there is time for it, the fixture is asked for
    assert ("made for a test that does not run" in printed) is (len(late) == 1)


STILL = """
import threading

def test_still():
    threading.Event().wait()
"""


def test_a_test_that_stands_still_fails_and_says_where(tmp_path: Path) -> None:
    bound = "from tests.support import time_left\ntime_left.LONGEST_S = 0.2\n"
    (tmp_path / "conftest.py").write_text(bound + ORDERING_HOOKS, encoding="utf-8")
    (tmp_path / "test_still.py").write_text(STILL, encoding="utf-8")
    done = pytest_in(tmp_path)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "threading.Event().wait()" in done.stdout


@rows(
    "test, all_of_them, seconds",
    (of("a", "quick", slow=False), False, LONGEST_S),
    (of("a", "slow"), False, None),
    (of("a", "slow"), True, LONGEST_S),
    (of("a", "longer", minutes=20), True, 2 * 20 * 60),
)
def test_slow_tests_are_bounded_where_their_sizes_are_known(
    test: Any, all_of_them: bool, seconds: float | None
) -> None:
    marks: list[pytest.MarkDecorator] = []
    test.add_marker = marks.append
    bounded(test, all_of_them=all_of_them)
    assert [mark.args for mark in marks] == ([(seconds,)] if seconds else [])


# The longest test files come first.


def of_file(path: str, name: str) -> Any:
    return SimpleNamespace(path=path, name=name)


def test_files_that_are_listed_come_first_and_stay_whole() -> None:
    tests = [of_file("/t/a.py", "1"), of_file(f"/t/{LONGEST[1]}", "2"), of_file(f"/t/{LONGEST[0]}", "3")]
    tests += [of_file(f"/t/{LONGEST[1]}", "4"), of_file("/t/b.py", "5")]
    assert "".join(test.name for test in longest_first(tests, "/t")) == "32415"


def test_every_file_of_the_list_is_there_once() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


# Asynchronous tests are coroutines, which pytest-asyncio runs; none makes a loop of its own.


LOOP_MAKERS = ("asyncio.run", "asyncio.Runner", "uvloop.run")
LOOP_METHODS = ("run_until_complete", "run_forever", "new_event_loop")


def loops_made_by(source: str) -> Iterator[tuple[int, str]]:
    """Where a source runs a loop: the line, and what is called there."""
    if not any(name in source for name in (*LOOP_MAKERS, *LOOP_METHODS)):
        return  # what does not name one need not be parsed: that takes seconds for all tests
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in LOOP_MAKERS or called.rpartition(".")[2] in LOOP_METHODS:
                yield node.lineno, called


@rows(
    "wrapper",
    "asyncio.run(scenario())",
    "asyncio.Runner()",
    "loop.run_until_complete(work)",
    "uvloop.run(work)",
)
def test_a_wrapper_is_found(wrapper: str) -> None:
    assert [line for line, _ in loops_made_by(f"\n{wrapper}\n")] == [2]


def test_no_test_runs_a_loop_of_its_own() -> None:
    def found(file: Path) -> list[tuple[str, int, str]]:
        relative = file.relative_to(ROOT).as_posix()
        return [(relative, *place) for place in loops_made_by(file.read_text(encoding="utf-8"))]

    # programs of their own are no tests
    others = {"node_modules", "programs"}
    soak = ROOT / "tests" / "soak" / "running.py"  # runs by itself too, for twenty minutes
    files = [
        file for file in (ROOT / "tests").rglob("*.py") if others.isdisjoint(file.parts) and file != soak
    ]
    assert [place for file in files for place in found(file)] == []


# The measure of a command's memory sees the command, and not who starts it.


HELD = 160_000_000
SMALL = 60_000_000


def test_what_a_command_takes_is_measured() -> None:
    holding = f"bytearray({HELD})"
    assert peak_memory([sys.executable, "-I", "-S", "-c", holding], os.environ) > HELD


def test_what_the_starting_process_holds_is_not() -> None:
    held = bytearray(os.urandom(1)) * HELD
    assert peak_memory([sys.executable, "-I", "-S", "-c", "pass"], os.environ) < SMALL < len(held)


def test_a_command_that_fails_is_no_measure() -> None:
    with pytest.raises(AssertionError):
        peak_memory([sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"], os.environ)
