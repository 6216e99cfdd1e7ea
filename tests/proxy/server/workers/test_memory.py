"""When memory is given back to the system, and that this machine's C library takes the request."""

import resource

import pytest

from sealwire.proxy.server.workers.memory import (
    LARGE_BYTES,
    TRIM_INTERVAL_S,
    Trimmer,
    allow_connections,
    fix_thresholds,
    give_back,
)


class Trims:
    """Counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def test_nothing_is_trimmed_while_nobody_comes_or_goes() -> None:
    trims = Trims()
    trimmer = Trimmer(trims)
    for now_s in range(100):
        trimmer.tick(float(now_s), 0)
    assert trims.times == 0


def test_changes_are_followed_by_one_trim_and_the_next_one_waits() -> None:
    trims = Trims()
    trimmer = Trimmer(trims)
    trimmer.tick(100.0, 3)
    assert trims.times == 1
    trimmer.tick(100.0 + TRIM_INTERVAL_S - 1, 9)
    assert trims.times == 1
    trimmer.tick(100.0 + TRIM_INTERVAL_S, 9)
    assert trims.times == 2
    trimmer.tick(100.0 + 9 * TRIM_INTERVAL_S, 9)
    assert trims.times == 2


def test_the_calls_reach_the_library_and_memory_still_works() -> None:
    fix_thresholds()
    blocks = [bytes(LARGE_BYTES) for _ in range(3)]
    del blocks
    give_back()
    assert bytes(LARGE_BYTES).count(0) == LARGE_BYTES


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The limit that the process has, and after it those that are set."""
    known = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: known[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limit: known.append(limit))
    return known


@pytest.mark.parametrize(
    ("connections", "soft"),
    [
        (437, None),  # 2 * 480 + 64 files, since a tenth may come beyond: what there is
        (438, 1026),
        (1833, 4096),
        (1834, 4096),  # the hard limit is the end
    ],
)
def test_two_files_a_connection_and_a_few_besides(
    limits: list[tuple[int, int]], connections: int, soft: int | None
) -> None:
    allow_connections(connections)
    assert limits[1:] == ([] if soft is None else [(soft, 4096)])


def test_a_system_that_allows_too_few_is_named_in_the_log(
    limits: list[tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    allow_connections(1833)
    assert caplog.records == []
    allow_connections(1834)
    (said,) = caplog.records
    fields = vars(said)["fields"]
    assert (fields["allowed"], fields["needed"]) == (4096, 4098)
    assert "limits.connections" in fields["hint"]


def test_without_a_hard_limit_all_are_allowed(
    limits: list[tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    limits[0] = (1024, resource.RLIM_INFINITY)
    allow_connections(10_000)
    assert limits[1:] == [(22_064, resource.RLIM_INFINITY)]
    assert caplog.records == []
