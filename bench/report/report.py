"""The figures as tables for people and as a JSON file for comparison."""

import json
import os
import platform
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench.report.figures import Case, Metric, Results, Series, Spread
from bench.report.goals import Verdict, verdicts
from bench.routes.routes import FORWARDER
from sealwire import core_name

RESULTS = Path(__file__).parents[1] / "results"
_PACKAGES = ("sealwire", "pymongo", "cryptography", "uvloop", "pymongocrypt", "SecantusDB")
TITLES = {
    "core": "core: in process, one thread, no sockets",
    "canned": "canned: recorded replies, raw sockets; the upper bound of the relative overhead",
    "scale": "scale: one proxy with several workers, and two behind HAProxy, by one worker; recorded replies",
    "pymongo-latency": "pymongo: real server, one thread",
    "pymongo-throughput": "pymongo: real server, several threads",
    "server": "server: the real server alone, asked for documents in clear and as Sealwire stores them",
    "memory": "memory",
}
_COLUMNS = {
    Metric.OPERATIONS: "op/s",
    Metric.P50: "p50 us",
    Metric.P99: "p99 us",
    Metric.CPU: "CPU us/op",
    Metric.APART_CPU: "of it first",
    Metric.GENERATOR_CPU: "load us/op",
    Metric.SERVER_CPU: "server us/op",
    Metric.IDLE_CPU: "idle us/s",
    Metric.RESIDENT: "resident KiB",
    Metric.PER_CONNECTION: "KiB/connection",
    Metric.ABOVE_IDLE: "MiB above idle",
    Metric.STALLED: "while stalled",
    Metric.SIZE_RATIO: "by its size",
    Metric.MESSAGE_RATIO: "by one message",
}


@dataclass(frozen=True, slots=True)
class Report:
    """Everything of one run."""

    machine: Mapping[str, object]
    extent: str
    results: Results
    seconds: Mapping[str, float]
    """How long each part took."""

    def as_json(self) -> dict[str, object]:
        """Plain values: each route's spreads and samples, and every target with its verdict."""
        return {
            "machine": dict(self.machine),
            "profile": self.extent,
            "seconds": {name: round(taken, 1) for name, taken in self.seconds.items()},
            "targets": [_verdict_as_json(each) for each in verdicts(self.results)],
            "not_measured": self.results.not_measured,
            "series": [_series_as_json(each) for each in self.results.series],
        }


def write(report: Report, folder: Path = RESULTS) -> Path:
    """Write a new JSON file, named by time and commit; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{report.machine['commit']}.json"
    path.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    return path


def show(console: Console, report: Report) -> None:
    """Print the tables, the targets last."""
    results = report.results
    parts = list(dict.fromkeys(case.part for case in results.cases()))
    for part in parts:
        console.print(part_table(TITLES.get(part, part), part, results))
    for name, reason in results.not_measured.items():
        console.print(f"not measured: {name}: {reason}", soft_wrap=True)
    console.print(goal_table(verdicts(results)))
    machine = report.machine
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"core: {machine['core']}, load before {machine['load_before']}, commit {machine['commit']}, "
        f"profile {report.extent}, {sum(report.seconds.values()):.0f} s: "
        + ", ".join(f"{name} {taken:.0f} s" for name, taken in report.seconds.items()),
        soft_wrap=True,
    )


def part_table(title: str, part: str, results: Results) -> Table:
    """The cases of one part, a row for each route."""
    cases = [case for case in results.cases() if case.part == part]
    metrics = [
        metric
        for metric in _COLUMNS
        if any(each.values(metric) for case in cases for each in results.of(case))
    ]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("case", no_wrap=True)
    table.add_column("route", no_wrap=True)
    for metric in metrics:
        table.add_column(_COLUMNS[metric], justify="right", no_wrap=True)
    table.add_column("x base", justify="right", no_wrap=True)
    for case in cases:
        table.add_section()
        for cells in _rows(case, metrics, results):
            table.add_row(*cells)
    return table


def _rows(case: Case, metrics: Sequence[Metric], results: Results) -> Iterator[list[str]]:
    """One row a route; its throughput is compared with the bare forwarder's if `canned`, else the first's."""
    label = case.workload
    if case.connections > 1:
        label += f" x{case.connections}"
    if case.tls:
        label += " TLS"
    series = results.of(case)
    base = FORWARDER if case.part == "canned" and results.find(case, FORWARDER) else series[0].route
    for each in series:
        cells = [label if each is series[0] else "", each.route]
        cells += [_number(each.spread(metric)) for metric in metrics]
        cells.append(_spread(results.ratio(case, Metric.OPERATIONS, each.route, base)))
        yield cells


def _number(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{spread.median:,.0f}" if spread.median >= 100 else f"{spread.median:.3g}"


def goal_table(found: Sequence[Verdict]) -> Table:
    """A row for each target."""
    table = Table(title="must reach", title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for heading in ("name", "what"):
        table.add_column(heading, overflow="fold")
    for heading in ("target", "figure (low-high)", "", "against no proxy"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        goal = each.goal
        bound = f"{goal.bound.value} {goal.limit:g}"
        cells = [bound, _spread(each.figure), each.outcome.value, _spread(each.direct)]
        table.add_row(goal.name, goal.text, *cells)
    return table


def _spread(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"


def _verdict_as_json(verdict: Verdict) -> dict[str, object]:
    goal = verdict.goal
    return {
        "name": goal.name,
        "text": goal.text,
        "bound": goal.bound.value,
        "limit": goal.limit,
        "figure": None if verdict.figure is None else asdict(verdict.figure),
        "outcome": verdict.outcome.name.lower(),
        "against_no_proxy": None if verdict.direct is None else asdict(verdict.direct),
    }


def _series_as_json(series: Series) -> dict[str, object]:
    metrics = dict.fromkeys(metric for sample in series.samples for metric in sample)
    spreads = {metric: series.spread(metric) for metric in metrics}
    return {
        **asdict(series.case),
        "route": series.route,
        "spread": {metric: asdict(spread) for metric, spread in spreads.items() if spread is not None},
        "samples": [
            {metric: round(value, 3) for metric, value in sample.items()} for sample in series.samples
        ],
    }


def describe_machine() -> dict[str, object]:
    """Processor, cores, memory, kernel, Python, packages, commit and load, as plain JSON values."""
    return {
        "processor": _first_after(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory": _first_after(Path("/proc/meminfo"), "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "packages": {name: _version(name) for name in _PACKAGES},
        "core": core_name(),
        "commit": _commit(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _first_after(file: Path, key: str) -> str:
    if not file.exists():
        return ""
    lines = (line for line in file.read_text().splitlines() if line.startswith(key))
    return next(lines, ":").partition(":")[2].strip()


def _commit() -> str:
    """Short commit id, `-dirty` when anything but earlier results differs from it."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", ":/", ":(top,exclude)bench/results")
    return f"{commit}-dirty" if commit and changed else commit or "unknown"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
