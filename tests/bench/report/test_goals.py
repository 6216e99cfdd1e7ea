"""Every target is one figure with a verdict, and what was not measured is not reached silently."""

import pytest

from bench.report.extents import END_TO_END, EXTENTS
from bench.report.figures import Case, Metric, Results, Sample, Series, Spread
from bench.report.goals import GOALS, REAL_THREADS, Bound, Goal, Verdict, verdicts

OPERATIONS, CPU = Metric.OPERATIONS, Metric.CPU


def series(case: Case, route: str, *samples: Sample) -> Series:
    return Series(case, route, samples)


def verdict(results: Results, name: str) -> Verdict:
    return next(each for each in verdicts(results) if each.goal.name == name)


def test_nothing_measured_is_nothing_reached() -> None:
    found = verdicts(Results())
    assert len(found) == len(GOALS)
    assert {each.reached for each in found} == {None}


def test_names_are_unique_and_every_operation_has_latency_and_throughput() -> None:
    names = [each.name for each in GOALS]
    assert len(set(names)) == len(names)
    assert {f"{kind}-{name}" for kind in ("latency", "throughput") for name in END_TO_END} <= set(names)


@pytest.mark.parametrize(("bound", "figure", "reached"), [
    (Bound.AT_LEAST, 0.9, True), (Bound.AT_LEAST, 0.85, True), (Bound.AT_LEAST, 0.84, False),
    (Bound.AT_MOST, 0.84, True), (Bound.AT_MOST, 0.85, True), (Bound.AT_MOST, 0.9, False),
])  # fmt: skip
def test_the_median_decides(bound: Bound, figure: float, reached: bool) -> None:
    goal = Goal("name", "text", bound, 0.85, lambda _: None)
    assert Verdict(goal, Spread(figure, 0.0, 9.0)).reached is reached


def test_throughput_on_the_canned_backend_is_compared_with_the_bare_forwarder() -> None:
    case = Case("canned", "unprotected-find", 16)
    results = Results(
        [
            series(case, "forwarder", {OPERATIONS: 100.0}, {OPERATIONS: 50.0}),
            series(case, "sealwire", {OPERATIONS: 90.0}, {OPERATIONS: 40.0}),
        ]
    )
    found = verdict(results, "unprotected-find")
    assert found.figure == Spread(pytest.approx(0.85), 0.8, 0.9)  # type: ignore[arg-type]


def test_overhead_of_throughput_is_direct_by_sealwire() -> None:
    case = Case("pymongo-throughput", "mix-a", REAL_THREADS)
    results = Results(
        [series(case, "direct", {OPERATIONS: 130.0}), series(case, "sealwire", {OPERATIONS: 100.0})]
    )
    found = verdict(results, "throughput-mix-a")
    assert found.figure == Spread(1.3, 1.3, 1.3)
    assert found.reached is False


def test_overhead_of_latency_is_sealwire_by_direct() -> None:
    case = Case("pymongo-latency", "find-one")
    results = Results(
        [series(case, "direct", {Metric.P50: 200.0}), series(case, "sealwire", {Metric.P50: 220.0})]
    )
    found = verdict(results, "latency-find-one")
    assert found.figure == Spread(1.1, 1.1, 1.1)
    assert found.reached is True


@pytest.mark.parametrize("route", ["forwarder", "sealwire-polling"])
@pytest.mark.parametrize(("part", "threads", "metric", "figures"), [
    ("latency", 1, Metric.P50, (200.0, 220.0, 300.0)),
    ("throughput", REAL_THREADS, OPERATIONS, (330.0, 300.0, 220.0)),
])  # fmt: skip
def test_other_routes_stand_beside_an_overhead_and_do_not_decide(
    part: str, threads: int, metric: Metric, figures: tuple[float, ...], route: str
) -> None:
    case = Case(f"pymongo-{part}", "update-one", threads)
    routes = ("direct", route, "sealwire")
    results = Results(
        [series(case, each, {metric: figure}) for each, figure in zip(routes, figures, strict=True)]
    )
    found = verdict(results, f"{part}-update-one")
    beside = found.beside[route]
    assert beside is not None
    assert beside.median == pytest.approx(1.1)
    assert found.goal.allows(beside) is True
    assert found.figure is not None
    assert found.figure.median == pytest.approx(1.5)
    assert found.reached is False
    without = Results([each for each in results.series if each.route != route])
    assert verdict(without, f"{part}-update-one").beside[route] is None
    assert verdict(without, f"{part}-update-one").figure == found.figure


def test_no_other_row_has_anything_beside_it() -> None:
    beside = {each.name for each in GOALS if each.beside}
    assert beside == {f"{kind}-{name}" for kind in ("latency", "throughput") for name in END_TO_END}


def test_every_profile_asks_the_routes_that_the_overheads_need() -> None:
    needed = {"direct", "forwarder", "sealwire", "sealwire-polling"}
    for extent in EXTENTS.values():
        assert needed <= set(extent.real_busy_routes) <= set(extent.real_routes)


def test_processor_time_of_many_connections_is_compared_with_that_of_few() -> None:
    few, many = Case("canned", "find-one", 10), Case("canned", "find-one", 1000)
    results = Results([series(few, "sealwire", {CPU: 50.0}, {CPU: 40.0}, {CPU: 60.0})])
    assert verdict(results, "cpu-1000-by-10-find-one").figure is None
    results.series.append(series(many, "sealwire", {CPU: 60.0}, {CPU: 55.0}, {CPU: 70.0}))
    assert verdict(results, "cpu-1000-by-10-find-one").figure == Spread(1.2, 1.1, 1.4)


def test_memory_is_a_figure_of_its_own() -> None:
    case = Case("memory", "idle-connection", tls=True)
    results = Results([series(case, "sealwire", {Metric.PER_CONNECTION: 121.0})])
    assert verdict(results, "idle-connection-tls").reached is False
    assert verdict(results, "idle-connection-plain").reached is None
