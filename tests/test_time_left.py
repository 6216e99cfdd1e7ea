"""Slow tests where a run has only so long: which come first, and which are left out and named."""

import ast
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.build_context import ROOT
from tests.support.memory import peak_memory
from tests.support.time_left import LONGEST, LONGEST_S, VARIABLE, bounded, longest_first, rotated, until

HOOKS = """
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


def run_in(folder: Path, end: float) -> str:
    (folder / "conftest.py").write_text(HOOKS, encoding="utf-8")
    (folder / "test_both.py").write_text(SLOW_AND_QUICK, encoding="utf-8")
    environ = os.environ | {"PYTHONPATH": str(ROOT), VARIABLE: str(end)}
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize(("minutes", "late"), [(1, ["test_slow", "test_longer"]), (15, ["test_longer"])])
def test_a_slow_test_that_would_end_too_late_is_left_out_and_named_and_nothing_is_made_for_it(
    tmp_path: Path, minutes: int, late: list[str]
) -> None:
    printed = run_in(tmp_path, time.time() + 60 * minutes)
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
    (tmp_path / "conftest.py").write_text(bound + HOOKS, encoding="utf-8")
    (tmp_path / "test_still.py").write_text(STILL, encoding="utf-8")
    environ = {name: text for name, text in os.environ.items() if name != VARIABLE}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        os.devnull,
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "threading.Event().wait()" in done.stdout


@pytest.mark.parametrize(
    ("test", "all_of_them", "seconds"),
    [
        (of("a", "quick", slow=False), False, LONGEST_S),
        (of("a", "slow"), False, None),
        (of("a", "slow"), True, LONGEST_S),
        (of("a", "longer", minutes=20), True, 2 * 20 * 60),
    ],
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


@pytest.mark.parametrize(
    "wrapper",
    ["asyncio.run(scenario())", "asyncio.Runner()", "loop.run_until_complete(work)", "uvloop.run(work)"],
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
