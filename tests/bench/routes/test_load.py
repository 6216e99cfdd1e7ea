"""What the generator counts becomes figures."""

import pytest

from bench.report.figures import Metric
from bench.routes.load import Used, sample_of
from bench.routes.talker import pack, unpack
from bench.zipf import zipfian


def test_figures_of_a_slice() -> None:
    latencies = [0.001] * 98 + [0.002, 0.009]
    sample = sample_of(latencies, 0.5, Used(operations=125, generator=0.1, server=0.2, between=0.05))
    assert sample == {
        Metric.OPERATIONS: 200.0,
        Metric.P50: pytest.approx(1000.0),
        Metric.P99: pytest.approx(9000.0),
        Metric.GENERATOR_CPU: pytest.approx(800.0),
        Metric.SERVER_CPU: pytest.approx(1600.0),
        Metric.CPU: pytest.approx(400.0),
    }


def test_a_route_with_nothing_between_has_no_processor_time_between() -> None:
    assert Metric.CPU not in sample_of([0.001], 1.0, Used(1, 0.1, 0.1, None))


def test_a_slice_without_answers_is_no_figure() -> None:
    with pytest.raises(RuntimeError):
        sample_of([], 1.0, Used(1, 0.1, 0.1, None))


def test_latencies_survive_the_pipe() -> None:
    assert list(unpack(pack(unpack("")))) == []
    assert unpack(pack(unpack("AACAPwAAAEA="))).tolist() == [1.0, 2.0]


def test_zipfian_keys_are_few_and_far_between() -> None:
    keys = zipfian(1000, seed=3)
    drawn = [next(keys) for _ in range(20_000)]
    counts = sorted((drawn.count(key) for key in set(drawn)), reverse=True)
    assert all(0 <= key < 1000 for key in drawn)
    # 1 / (sum of 1/n**0.99 for 1,000) is 0.13
    assert counts[0] / len(drawn) == pytest.approx(0.13, abs=0.02)
    assert sum(counts[:100]) / len(drawn) > 0.6
    again = zipfian(1000, seed=3)
    assert drawn[:50] == [next(again) for _ in range(50)]
