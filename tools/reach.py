"""Which test runs which line of a room, so that a fault is shown to no test that cannot notice it.

The room's tests run once under coverage.py, each with fixtures and caches of its own: what one would leave
behind for others, each of them then makes itself.
"""

import functools
import gc
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from coverage import Coverage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.mutants import Mutant  # noqa: E402 - found by the line above

SLOW_TEST_S = 0.3
"""A test that takes longer comes after all quick ones."""


@dataclass(slots=True)
class Reach:
    """What a run of a room's tests showed."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Of each test, by the name that pytest gives it: processor time."""
    lines: dict[tuple[str, int], frozenset[str]] = field(default_factory=dict)
    """Of a module's path and a line: the tests that run it."""
    imported: set[tuple[str, int]] = field(default_factory=set)
    """The lines that run before the first test, while modules are imported and tests collected."""

    def of_lines(self, module: str, lines: range) -> set[str]:
        """The tests that run one of the lines."""
        return set().union(*(self.lines.get((module, line), ()) for line in lines))

    def is_imported(self, module: str, lines: range) -> bool:
        """Whether one of the lines runs at import, so that what it made then is what the tests meet."""
        return any((module, line) in self.imported for line in lines)

    def of_module(self, module: str) -> set[str]:
        """The tests that run any line of a function of the module."""
        return set().union(*(tests for (each, _), tests in self.lines.items() if each == module))


class _Switch:
    """A pytest plugin: a line's context is the test that runs it. In `make coverage` it is the module."""

    def __init__(self, measuring: Coverage) -> None:
        self._measuring = measuring

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._measuring.switch_context(item.nodeid)


def begin(modules: Iterable[str]) -> Coverage:
    """Measure from now on, which is before these modules are imported."""
    measuring = Coverage(
        data_file=None, config_file=False, include=[str(ROOT / module) for module in modules]
    )
    measuring.start()
    return measuring


def measure(items: Sequence[pytest.Item], measuring: Coverage) -> Reach:
    """Run the tests in this process. It takes about a third longer than they do."""
    gc.unfreeze()  # what tests/conftest.py froze is not among the objects
    caches = [each for each in gc.get_objects() if issubclass(type(each), functools._lru_cache_wrapper)]
    plugins = items[0].config.pluginmanager
    plugins.register(_Switch(measuring), "reach")
    reach = Reach()
    for item in items:
        for cache in caches:
            cache.cache_clear()
        begun = time.process_time()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)  # its fixtures end with it
        reach.seconds[item.nodeid] = time.process_time() - begun
    measuring.stop()
    plugins.unregister(name="reach")
    data = measuring.get_data()
    same: dict[frozenset[str], frozenset[str]] = {}
    for file in data.measured_files():
        module = os.path.relpath(os.path.realpath(file), ROOT)
        for line, contexts in data.contexts_by_lineno(file).items():
            tests = frozenset(contexts) - {""}
            if len(tests) < len(contexts):
                reach.imported.add((module, line))
            if tests:
                reach.lines[module, line] = same.setdefault(tests, tests)
    return reach


def in_turn(mutant: Mutant, items: Sequence[pytest.Item], reach: Reach) -> list[pytest.Item]:
    """The tests that can notice a fault, those that likely do so soonest first."""
    if mutant.function:
        able = reach.of_lines(mutant.module, mutant.place)
        near = able
    else:
        able, near = {item.nodeid for item in items}, reach.of_module(mutant.module)
    own = f"test_{Path(mutant.module).name}"

    def rank(item: pytest.Item) -> tuple[bool, bool, bool, float]:
        seconds = reach.seconds.get(item.nodeid, 0.0)
        return seconds > SLOW_TEST_S, item.path.name != own, item.nodeid not in near, seconds

    return sorted((item for item in items if item.nodeid in able), key=rank)
