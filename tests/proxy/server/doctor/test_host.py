"""What the doctor makes of what a system says of itself."""

import pytest

from sealwire.proxy.server.doctor.diagnosis import Grade
from sealwire.proxy.server.doctor.host import (
    judge_clock,
    judge_core,
    judge_dumps,
    judge_swap,
    judge_user,
    look_at_host,
)

SWAPS = "Filename Type Size Used Priority\n"


@pytest.mark.parametrize(
    ("state", "grade"),
    [(0, Grade.GOOD), (1, Grade.GOOD), (5, Grade.DOUBTFUL), (-1, Grade.UNSEEN), (None, Grade.UNSEEN)],
)
def test_a_clock_that_nothing_keeps_right_is_named(state: int | None, grade: Grade) -> None:
    assert judge_clock(state).grade is grade


@pytest.mark.parametrize(
    ("swaps", "grade"),
    [
        (SWAPS, Grade.GOOD),
        (SWAPS + "/dev/zram0 partition 1 0 100\n", Grade.GOOD),
        (SWAPS + "/dev/zram0 partition 1 0 100\n/swapfile file 1 0 -2\n", Grade.DOUBTFUL),
        (None, Grade.UNSEEN),
    ],
)
def test_swap_on_a_disk_is_named(swaps: str | None, grade: Grade) -> None:
    found = judge_swap(swaps)
    assert found.grade is grade
    assert ("/swapfile" in found.text) is (grade is Grade.DOUBTFUL)


@pytest.mark.parametrize(
    ("limit", "pattern", "grade"),
    [
        (0, "core", Grade.GOOD),
        (0, None, Grade.GOOD),
        (0, "|/lib/systemd/systemd-coredump %P", Grade.DOUBTFUL),
        (1, "core", Grade.DOUBTFUL),
        (-1, "core", Grade.DOUBTFUL),
    ],
)
def test_a_crash_must_not_write_keys(limit: int, pattern: str | None, grade: Grade) -> None:
    assert judge_dumps(limit, pattern).grade is grade


def test_root_sees_what_the_proxy_does_not() -> None:
    assert (judge_user(0).grade, judge_user(10127).grade) == (Grade.DOUBTFUL, Grade.GOOD)


def test_this_host_says_something_of_everything() -> None:
    assert len(list(look_at_host())) == 5
    assert "Python" in judge_core().text
