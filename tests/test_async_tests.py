"""Asynchronous tests are coroutines, which pytest-asyncio runs; none makes a loop of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build_context import ROOT

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
