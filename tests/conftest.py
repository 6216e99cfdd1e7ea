"""Settings for the whole test run."""

import gc
import importlib
import os
import sys
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from sealwire import core_is_compiled
from tests.support import processes, time_left
from tests.support.measuring import START, Measurement, measured_tests
from tests.support.time_left import longest_first

CORE = "compiled" if core_is_compiled() else "plain"
MEASUREMENT = pytest.StashKey[Measurement]()

# No verdict may hang on how busy the machine is: neither a deadline nor the speed of generating inputs.
settings.register_profile(
    "sealwire", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
# One failure is enough for tools/mutation.py: it has to be quick, the same each time, and not made small.
settings.register_profile(
    "mutants",
    settings.get_profile("sealwire"),
    max_examples=40,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("sealwire")


def pytest_addoption(parser: pytest.Parser) -> None:
    processes.add_option(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    return processes.run_loop(session)


def pytest_sessionstart(session: pytest.Session) -> None:
    """A run that was meant for one core must not pass on the other."""
    expected = os.environ.get("SEALWIRE_CORE") or CORE
    if expected != CORE:
        raise pytest.UsageError(f"SEALWIRE_CORE asks for the {expected} core, and this is the {CORE} one")
    if (measuring := _measuring()) is not None:
        _import_everything()
        if START in os.environ:
            session.config.stash[MEASUREMENT] = Measurement(measuring, measured_tests(os.environ))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files come first; where a run has only so long, other slow tests each time."""
    items[:] = longest_first(items, str(Path(__file__).parent))
    end = time_left.until(os.environ)
    if end is not None or config.option.markexpr == "slow":
        items[:] = time_left.rotated(items, int(end or 0))
    # tools/mutation.py has limits of its own, by the same signal
    if config.pluginmanager.hasplugin("timeout"):
        for item in items:
            time_left.bounded(item, all_of_them=end is not None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting tests makes stays until the end: no collection of garbage walks through it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before anything is made for the test."""
    if (end := time_left.until(os.environ)) is not None:
        time_left.leave_out_when_late(item, end)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Where `make coverage` measures, say which test module runs."""
    if (measurement := item.config.stash.get(MEASUREMENT, None)) is not None:
        measurement.begin(item.nodeid.partition("::")[0])


@pytest.fixture
def asynchronous_driver() -> Iterator[None]:
    """For tests with pymongo's asynchronous client in their own process.

    Where it is closed while a connection of its own is being made, it leaves the socket to the garbage
    collector. That is done here, and quietly; else whichever test runs at that moment would fail.
    """
    # pytest takes the filters of a test back at its end
    warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
    yield
    gc.collect()


def _measuring() -> Any:
    """The measurement that `make coverage` has started in this process, or None."""
    return sys.modules["coverage"].Coverage.current() if "coverage" in sys.modules else None


def _import_everything() -> None:
    """The command line imports as it goes. What runs at import would count for whichever test came first."""
    from tools.coverage_run import source_modules

    for module in source_modules():
        path = f"sealwire/{module.removeprefix('sealwire/')}".removesuffix(".py").removesuffix("/__init__")
        importlib.import_module(path.replace("/", "."))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded as `summary`, wherever they ran: seeds and figures belong into the log."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    properties = [each for report in reports for each in getattr(report, "user_properties", ())]
    terminalreporter.write_line(f"core: {CORE}")
    lines = [str(text) for name, text in properties if name == "summary"]
    if lines:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(dict.fromkeys(lines)))
    late = time_left.left_out(terminalreporter.stats.get("skipped", ()))
    if late:
        terminalreporter.section(f"left out, since no time was left: {len(late)}")
        terminalreporter.write_line("\n".join(late))
