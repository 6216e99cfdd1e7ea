"""The figures as tables for people and as a JSON file for comparison."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench.measure import Figure
from bench.micro import MicroFigure

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Report:
    """Everything of one run."""

    machine: dict[str, object]
    tls: bool
    real: Sequence[Figure]
    canned: Sequence[Figure]
    micro: Sequence[MicroFigure]
    seconds: float


def write(report: Report, folder: Path = RESULTS) -> Path:
    """Write a new JSON file, named by time and commit; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{report.machine['commit']}.json"
    path.write_text(json.dumps(asdict(report), indent=1) + "\n")
    return path


def show(console: Console, report: Report) -> None:
    """Print the tables."""
    machine = report.machine
    console.print(f"\n{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, ", end="")
    console.print(f"load {machine['load_before']}, commit {machine['commit']}, {report.seconds:.0f} s")
    transport = "TLS on every connection" if report.tls else "plaintext connections"
    if report.real:
        console.print(_table(f"real server, pymongo, {transport}", report.real))
    if report.canned:
        console.print(
            _table(
                "recorded replies, raw sockets, 1 or 16 connections: upper bound of the relative overhead",
                report.canned,
            )
        )
    if report.micro:
        console.print(_micro_table(report.micro))


def _table(title: str, figures: Sequence[Figure]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("operation", no_wrap=True)
    table.add_column("route", no_wrap=True)
    for heading in ("us", "x direct (rounds)", "x forwarder"):
        table.add_column(heading, justify="right", no_wrap=True)
    before = ""
    for figure in figures:
        if figure.operation != before:
            table.add_section()
        table.add_row(
            figure.operation if figure.operation != before else "",
            figure.route,
            f"{figure.median_s * 1e6:,.0f}",
            f"{figure.ratio:.2f} ({figure.lowest_ratio:.2f}-{figure.highest_ratio:.2f})",
            f"{figure.floor_ratio:.2f}",
        )
        before = figure.operation
    return table


def _micro_table(figures: Sequence[MicroFigure]) -> Table:
    table = Table(
        title="the core in this process, no I/O", title_justify="left", box=box.SIMPLE_HEAD, padding=0
    )
    table.add_column("work", no_wrap=True)
    for heading in ("us", "lowest us", "values", "us a value"):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.median_s * 1e6:,.0f}",
            f"{figure.lowest_s * 1e6:,.0f}",
            f"{figure.values:,}" if figure.values else "",
            f"{figure.median_s * 1e6 / figure.values:.2f}" if figure.values else "",
        )
    return table
