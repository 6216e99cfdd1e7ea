"""One operation takes no more calls than when it was measured: work that creeps in fails here at once.

Calls of the plain core are counted, of Python's functions and of those in C. Their number is the same in each
run and on each machine; how long one takes is for `make bench`.
"""

import sys
from types import FrameType

import pytest

from bench import instructions
from bench.workloads import FIND_100, FIND_ONE, INSERT_MANY, INSERT_ONE, UNPROTECTED, UPDATE_ONE

CALLS = {
    UNPROTECTED: 156,
    FIND_ONE: 575,
    INSERT_ONE: 656,
    UPDATE_ONE: 697,
    FIND_100: 11_154,
    INSERT_MANY: 317_084,
}
"""As counted with Python 3.13."""
MORE = 1.15
"""What another Python may take. Lower the figures when the core gets faster."""
_KINDS = frozenset({"call", "c_call"})


def calls(workload: str, count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of so many operations, and of what comes before them."""
    counted = 0

    def count_one(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in _KINDS

    monkeypatch.setattr(sys, "argv", ["bench.instructions", workload, "--drive", str(count)])
    sys.setprofile(count_one)
    try:
        assert instructions.main() == 0
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.plain_core  # calls within a compiled core cannot be counted so
@pytest.mark.parametrize("workload", CALLS)
def test_an_operation_takes_no_more_calls_than_it_did(workload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls(workload, 1, monkeypatch)  # what is made once for all
    taken = calls(workload, 2, monkeypatch) - calls(workload, 1, monkeypatch)
    assert CALLS[workload] / 2 < taken <= CALLS[workload] * MORE
