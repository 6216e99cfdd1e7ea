"""The figures as pictures (SVG): overhead by workload, processor time by connections."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.extents import CONNECTIONS
from bench.report.figures import Case, Metric, Results
from bench.routes.routes import (
    CLIENT_SIDE,
    DIRECT,
    FORWARDER,
    NGINX,
    SEALWIRE,
    SEALWIRE_POLLING,
)

# Colours that people with colour-blindness can tell apart (Okabe and Ito); one for each route everywhere.
COLOURS = {
    DIRECT: "#999999",
    FORWARDER: "#56B4E9",
    NGINX: "#009E73",
    SEALWIRE: "#D55E00",
    SEALWIRE_POLLING: "#0072B2",
    CLIENT_SIDE: "#CC79A7",
}
_WIDTH_IN = 9.0


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
    cases = list(results.cases())
    canned = [case for case in cases if case.part == "canned" and case.connections == CONNECTIONS]
    latency = [case for case in cases if case.part == "pymongo-latency"]
    return {
        "throughput-by-workload": lambda: _bars(
            results,
            canned,
            Metric.OPERATIONS,
            FORWARDER,
            "Throughput by workload, bare forwarder = 1\n(recorded replies, 16 connections; right is better)",
        ),
        "latency-by-workload": lambda: _bars(
            results,
            latency,
            Metric.P50,
            DIRECT,
            "Median latency by workload, direct = 1\n(real server, pymongo, one thread; left is better)",
        ),
        "cpu-by-connections": lambda: _processor_time(results),
    }


def _bars(results: Results, cases: Sequence[Case], metric: Metric, base: str, title: str) -> Figure | None:
    """One group of bars a case, one bar a route, with the extremes of the rounds."""
    found = [(case, [each.route for each in results.of(case) if each.route != base]) for case in cases]
    found = [(case, routes) for case, routes in found if routes and results.find(case, base)]
    if not found:
        return None
    routes = [route for route in COLOURS if any(route in names for _, names in found)]
    figure = Figure(figsize=(_WIDTH_IN, 1.2 + 0.2 * sum(len(names) + 1 for _, names in found)))
    axes = figure.subplots()
    height = 0.8 / len(routes)
    for number, route in enumerate(routes):
        for place, (case, _) in enumerate(found):
            ratio = results.ratio(case, metric, route, base)
            if ratio is not None:
                spread = [[ratio.median - ratio.low], [ratio.high - ratio.median]]
                axes.barh(
                    place - 0.4 + (number + 0.5) * height,
                    ratio.median,
                    height,
                    xerr=spread,
                    color=COLOURS[route],
                    ecolor="#555555",
                    label=route if place == 0 else None,
                )
    axes.axvline(1, color="#333333", linewidth=1)
    axes.set_yticks(range(len(found)), [f"{case.workload}{' TLS' if case.tls else ''}" for case, _ in found])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    return _finish(figure, axes, title)


def _processor_time(results: Results) -> Figure | None:
    """One panel a workload, one line a route, over the number of connections."""
    cases = [case for case in results.cases() if case.part == "canned" and not case.tls]
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
                    counts, [spread.median for _, spread in drawn], marker="o", color=colour, label=route
                )
                lows, highs = [each.low for _, each in drawn], [each.high for _, each in drawn]
                axes.fill_between(counts, lows, highs, color=colour, alpha=0.2, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks([count for count, _ in points], [f"{count:,}" for count, _ in points])
        axes.minorticks_off()
        axes.set_xlabel("connections")
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
    # after the last line: the panels share the axis, and a limit set earlier would hold for all of them
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("microseconds")
    panels[0].legend(frameon=False)
    figure.suptitle("Processor time an operation of what stands between (recorded replies)")
    figure.tight_layout()
    return figure


def _finish(figure: Figure, axes: Axes, title: str) -> Figure:
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout()
    return figure
