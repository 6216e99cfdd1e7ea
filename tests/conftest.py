"""Settings for the whole test run."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

from sealwire import core_is_compiled

CORE = "compiled" if core_is_compiled() else "plain"

# No verdict may hang on how busy the machine is: neither a deadline nor the speed of generating inputs.
settings.register_profile(
    "sealwire", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("sealwire")


def pytest_sessionstart() -> None:
    """A run that was meant for one core must not pass on the other."""
    expected = os.environ.get("SEALWIRE_CORE") or CORE
    if expected != CORE:
        raise pytest.UsageError(f"SEALWIRE_CORE asks for the {expected} core, and this is the {CORE} one")


def pytest_runtest_logstart(nodeid: str) -> None:
    """Where `make coverage` measures, note which test module runs."""
    measuring = sys.modules["coverage"].Coverage.current() if "coverage" in sys.modules else None
    if measuring is not None:
        measuring.switch_context(nodeid.partition("::")[0])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded as `summary`, wherever they ran: seeds and figures belong into the log."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    properties = [each for report in reports for each in getattr(report, "user_properties", ())]
    terminalreporter.write_line(f"core: {CORE}")
    lines = [str(text) for name, text in properties if name == "summary"]
    if lines:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(dict.fromkeys(lines)))
