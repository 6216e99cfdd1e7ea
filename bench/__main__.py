"""`python -m bench`: measure, print, write the JSON."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from bench.parts.canned import Prepared, measure_canned, prepare
from bench.parts.core import measure_core
from bench.parts.memory import measure_memory
from bench.parts.real import measure_pymongo, measure_server, real_server
from bench.parts.scale import measure_scale
from bench.report.extents import EXTENTS, FULL, QUICK, TINY, Extent
from bench.report.figures import Results
from bench.report.goals import GOALS
from bench.report.plots import draw
from bench.report.report import TITLES, Report, describe_machine, show, write
from bench.routes.routes import peer_versions
from sealwire.testbed.errors import TestbedError

PARTS = ("core", "canned", "canned-tls", "memory", "scale", "real", "real-tls")

_WIDTH = 150
"""The width of tables that go into a file."""


def main() -> int:
    """Parse, run the chosen parts in a temporary folder, report; 1 where a part or route was not measured."""
    arguments = _parse()
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    if arguments.list:
        _list(console)
        return 0
    extent: Extent = EXTENTS[arguments.profile]
    if arguments.rounds:
        extent = replace(
            extent, rounds=arguments.rounds, core_rounds=arguments.rounds, real_rounds=arguments.rounds
        )
    machine = describe_machine() | {"peers": peer_versions()}
    with tempfile.TemporaryDirectory(prefix="sealwire-bench-") as name, console.status("") as status:
        run = Run(extent, Path(name), status.update)
        run.parts(arguments.only or PARTS)
    machine |= {"libmongocrypt": run.libmongocrypt} if run.libmongocrypt else {}
    report = Report(machine, extent.name, run.results, run.seconds)
    show(console, report)
    if not arguments.no_file:
        path = write(report)
        for written in (path, *draw(run.results, path.parent, path.stem)):
            console.print(f"written to {written}", soft_wrap=True)
    return 1 if run.results.not_measured else 0


class Run:
    """The parts of one run; what they share is made when the first one needs it."""

    def __init__(self, extent: Extent, folder: Path, tell: Callable[[str], None]) -> None:
        self.results = Results()
        self.libmongocrypt: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self._extent = extent
        self._folder = folder
        self._tell = tell
        self._prepared: Prepared | None = None

    def parts(self, names: Sequence[str]) -> None:
        """Measure each; one that fails is reported as not measured, and the others go on."""
        steps: dict[str, Callable[[], None]] = {
            "core": self._core,
            "canned": partial(self._canned, tls=False),
            "canned-tls": partial(self._canned, tls=True),
            "memory": self._memory,
            "scale": self._scale,
            "real": partial(self._real, tls=False),
            "real-tls": partial(self._real, tls=True),
        }
        for name in (part for part in PARTS if part in names):
            self._tell(name)
            started = time.monotonic()
            try:
                steps[name]()
            except (RuntimeError, OSError, EOFError, ValueError, TestbedError) as error:
                self.results.not_measured[name] = f"failed: {type(error).__name__}: {error}"
            self.seconds[name] = time.monotonic() - started

    def _core(self) -> None:
        self.libmongocrypt = measure_core(self._extent, self.results)

    def _canned(self, *, tls: bool) -> None:
        measure_canned(self._recorded(), self._extent, self.results, self._tell, tls=tls)

    def _memory(self) -> None:
        measure_memory(self._recorded(), self._extent, self.results, self._tell)

    def _scale(self) -> None:
        for tls in (False, True):
            measure_scale(self._recorded(), self._extent, self.results, self._tell, tls=tls)

    def _real(self, *, tls: bool) -> None:
        folder = self._folder / ("real-tls" if tls else "real")
        with real_server(folder, self._extent, tls=tls) as real:
            measure_pymongo(real, self._extent, self.results, self._tell, tls=tls)
            if not tls:
                measure_server(real, self._extent, self.results, self._tell)

    def _recorded(self) -> Prepared:
        if self._prepared is None:
            self._tell("recording what the server answers")
            self._prepared = prepare(self._folder / "recorded", self._extent)
        return self._prepared


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="What Sealwire costs, and against what; ratios from interleaved rounds of one run.",
        epilog="docs/benchmarks.md explains method and limits",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--profile", choices=EXTENTS, default=FULL.name, help="how much (default full)")
    for extent, text in (
        (QUICK, "what the targets need"),
        (TINY, "everything once, means nothing"),
    ):
        chosen.add_argument(
            f"--{extent.name}", dest="profile", action="store_const", const=extent.name, help=text
        )
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be repeated")
    parser.add_argument("--rounds", type=int, help="interleaved rounds, instead of the profile's")
    parser.add_argument("--list", action="store_true", help="list the parts and the targets, measure nothing")
    parser.add_argument("--no-file", action="store_true", help="write nothing to bench/results")
    return parser.parse_args()


def _list(console: Console) -> None:
    console.print("parts:", ", ".join(PARTS))
    for title in TITLES.values():
        console.print(f"  {title}", soft_wrap=True)
    console.print("targets:")
    for goal in GOALS:
        console.print(f"  {goal.name}: {goal.text} {goal.bound.value} {goal.limit:g}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
