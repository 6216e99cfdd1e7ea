"""What `make coverage` measures: in this process, and in those that a test starts."""

import os
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

START: Final = "COVERAGE_PROCESS_START"
"""With this variable a Python process measures what it runs."""
_NAMES: Final = (START, "SEALWIRE_ROOT", "PYTEST_CURRENT_TEST")


def measuring() -> dict[str, str]:
    """The variables for a process that is started without the others; none where nothing is measured."""
    return {name: os.environ[name] for name in _NAMES if name in os.environ}


def measured_tests(environ: Mapping[str, str]) -> frozenset[str] | None:
    """The test modules that are some module's own, or that could be by their names; None: all of them."""
    from tools.coverage_run import EVERY, LIST, mirror, read, read_list, source_modules

    if EVERY in environ:
        return None
    mirrors = frozenset(map(mirror, source_modules()))
    return mirrors.union(*(row.tests for row in read_list(read(LIST)).values()))


@contextmanager
def unmeasured() -> Iterator[None]:
    """Processes that are started here measure nothing: other programs, and what many test modules share."""
    start = os.environ.pop(START, None)
    try:
        yield
    finally:
        if start is not None:
            os.environ[START] = start


class Measurement:
    """The measurement of this process. It rests while test modules run that are no module's own."""

    def __init__(self, coverage: Any, measured: Container[str] | None) -> None:
        """`measured`: the test modules that are; None: all of them."""
        self._coverage = coverage
        self._measured = measured
        self._start = os.environ[START]
        self._rests = False
        self._tests: str | None = None
        """The test module that counts."""

    def begin(self, tests: str) -> None:
        """A test of this module runs next, and so do the processes that it starts."""
        rests = self._measured is not None and tests not in self._measured
        if self._rests and not rests:
            self._coverage.start()
            os.environ[START] = self._start
        if rests and not self._rests:
            self._coverage.stop()
            del os.environ[START]
        # coverage writes all that it has at each switch: once for a module, not for each of its tests
        if not rests and tests != self._tests:
            self._coverage.switch_context(tests)
            self._tests = tests
        self._rests = rests
