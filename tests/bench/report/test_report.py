"""A run becomes tables, a JSON file and pictures; nothing that was left out is left unsaid."""

import io
import json
from pathlib import Path

from rich.console import Console

from bench.parts.real import NODE, NODE_DRIVER
from bench.report.figures import Case, Metric, Results, Series
from bench.report.goals import GOALS
from bench.report.machine import describe_machine
from bench.report.plots import draw
from bench.report.report import RESULTS, Report, show, write
from sealwire import core_name
from tests.build_context import ROOT


def results() -> Results:
    """A few routes, two rounds."""
    made = Results(not_measured={"canned haproxy": "not to be had with apt"})
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
    assert written["not_measured"] == {"canned haproxy": "not to be had with apt"}
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
    assert "not measured: canned haproxy: not to be had with apt" in text
    assert "0.67 (0.67-0.67)" in text
    (row,) = (line for line in text.splitlines() if line.strip().startswith("latency-find-one"))
    cells = ("1.30 (1.30-1.30)", "NOT REACHED", "1.14 (1.14-1.14)", "reached", "1.23 (1.23-1.23)")
    places = [row.index(cell) for cell in cells]
    assert places == sorted(places)
    assert text.count("not measured") == len(GOALS) - 1  # all targets but two, and the peer


def test_pictures_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    drawn = draw(results(), tmp_path, "run")
    assert [path.name for path in drawn] == [
        "run-throughput-by-workload.svg",
        "run-latency-by-workload.svg",
        "run-throughput-by-connections.svg",
        "run-cpu-by-connections.svg",
    ]
    assert all("sealwire" in path.read_text() for path in drawn)
    assert draw(Results(), tmp_path, "empty") == []


def test_the_same_figures_give_the_same_picture(tmp_path: Path) -> None:
    first, second = (draw(results(), tmp_path, name)[0] for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_results_and_the_driver_of_node_lie_where_the_bench_is() -> None:
    assert RESULTS == ROOT / "bench" / "results"
    assert NODE_DRIVER.is_file()
    assert (NODE / "package.json").is_file()
