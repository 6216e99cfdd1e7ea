"""Rounds are interleaved, and compared pair by pair."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.report.extents import END_TO_END, EXTENTS
from bench.report.figures import Case, Metric, Results, Sample, Series, Spread, paired, percentile, take_turns
from bench.report.goals import GOALS, REAL_THREADS, Bound, Goal, Verdict, verdicts
from bench.report.plots import draw, read
from bench.report.report import RESULTS, Report, describe_machine, show, write
from sealwire import core_name
from tests.build_context import ROOT

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


def test_differences_are_taken_round_by_round() -> None:
    measured = Results([series("sealwire", 2.0, 20.0, 3.0), series("forwarder", 1.0, 10.0, 1.5)])
    assert measured.difference(CASE, Metric.OPERATIONS, "sealwire", "forwarder") == Spread(1.5, 1.0, 10.0)
    assert measured.difference(CASE, Metric.OPERATIONS, "sealwire", "direct") is None
    assert measured.difference(CASE, Metric.CPU, "sealwire", "forwarder") is None


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


OPERATIONS, CPU = Metric.OPERATIONS, Metric.CPU


def _taken(case: Case, route: str, *samples: Sample) -> Series:
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
            _taken(case, "forwarder", {OPERATIONS: 100.0}, {OPERATIONS: 50.0}),
            _taken(case, "sealwire", {OPERATIONS: 90.0}, {OPERATIONS: 40.0}),
        ]
    )
    found = verdict(results, "unprotected-find")
    assert found.figure == Spread(pytest.approx(0.85), 0.8, 0.9)  # type: ignore[arg-type]


def test_overhead_of_throughput_is_direct_by_sealwire() -> None:
    case = Case("pymongo-throughput", "mix-a", REAL_THREADS)
    results = Results(
        [_taken(case, "direct", {OPERATIONS: 130.0}), _taken(case, "sealwire", {OPERATIONS: 100.0})]
    )
    found = verdict(results, "throughput-mix-a")
    assert found.figure == Spread(1.3, 1.3, 1.3)
    assert found.reached is False


def test_overhead_of_latency_is_sealwire_by_direct() -> None:
    case = Case("pymongo-latency", "find-one")
    results = Results(
        [_taken(case, "direct", {Metric.P50: 200.0}), _taken(case, "sealwire", {Metric.P50: 220.0})]
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
        [_taken(case, each, {metric: figure}) for each, figure in zip(routes, figures, strict=True)]
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
    results = Results([_taken(few, "sealwire", {CPU: 50.0}, {CPU: 40.0}, {CPU: 60.0})])
    assert verdict(results, "cpu-1000-by-10-find-one").figure is None
    results.series.append(_taken(many, "sealwire", {CPU: 60.0}, {CPU: 55.0}, {CPU: 70.0}))
    assert verdict(results, "cpu-1000-by-10-find-one").figure == Spread(1.2, 1.1, 1.4)


def test_memory_is_a_figure_of_its_own() -> None:
    case = Case("memory", "idle-connection", tls=True)
    results = Results([_taken(case, "sealwire", {Metric.PER_CONNECTION: 121.0})])
    assert verdict(results, "idle-connection-tls").reached is False
    assert verdict(results, "idle-connection-plain").reached is None


def results() -> Results:
    """A few routes, two rounds."""
    made = Results(not_measured={"canned nginx": "not to be had with apt"})
    for connections in (16, 100):
        case = Case("canned", "find-one", connections)
        for route, rate in (("direct", 90_000.0), ("forwarder", 45_000.0), ("sealwire", 30_000.0)):
            samples = tuple(
                {Metric.OPERATIONS: rate * factor, Metric.CPU: 30.0 * factor, Metric.P50: 400.0}
                for factor in (1.0, 1.1)
            )
            made.series.append(Series(case, route, samples))
    case = Case("pymongo-latency", "find-one")
    latencies = {"direct": 200.0, "forwarder": 246.0, "sealwire": 260.0, "sealwire-polling": 228.0}
    for route, latency in latencies.items():
        made.series.append(Series(case, route, ({Metric.P50: latency}, {Metric.P50: latency})))
    return made


def report() -> Report:
    return Report(describe_machine(), "tiny", results(), {"canned": 2.04})


def test_the_json_has_machine_figures_samples_and_targets(tmp_path: Path) -> None:
    path = write(report(), tmp_path)
    written = json.loads(path.read_text())
    assert path.parent == tmp_path
    assert written["machine"]["cores"] > 0
    assert written["machine"]["packages"]["pymongo"]
    assert written["machine"]["core"] == core_name()
    assert written["seconds"] == {"canned": 2.0}
    assert written["not_measured"] == {"canned nginx": "not to be had with apt"}
    first = written["series"][0]
    assert (first["part"], first["workload"], first["connections"], first["route"]) == (
        "canned",
        "find-one",
        16,
        "direct",
    )
    assert first["spread"]["operations_s"]["low"] == 90_000.0
    assert len(first["samples"]) == 2
    by_name = {each["name"]: each for each in written["targets"]}
    assert by_name["find-one"]["reached"] is True
    assert by_name["unprotected-find"]["reached"] is None
    assert by_name["latency-find-one"]["reached"] is False
    assert by_name["latency-find-one"]["beside"] == {
        "sealwire-polling": {"figure": {"median": 1.14, "low": 1.14, "high": 1.14}, "reached": True},
        "forwarder": {"figure": {"median": 1.23, "low": 1.23, "high": 1.23}, "reached": False},
    }
    assert set(by_name) == {each.name for each in GOALS}


def test_the_tables_name_every_target_and_what_is_missing() -> None:
    out = io.StringIO()
    show(Console(file=out, width=160), report())
    text = out.getvalue()
    assert all(each.name in text for each in GOALS)
    assert "not measured: canned nginx: not to be had with apt" in text
    assert "0.67 (0.67-0.67)" in text
    (row,) = (line for line in text.splitlines() if line.strip().startswith("latency-find-one"))
    cells = ("1.30 (1.30-1.30)", "NOT REACHED", "1.14 (1.14-1.14)", "reached", "1.23 (1.23-1.23)")
    places = [row.index(cell) for cell in cells]
    assert places == sorted(places)
    assert text.count("not measured") == len(GOALS) - 1  # all targets but two, and the peer


def test_pictures_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    drawn = draw(results(), tmp_path, "run")
    assert [path.name for path in drawn] == [
        "run-added-time.svg",
        "run-throughput-by-workload.svg",
        "run-latency-by-workload.svg",
        "run-cpu-by-connections.svg",
    ]
    assert all("Sealwire" in path.read_text() for path in drawn)
    assert draw(Results(), tmp_path, "empty") == []


def test_a_kept_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept, measured = read(write(report(), tmp_path)).series, results().series
    assert [(each.case, each.route) for each in kept] == [(each.case, each.route) for each in measured]
    for one, other in zip(kept, measured, strict=True):
        for sample, wanted in zip(one.samples, other.samples, strict=True):
            assert sample == pytest.approx(wanted, abs=0.001)


def test_the_first_picture_names_what_is_added_with_and_without_tls(tmp_path: Path) -> None:
    measured = Results()
    for tls, floor in ((False, 12.0), (True, 19.0)):
        case = Case("canned", "find-one", 16, tls)
        for route, above in (("forwarder", 0.0), ("sealwire", 9.0)):
            measured.series.append(Series(case, route, ({Metric.CPU: floor + above},)))
    case = Case("pymongo-latency", "find-one")
    for route, time in (("direct", 80.0), ("client-side", 200.0)):
        measured.series.append(Series(case, route, ({Metric.GENERATOR_CPU: time},)))
    (drawn,) = (path for path in draw(measured, tmp_path, "run") if "added-time" in path.name)
    text = drawn.read_text()
    assert all(f">{amount}<" in text for amount in ("12 + 9", "19 + 9", "120"))


def test_the_same_figures_give_the_same_picture(tmp_path: Path) -> None:
    first, second = (draw(results(), tmp_path, name)[0] for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_results_lie_where_the_bench_is() -> None:
    assert RESULTS == ROOT / "bench" / "results"
