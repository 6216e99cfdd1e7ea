"""The figures as pictures (SVG): what Sealwire adds, overhead by workload, processor time by connections.

python -m bench.report.plots bench/results/RUN.json     # draw a kept run again, beside its file
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from bench.report.extents import CONNECTIONS
from bench.report.figures import Case, Metric, Results, Series, Spread
from bench.routes.routes import CLIENT_SIDE, DIRECT, FORWARDER, NGINX, SEALWIRE
from bench.workloads import (
    FIND_100,
    FIND_ONE,
    GROUPING,
    INSERT_MANY,
    INSERT_ONE,
    MIX_A,
    MIX_B,
    MIX_C,
    PING,
    UNPROTECTED,
    UPDATE_ONE,
)

# Colours that people with colour-blindness can tell apart (Okabe and Ito); one for each route everywhere.
COLOURS = {
    DIRECT: "#999999",
    FORWARDER: "#56B4E9",
    NGINX: "#009E73",
    SEALWIRE: "#D55E00",
    CLIENT_SIDE: "#CC79A7",
}
LABELS = {
    DIRECT: "no proxy",
    FORWARDER: "bare forwarder",
    NGINX: "nginx",
    SEALWIRE: "Sealwire",
    CLIENT_SIDE: "client-side encryption",
}
WORKLOADS = {
    PING: "ping",
    UNPROTECTED: "find, unprotected collection",
    FIND_ONE: "find one",
    FIND_100: "find 100",
    INSERT_ONE: "insert one",
    INSERT_MANY: "insert 1,000",
    UPDATE_ONE: "update one",
    GROUPING: "group by an encrypted field",
    MIX_A: "half reads, half updates",
    MIX_B: "95 % reads",
    MIX_C: "only reads",
}
ADDED = (FIND_ONE, INSERT_ONE, FIND_100)
"""The workloads of the picture that a stranger sees first."""
_WIDTH_IN = 9.0
_BESIDE: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}


def draw(results: Results, folder: Path, stem: str) -> list[Path]:
    """Write every picture for which there are figures; gives their paths."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "sealwire", "font.size": 10})
    written = []
    for name, picture in _pictures(results).items():
        figure = picture()
        if figure is not None:
            path = folder / f"{stem}-{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            written.append(path)
    return written


def _pictures(results: Results) -> dict[str, Callable[[], Figure | None]]:
    cases = [case for case in results.cases() if case.workload in WORKLOADS]
    canned = [case for case in cases if case.part == "canned" and case.connections == CONNECTIONS]
    latency = [case for case in cases if case.part == "pymongo-latency"]
    return {
        "added-time": lambda: _added(results),
        "throughput-by-workload": lambda: _bars(
            results,
            canned,
            Metric.OPERATIONS,
            FORWARDER,
            "Throughput compared with a bare forwarder (recorded replies, 16 connections)",
            "throughput, bare forwarder = 1; longer is better",
        ),
        "latency-by-workload": lambda: _bars(
            results,
            latency,
            Metric.P50,
            DIRECT,
            "Latency compared with no proxy (real server, pymongo, one thread)",
            "median latency, no proxy = 1; shorter is better",
        ),
        "cpu-by-connections": lambda: _processor_time(results),
    }


def _added(results: Results) -> Figure | None:
    """One panel a workload: processor time of a forwarder, what Sealwire adds, and client-side encryption."""
    rows = {name: found for name in ADDED if (found := list(_added_rows(results, name)))}
    if not rows:
        return None
    figure = Figure(figsize=(_WIDTH_IN, 0.9 + sum(0.65 + 0.3 * len(found) for found in rows.values())))
    heights = [len(found) for found in rows.values()]
    panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, found) in zip(panels, rows.items(), strict=True):
        for place, (_, route, floor, added) in enumerate(found):
            axes.barh(place, floor, 0.7, color=COLOURS[FORWARDER])
            axes.barh(place, added.median, 0.7, left=floor, color=COLOURS[route])
            amount = f"{floor:,.0f} + {added.median:,.0f}" if floor else f"{added.median:,.0f}"
            axes.annotate(amount, (floor + added.median, place), **_BESIDE)
        axes.set_yticks(range(len(found)), [label for label, *_ in found])
        axes.set_title(WORKLOADS[name], fontsize=10, loc="left")
        axes.margins(x=0.12)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("microseconds of processor time an operation (each panel has its own scale)")
    marks = {
        FORWARDER: "bare forwarder",
        SEALWIRE: "added by Sealwire",
        CLIENT_SIDE: "added in the application",
    }
    handles = [Patch(color=COLOURS[route], label=label) for route, label in marks.items()]
    figure.legend(handles=handles, loc="upper center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / figure.get_figheight()))
    return figure


def _added_rows(results: Results, workload: str) -> Iterator[tuple[str, str, float, Spread]]:
    """Label, route, microseconds of the forwarder, and what is added to them; only what was measured."""
    for tls, label in ((False, "Sealwire"), (True, "Sealwire, TLS on both sides")):
        case = Case("canned", workload, CONNECTIONS, tls)
        floor = results.find(case, FORWARDER)
        spread = floor.spread(Metric.CPU) if floor else None
        added = results.difference(case, Metric.CPU, SEALWIRE, FORWARDER)
        if spread and added:
            yield label, SEALWIRE, spread.median, added
    case = Case("pymongo-latency", workload)
    if added := results.difference(case, Metric.GENERATOR_CPU, CLIENT_SIDE, DIRECT):
        yield LABELS[CLIENT_SIDE], CLIENT_SIDE, 0.0, added


def _bars(
    results: Results, cases: Sequence[Case], metric: Metric, base: str, title: str, axis: str
) -> Figure | None:
    """One group of bars a case, one bar a route, with the extremes of the rounds."""
    found = [
        (case, [route for route in COLOURS if route != base and results.find(case, route)]) for case in cases
    ]
    found = [(case, routes) for case, routes in found if routes and results.find(case, base)]
    if not found:
        return None
    routes = [route for route in COLOURS if any(route in names for _, names in found)]
    figure = Figure(figsize=(_WIDTH_IN, 1.4 + 0.13 * sum(len(names) + 1 for _, names in found)))
    axes = figure.subplots()
    height = 0.8 / len(routes)
    lengths = [1.0]
    for number, route in enumerate(routes):
        for place, (case, _) in enumerate(found):
            ratio = results.ratio(case, metric, route, base)
            if ratio is not None:
                lengths.append(ratio.median)
                spread = [[ratio.median - ratio.low], [ratio.high - ratio.median]]
                axes.barh(
                    place - 0.4 + (number + 0.5) * height,
                    ratio.median,
                    height,
                    xerr=spread,
                    color=COLOURS[route],
                    ecolor="#555555",
                )
    axes.axvline(1, color="#333333", linewidth=1)
    labels = [f"{WORKLOADS[case.workload]}{', TLS' if case.tls else ''}" for case, _ in found]
    axes.set_yticks(range(len(found)), labels)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    # Extreme rounds and a bar half as long again as the next one end at the edge: the others have the room.
    *_, second, longest = sorted([0.0, *lengths])
    edge = 1.25 * (second if longest > 1.5 * second > 0 else longest)
    axes.set_xlim(0, edge)
    for bar in axes.patches:
        if isinstance(bar, Rectangle) and bar.get_width() > edge:
            middle = bar.get_y() + bar.get_height() / 2
            axes.annotate(f"{bar.get_width():.1f}", (edge, middle), **_BESIDE)
    axes.set_xlabel(axis)
    return _finish(figure, axes, title, routes)


def _processor_time(results: Results) -> Figure | None:
    """One panel a workload, one line a route, over the number of connections."""
    cases = [
        case
        for case in results.cases()
        if case.part == "canned" and not case.tls and case.workload in WORKLOADS
    ]
    by_workload = {
        name: sorted((case.connections, case) for case in cases if case.workload == name)
        for name in dict.fromkeys(case.workload for case in cases)
    }
    by_workload = {name: points for name, points in by_workload.items() if len(points) > 1}
    if not by_workload:
        return None
    figure = Figure(figsize=(_WIDTH_IN, 4.0))
    panels = figure.subplots(1, len(by_workload), squeeze=False, sharey=True)[0]
    for axes, (name, points) in zip(panels, by_workload.items(), strict=True):
        for route, colour in COLOURS.items():
            line = [(count, results.find(case, route)) for count, case in points]
            spreads = [(count, each.spread(Metric.CPU)) for count, each in line if each is not None]
            drawn = [(count, spread) for count, spread in spreads if spread is not None]
            # a line needs more than one point; some routes are measured at one number of connections only
            if len(drawn) > 1:
                counts = [count for count, _ in drawn]
                axes.plot(
                    counts,
                    [spread.median for _, spread in drawn],
                    marker="o",
                    color=colour,
                    label=LABELS[route],
                )
                lows, highs = [each.low for _, each in drawn], [each.high for _, each in drawn]
                axes.fill_between(counts, lows, highs, color=colour, alpha=0.2, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks([count for count, _ in points], [f"{count:,}" for count, _ in points])
        axes.minorticks_off()
        axes.set_xlabel("connections")
        axes.set_title(WORKLOADS[name], fontsize=10)
        axes.grid(alpha=0.3)
    # after the last line: the panels share the axis, and a limit set earlier would hold for all of them
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("microseconds an operation")
    panels[0].legend(frameon=False)
    figure.suptitle("Processor time of the proxy (recorded replies)")
    figure.tight_layout()
    return figure


def _finish(figure: Figure, axes: Axes, title: str, routes: Sequence[str]) -> Figure:
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.suptitle(title, fontsize=11)
    handles = [Patch(color=COLOURS[route], label=LABELS[route]) for route in routes]
    figure.legend(handles=handles, loc="lower center", ncols=len(routes), frameon=False)
    figure.tight_layout(rect=(0, 0.35 / figure.get_figheight(), 1, 1))
    return figure


def read(file: Path) -> Results:
    """The samples of a run that `report.write` kept."""
    kept = json.loads(file.read_text(encoding="utf-8"))["series"]
    return Results(
        [
            Series(
                Case(each["part"], each["workload"], each["connections"], each["tls"]),
                each["route"],
                tuple({Metric(name): value for name, value in one.items()} for one in each["samples"]),
            )
            for each in kept
        ]
    )


if __name__ == "__main__":
    run = Path(sys.argv[1])
    for written in draw(read(run), run.parent, run.stem):
        print(written)
