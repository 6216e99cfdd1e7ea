"""Rounds are interleaved, and compared pair by pair."""

import pytest

from bench.report.figures import Case, Metric, Results, Series, Spread, paired, percentile, take_turns

CASE = Case("canned", "find-one", 16)


def series(route: str, *rates: float, case: Case = CASE) -> Series:
    return Series(case, route, tuple({Metric.OPERATIONS: rate} for rate in rates))


def test_a_spread_is_the_median_with_the_extremes() -> None:
    assert Spread.of([5.0, 1.0, 3.0]) == Spread(3.0, 1.0, 5.0)
    assert Spread.of([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)


def test_every_route_is_measured_once_a_round_and_none_always_goes_first() -> None:
    order: list[str] = []

    def slices(name: str) -> dict[Metric, float]:
        order.append(name)
        return {Metric.OPERATIONS: float(len(order))}

    routes = {name: (lambda name=name: slices(name)) for name in ("a", "b", "c")}
    found = take_turns(CASE, routes, 3)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert [each.route for each in found] == ["a", "b", "c"]
    assert found[0].values(Metric.OPERATIONS) == [1.0, 6.0, 8.0]


def test_ratios_are_taken_round_by_round() -> None:
    # A slow second round slows both: the ratio stays 2, which the ratio of the medians would not show.
    results = Results([series("sealwire", 2.0, 20.0, 3.0), series("forwarder", 1.0, 10.0, 1.5)])
    assert results.ratio(CASE, Metric.OPERATIONS, "sealwire", "forwarder") == Spread(2.0, 2.0, 2.0)


@pytest.mark.parametrize(("upper", "lower"), [([], []), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0, 0.0])])
def test_there_is_no_ratio_without_whole_pairs(upper: list[float], lower: list[float]) -> None:
    assert paired(upper, lower) is None


def test_what_was_not_measured_has_no_ratio() -> None:
    results = Results([series("sealwire", 1.0)])
    assert results.ratio(CASE, Metric.OPERATIONS, "sealwire", "forwarder") is None
    assert results.ratio(CASE, Metric.CPU, "sealwire", "sealwire") is None
    assert results.find(Case("canned", "find-one", 1), "sealwire") is None


def test_a_series_has_a_spread_only_of_what_was_taken() -> None:
    found = series("sealwire", 1.0, 3.0, 2.0)
    assert found.spread(Metric.OPERATIONS) == Spread(2.0, 1.0, 3.0)
    assert found.spread(Metric.RESIDENT) is None


def test_cases_come_once_and_in_order() -> None:
    other = Case("canned", "ping", 16)
    results = Results([series("a", 1.0), series("b", 1.0), series("a", 1.0, case=other)])
    assert list(results.cases()) == [CASE, other]
    assert [each.route for each in results.of(CASE)] == ["a", "b"]


def test_a_percentile_is_a_value_that_occurred() -> None:
    hundred = [float(number) for number in range(100)]
    assert percentile(hundred, 0.5) == 50.0
    assert percentile(hundred, 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) == 0.0


def test_a_case_says_what_it_is() -> None:
    assert str(Case("canned", "find-one", 16, tls=True)) == "canned/find-one/16/tls"
