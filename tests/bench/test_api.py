"""What is measured of an API: each request both ways, and how the two compare."""

from pathlib import Path

import pytest

from bench.api import DIRECT, THROUGH, Timing, measure, servers


def test_the_ratio_is_the_median_through_sealwire_by_the_direct_one() -> None:
    timing = Timing("GET /", {DIRECT: [0.002, 0.001, 0.5], THROUGH: [0.003, 0.7, 0.002]})
    assert timing.median_ms(DIRECT) == 2.0
    assert timing.ratio() == 1.5


@pytest.mark.integration
@pytest.mark.usefixtures("asynchronous_driver")
async def test_each_request_is_answered_both_ways_as_often(tmp_path: Path) -> None:
    with servers(tmp_path) as uris:
        timings = await measure(uris, 3)
    assert {timing.request.split()[0] for timing in timings} == {"POST"}
    assert len(timings) == 5
    for timing in timings:
        assert [len(seconds) for seconds in timing.seconds.values()] == [3, 3]
