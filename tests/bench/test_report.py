"""Rounds are interleaved, and compared pair by pair."""

import io
import json
import os
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import yaml
from bson import decode, encode
from pymongocrypt.mongocrypt import MongoCryptOptions
from pymongocrypt.synchronous.auto_encrypter import AutoEncrypter
from rich.console import Console

from bench import questions
from bench.api import DIRECT as API_DIRECT
from bench.api import THROUGH, Timing, measure, servers
from bench.dataset import (
    ASKED,
    COVERED,
    NAMES,
    SIZED_BYTES,
    documents,
    people,
    policy,
    sized_documents,
    wide_documents,
)
from bench.parts.core import (
    VALUES,
    Inputs,
    KeyVault,
    UnexpectedRequest,
    inputs,
    pymongocrypt_works,
    run,
    sealwire_works,
)
from bench.pymongo_driver import zipfian
from bench.report.extents import END_TO_END, EXTENTS
from bench.report.figures import Case, Metric, Results, Sample, Series, Spread, paired, percentile, take_turns
from bench.report.goals import (
    AS_STORED,
    GOALS,
    REAL_THREADS,
    SERVER,
    Bound,
    Goal,
    Outcome,
    Verdict,
    decided,
    verdicts,
)
from bench.report.plots import draw, read
from bench.report.report import RESULTS, Report, describe_machine, show, write
from bench.routes.canned_server import shape
from bench.routes.load import Used, sample_of
from bench.routes.processes import pack, unpack
from bench.routes.routes import DIRECT, SEALWIRE
from bench.workloads import BATCH, INSERT_MANY, INSERT_ONE, MIXES, Pool, stored, workloads
from sealwire import core_name
from sealwire.policies.file.loader import load_policy
from sealwire.wire.op_msg import parse_op_msg, sequence_documents
from tests.build_context import ROOT
from tests.support.rows import rows

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
    assert {each.outcome for each in found} == {Outcome.NOT_MEASURED}


def test_names_are_unique_and_every_operation_has_latency_and_throughput() -> None:
    names = [each.name for each in GOALS]
    assert len(set(names)) == len(names)
    throughput = {f"throughput-{name}{suffix}" for name in END_TO_END for suffix in ("", "-tls")}
    assert throughput | {f"latency-{name}" for name in END_TO_END} <= set(names)


@rows("bound, figure, outcome",
    (Bound.AT_LEAST, Spread(0.9, 0.86, 0.95), Outcome.REACHED),
    (Bound.AT_LEAST, Spread(0.9, 0.84, 0.95), Outcome.UNDECIDED),
    (Bound.AT_LEAST, Spread(0.85, 0.85, 0.85), Outcome.REACHED),
    (Bound.AT_LEAST, Spread(0.8, 0.7, 0.84), Outcome.NOT_REACHED),
    (Bound.AT_MOST, Spread(0.9, 0.86, 0.95), Outcome.NOT_REACHED),
    (Bound.AT_MOST, Spread(0.9, 0.84, 0.95), Outcome.UNDECIDED),
    (Bound.AT_MOST, Spread(0.8, 0.7, 0.85), Outcome.REACHED),
    (Bound.AT_MOST, Spread(0.8, 0.1, 9.0, (0.7, 0.82)), Outcome.REACHED),)  # fmt: skip
def test_all_that_the_median_may_be_decides(bound: Bound, figure: Spread, outcome: Outcome) -> None:
    goal = Goal("name", "text", bound, 0.85, lambda _: None)
    assert Verdict(goal, figure).outcome is outcome


@rows("rounds, sure",
    (1, (1, 1)), (5, (1, 5)), (8, (1, 8)), (9, (2, 8)), (12, (3, 10)), (20, (6, 15)),)  # fmt: skip
def test_with_more_rounds_the_median_lies_between_nearer_ones(rounds: int, sure: tuple[int, int]) -> None:
    assert Spread.of([float(number) for number in range(rounds, 0, -1)]).sure == sure


@pytest.mark.parametrize(("figures", "rounds"), [((1.0, 1.0, 1.0), 3), ((1.0, 1.3, 1.1), 12)])
def test_rounds_go_on_until_a_target_is_decided_or_there_were_four_times_as_many(
    figures: tuple[float, ...], rounds: int
) -> None:
    case = Case("pymongo-throughput", "mix-a", REAL_THREADS)
    direct = iter([*figures] * 4)
    routes = {"sealwire": lambda: {OPERATIONS: 1.0}, "direct": lambda: {OPERATIONS: next(direct)}}
    found = take_turns(case, routes, 3, decided)
    assert {len(each.samples) for each in found} == {rounds}


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
    assert found.outcome is Outcome.NOT_REACHED


@pytest.mark.parametrize("tls", [True, False])
def test_overhead_of_latency_is_sealwire_by_a_forwarder_in_its_place(tls: bool) -> None:
    case = Case("pymongo-latency", "find-one", tls=tls)
    figures = {"direct": 160.0, "forwarder": 200.0, "sealwire": 220.0}
    results = Results([_taken(case, route, {Metric.P50: figure}) for route, figure in figures.items()])
    found = verdict(results, "latency-find-one-tls" if tls else "latency-find-one")
    assert found.figure == Spread(1.1, 1.1, 1.1)
    assert found.direct == Spread(1.375, 1.375, 1.375)
    assert found.outcome is Outcome.REACHED


def test_a_find_of_100_is_compared_with_what_the_server_takes_for_envelopes() -> None:
    ours, server = Case("pymongo-latency", "find-100"), Case(SERVER, "find-100")
    series = [
        _taken(ours, "sealwire", {Metric.P50: 1320.0}),
        _taken(ours, "direct", {Metric.P50: 900.0}),
        _taken(server, AS_STORED, {Metric.P50: 500.0}),
        _taken(server, "direct", {Metric.P50: 300.0}),
    ]
    assert verdict(Results(series), "latency-find-100").figure == Spread(1.2, 1.2, 1.2)
    for number in range(len(series)):
        fewer = Results(series[:number] + series[number + 1 :])
        assert verdict(fewer, "latency-find-100").outcome is Outcome.NOT_MEASURED


def test_every_profile_asks_the_routes_that_the_overheads_need() -> None:
    needed = {"direct", "forwarder", "sealwire"}
    for extent in EXTENTS.values():
        assert needed <= set(extent.real_busy_routes) <= set(extent.real_routes)


def test_processor_time_of_many_connections_is_compared_with_the_growth_of_the_forwarder() -> None:
    few, many = Case("canned", "find-one", 10), Case("canned", "find-one", 1000)
    results = Results([_taken(few, "sealwire", {CPU: 50.0}, {CPU: 40.0}, {CPU: 60.0})])
    results.series.append(_taken(many, "sealwire", {CPU: 60.0}, {CPU: 55.0}, {CPU: 70.0}))
    assert verdict(results, "cpu-1000-by-10-find-one").figure is None
    results.series += [_taken(few, "forwarder", {CPU: 10.0}), _taken(many, "forwarder", {CPU: 12.0})]
    found = verdict(results, "cpu-1000-by-10-find-one").figure
    assert found is not None
    assert (found.median, found.low, found.high) == pytest.approx((1.0, 1.1 / 1.2, 1.4 / 1.2))


def test_memory_is_a_figure_of_its_own() -> None:
    case = Case("memory", "idle-connection", tls=True)
    results = Results([_taken(case, "sealwire", {Metric.PER_CONNECTION: 121.0})])
    assert verdict(results, "idle-connection-tls").outcome is Outcome.NOT_REACHED
    assert verdict(results, "idle-connection-plain").outcome is Outcome.NOT_MEASURED


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
    latencies = {"direct": 200.0, "forwarder": 246.0, "sealwire": 260.0}
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
    assert by_name["find-one"]["outcome"] == "reached"
    assert by_name["unprotected-find"]["outcome"] == "not_measured"
    assert by_name["latency-find-one"]["outcome"] == "reached"
    assert by_name["latency-find-one"]["figure"]["median"] == pytest.approx(260 / 246)
    assert by_name["latency-find-one"]["against_no_proxy"]["median"] == pytest.approx(1.3)
    assert set(by_name) == {each.name for each in GOALS}


def test_the_tables_name_every_target_and_what_is_missing() -> None:
    out = io.StringIO()
    show(Console(file=out, width=160), report())
    text = out.getvalue()
    assert all(each.name in text for each in GOALS)
    assert "not measured: canned nginx: not to be had with apt" in text
    assert "0.67 (0.67-0.67)" in text
    (row,) = (line for line in text.splitlines() if line.strip().startswith("latency-find-one "))
    cells = ("1.06 (1.06-1.06)", "reached", "1.30 (1.30-1.30)")
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


def test_questions_are_judged_by_plaintext_and_by_what_a_value_costs() -> None:
    def asked(route: str, text: str, latency: float, used: float) -> Series:
        sample = {Metric.P50: latency, Metric.CPU: used}
        return Series(questions.case_of(50_000, questions.JUDGED, "indexed", text), route, (sample,) * 9)

    new, again, page = "10 satisfy it, a new one", "10 satisfy it, the same again", "a page of 50"
    found = Results(
        [
            asked(DIRECT, new, 100.0, 0.0),
            asked(SEALWIRE, new, 150.0, 20_000.0),
            asked(DIRECT, again, 100.0, 0.0),
            asked(SEALWIRE, again, 150.0, 3_000.0),
            asked(DIRECT, page, 100.0, 0.0),
            asked(SEALWIRE, page, 160.0, 0.0),
        ]
    )
    judged = {each.goal.name: each.outcome for each in verdicts(found, tuple(questions.goals(50_000)))}
    assert {name for name, outcome in judged.items() if outcome is Outcome.REACHED} == {new, f"value-{new}"}
    assert {name for name, outcome in judged.items() if outcome is Outcome.NOT_REACHED} == {
        again,
        f"value-{again}",
        page,
    }
    assert {outcome for name, outcome in judged.items() if "100" in name} == {Outcome.NOT_MEASURED}


# The requests are those of drivers, differ from one another, and cover what they say.


POOL = Pool(singles=32, groups=2, batches=2)


def test_the_policy_loads_and_covers_as_many_fields_as_it_says() -> None:
    loaded = load_policy(yaml.safe_dump(policy()).encode(), "policy.yaml")
    rules = policy()["collections"]
    assert set(loaded.class_names) == {*COVERED, "text", "surname"}
    assert set(rules["bench.patients"]) == set(COVERED)
    assert len(rules["bench.wide"]) == 1500
    assert "bench.wards" not in rules


def test_every_request_of_a_workload_has_the_same_shape_and_no_other_workload_has_it() -> None:
    shapes = {name: {shape(request) for request in each.requests} for name, each in workloads(POOL).items()}
    assert all(len(found) == 1 for found in shapes.values())
    names = [next(iter(found)) for name, found in shapes.items() if name != INSERT_MANY]
    assert len(set(names)) == len(names)
    # both insert into the same collection, and get the same kind of answer
    assert shapes[INSERT_MANY] == shapes[INSERT_ONE]


def test_requests_do_not_repeat_within_the_pool() -> None:
    made = workloads(POOL)
    for name in (INSERT_ONE, "find-one", "update-one"):
        assert len(set(made[name].requests)) == len(made[name].requests)
    assert len(made[INSERT_ONE].requests) == POOL.singles


def test_inserts_carry_their_documents_as_a_sequence() -> None:
    request = workloads(POOL)[INSERT_MANY].requests[0]
    sequence = parse_op_msg(request).sequences[0]
    assert sequence.identifier == b"documents"
    assert len(list(sequence_documents(request, sequence))) == BATCH


def test_what_is_read_is_stored_before() -> None:
    collections = {each.collection: len(each.contents) for each in stored(POOL)}
    for name, workload in workloads(POOL).items():
        command = decode(workload.requests[0][21:]) if not name.startswith("insert") else {}
        if "find" in command or "aggregate" in command:
            assert collections[command.get("find") or command["aggregate"]] > 0


def test_sized_documents_have_about_their_size() -> None:
    assert abs(len(encode(next(sized_documents(1)))) - SIZED_BYTES) < 200


def test_values_are_unique_where_the_kind_allows_it() -> None:
    numbers = [each["nhs_number"] for each in islice(documents(1), 2000)]
    assert len(set(numbers)) == len(numbers)
    wide = next(wide_documents(1))
    assert len(set(wide.values())) == len(wide) == 1500


def test_the_core_gets_as_many_values_in_every_work() -> None:
    made: Inputs = inputs(30)
    assert len(made.replies) * VALUES["decrypt-100"] == 12_000
    assert len(made.batches) * VALUES["encrypt-1000"] == 12_000
    assert len(made.wide) * VALUES["decrypt-1500-fields"] == 12_000


def test_a_work_is_done_until_its_time_is_over_and_at_least_twice() -> None:
    assert run(lambda: 0.3, 1.0) == (4, 1.2)
    assert run(lambda: 5.0, 1.0) == (2, 10.0)


def test_mixes_are_for_drivers_only() -> None:
    assert not set(MIXES) & set(workloads(POOL))


def test_both_sides_do_every_work_that_is_compared() -> None:
    made = inputs(1)
    ours, theirs = sealwire_works(made), pymongocrypt_works(made)
    assert set(theirs) == set(VALUES) <= set(ours)
    assert all(work() > 0 for work in (*ours.values(), *theirs.values()))


def test_a_libmongocrypt_that_would_encrypt_by_itself_is_stopped() -> None:
    options = MongoCryptOptions({"local": {"key": os.urandom(96)}}, bypass_encryption=False)
    encrypter = AutoEncrypter(KeyVault(), options)
    try:
        with pytest.raises(UnexpectedRequest):
            encrypter.encrypt("clinic", encode({"find": "patients", "filter": {}, "$db": "clinic"}))
    finally:
        encrypter.close()


def test_a_libmongocrypt_that_would_ask_a_key_service_is_stopped() -> None:
    with pytest.raises(UnexpectedRequest):
        KeyVault().kms_request(None)


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


def test_a_process_that_is_counted_apart_is_part_of_the_whole() -> None:
    sample = sample_of([0.001] * 10, 1.0, Used(10, 0.1, 0.1, between=0.05, apart=0.002))
    assert sample[Metric.CPU] == pytest.approx(5000.0)
    assert sample[Metric.APART_CPU] == pytest.approx(200.0)


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


def test_names_of_people_come_equally_often() -> None:
    for count in NAMES[:2]:
        found = list(people(2_000, count))
        for kind in ASKED:
            names = Counter(each[kind] for each in found)
            assert set(names.values()) == {2_000 // count}
            assert len(names) == count
        assert {*COVERED, *ASKED} == set(policy()["collections"][f"bench.people_{count}"])


# What is measured of an API: each request both ways, and how the two compare.


def test_the_ratio_is_the_median_through_sealwire_by_the_direct_one() -> None:
    timing = Timing("GET /", {API_DIRECT: [0.002, 0.001, 0.5], THROUGH: [0.003, 0.7, 0.002]})
    assert timing.median_ms(API_DIRECT) == 2.0
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
