"""When memory is given back to the system, and that this machine's C library takes the request."""

from sealwire.proxy.server.workers.memory import (
    LARGE_BYTES,
    TRIM_INTERVAL_S,
    Trimmer,
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
