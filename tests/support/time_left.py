"""Which test files come first, and which are left out when the time is over.

The longest come first, so that no process begins the longest one when the others are done.

With `--processes` a file is the work of one process. pytest would begin the longest ones, which are
integration tests, in the middle of the run, and the processes would end minutes apart.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pytest

LONGEST: Final = (
    "integration/test_backup_commands.py",
    "proxy/server/test_workers.py",
    "integration/test_differential_moving.py",
    "integration/migrate/test_classes.py",
    "integration/test_runbooks.py",
    "integration/test_admin_page.py",
    "integration/test_backup_dump.py",
    "integration/test_sorting.py",
    "policies/test_bounded_walks.py",
    "integration/test_backup_round_trip.py",
    "integration/test_differential_sequences.py",
    "integration/test_queries.py",
    "integration/migrate/test_plaintext.py",
    "sidecars/detection/test_weeks.py",
    "policies/questions/test_sort_interleavings.py",
    "demo/test_demo_command.py",
    "integration/test_erase.py",
    "demo/test_demo_backup.py",
    "integration/contexts_in_vault/test_store.py",
    "integration/test_tls_verify.py",
    "integration/test_compliance_page.py",
    "integration/test_vault_setup.py",
    "integration/test_vault_proxy.py",
    "integration/test_coverage_command.py",
    "integration/migrate/test_repair.py",
    "sidecars/migration/windows/test_turn.py",
    "proxy/session/test_properties.py",
    "proxy/session/test_taint.py",
    "bench/test_routes.py",
    "test_processes.py",
    "integration/migrate/test_jobs.py",
    "integration/migrate/test_values.py",
    "keys/frontier/test_lifetimes.py",
    "integration/test_asking.py",
    "integration/test_erase_pieces.py",
    "integration/test_joins.py",
    "testbed/test_database.py",
    "policies/test_taint.py",
    "examples/fastapi_clinic/test_app.py",
    "sidecars/migration/windows/test_plaintext.py",
    "integration/test_one_collection.py",
    "policies/test_leaks.py",
    "proxy/session/test_malformed.py",
    "integration/test_monitoring_page.py",
    "integration/test_differential.py",
    "integration/test_frontier_store.py",
    "integration/test_differential_asking.py",
    "keys/kek/test_azure.py",
)
"""Below `tests`, by what each takes (`--durations=0`). Where four run, the others take less than 26 s."""


def longest_first(tests: Sequence[Any], folder: str) -> list[Any]:
    """The tests below `folder`, file by file, those of the longest files first."""
    places = {f"{folder}/{name}": place for place, name in enumerate(LONGEST)}
    return sorted(tests, key=lambda test: places.get(str(test.path), len(places)))


# Where a run has only so long: slow tests that would end later are left out, and the run names them.
#
# `SEALWIRE_TESTS_UNTIL` has the time, in seconds since 1970. `.ci/run` sets it, to end within 35 minutes on
# a slow machine too; without it every test runs. A test that needs longer than others there says so:
# `@pytest.mark.slow(minutes=20)`. Modules that say so come first, since a long one that begins last lets
# the other processes wait. They do so in `make test-slow` without an end, too. Each run that has one begins
# the others with another module, so that all have their turn.
#
# A test that stands still fails and says where it stands, long before the run would be ended from outside.


VARIABLE = "SEALWIRE_TESTS_UNTIL"
NO_TIME_LEFT = f"no time is left ({VARIABLE})"
MINUTES = 2
"""What the others need on a slow machine, at the sizes that `.ci/run` asks for."""
LONGEST_S: Final = 900
"""What no test needs that is not slow, and no slow one of those that need `MINUTES`."""


def until(environ: Mapping[str, str]) -> float | None:
    """When the time is over; None: never. Raises ValueError for what is no number."""
    return float(environ[VARIABLE]) if environ.get(VARIABLE) else None


def is_slow(test: Any) -> bool:
    """Whether only `make test-slow` runs it."""
    return test.get_closest_marker("slow") is not None


def rotated(tests: Sequence[Any], drawn: int) -> list[Any]:
    """The tests in their order, but the slow ones last: from one module on, then those before it.

    Before them those of the modules that need the longest, all their tests together.
    """
    minutes: dict[Any, float] = defaultdict(float)
    for test in tests:
        minutes[test.path] += _declared(test, 0)
    long = [test for test in tests if is_slow(test) and minutes[test.path]]
    long.sort(key=lambda test: -minutes[test.path])
    slow = [test for test in tests if is_slow(test) and not minutes[test.path]]
    modules = list(dict.fromkeys(test.path for test in slow))
    chosen = modules[drawn % len(modules)] if modules else None
    first = next((index for index, test in enumerate(slow) if test.path == chosen), 0)
    return [*(test for test in tests if not is_slow(test)), *long, *slow[first:], *slow[:first]]


def leave_out_when_late(test: Any, end: float) -> None:
    """Skip a slow test that is about to begin, if there is less time than it needs."""
    if is_slow(test) and time.time() + 60 * _declared(test, MINUTES) > end:
        pytest.skip(NO_TIME_LEFT)


def bounded(test: Any, *, all_of_them: bool) -> None:
    """Let a test fail that stands still (pytest-timeout, by a signal).

    all_of_them: the slow ones too, since they run at the sizes for which they say how long they take
    """
    if all_of_them or not is_slow(test):
        test.add_marker(pytest.mark.timeout(max(LONGEST_S, 2 * 60 * _declared(test, 0)), method="signal"))


def _declared(test: Any, otherwise: float) -> float:
    mark = test.get_closest_marker("slow")
    return float(mark.kwargs.get("minutes", otherwise)) if mark else 0.0


def left_out(reports: Iterable[Any]) -> list[str]:
    """The tests that there was no time for."""
    return [report.nodeid for report in reports if report.skipped and NO_TIME_LEFT in str(report.longrepr)]
