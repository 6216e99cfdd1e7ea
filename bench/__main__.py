"""`python -m bench`: measure, print, write the JSON."""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.figures import Results
from bench.machine import describe_machine
from bench.part_canned import Prepared, measure_canned, prepare
from bench.part_core import measure_core
from bench.part_real import measure_node, measure_pymongo, real_server
from bench.peers import versions
from bench.profiles import FULL, PROFILES, QUICK, TINY, Profile
from bench.report import TITLES, Report, show, write
from bench.targets import TARGETS

PARTS = ("core", "canned", "canned-tls", "real", "node", "memory")
REAL_PARTS = {"real", "node"}

_WIDTH = 150
"""Of tables that go into a file."""


def main() -> None:
    """Parse, run the chosen parts in a temporary folder, report."""
    arguments = _parse()
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    if arguments.list:
        _list(console)
        return
    profile: Profile = PROFILES[arguments.profile]
    if arguments.rounds:
        profile = replace(
            profile, rounds=arguments.rounds, core_rounds=arguments.rounds, real_rounds=arguments.rounds
        )
    parts = arguments.only or PARTS
    started = time.monotonic()
    machine = describe_machine() | {"peers": versions()}
    results = Results()
    with tempfile.TemporaryDirectory(prefix="sealwire-bench-") as name, console.status("") as status:
        run = Run(profile, Path(name), results, status.update, arguments.generators)
        for part in PARTS:
            if part in parts and part not in REAL_PARTS:
                run.part(part)
        if REAL_PARTS & set(parts):
            run.real(parts, tls=arguments.real_tls)
    if run.libmongocrypt:
        machine["libmongocrypt"] = run.libmongocrypt
    report = Report(machine, profile.name, results, time.monotonic() - started)
    show(console, report)
    if not arguments.no_file:
        console.print(f"written to {write(report)}", soft_wrap=True)


class Run:
    """The parts of one run; what they share is made when the first one needs it."""

    def __init__(
        self, profile: Profile, folder: Path, results: Results, tell: Callable[[str], None], generators: int
    ) -> None:
        self._profile = profile
        self._folder = folder
        self._results = results
        self._tell = tell
        self._generators = generators
        self._prepared: Prepared | None = None
        self.libmongocrypt: dict[str, str] = {}

    def part(self, name: str) -> None:
        """Measure one part and add to the results."""
        self._tell(name)
        if name == "core":
            self.libmongocrypt = measure_core(self._profile, self._results)
        elif name in ("canned", "canned-tls"):
            tls = name == "canned-tls"
            measure_canned(
                self._recorded(),
                self._profile,
                self._results,
                self._tell,
                generators=self._generators,
                tls=tls,
            )

    def real(self, names: Sequence[str], *, tls: bool) -> None:
        """The parts that ask the real server, over one loaded server."""
        self._tell("loading the real server's databases")
        with real_server(self._folder / "real", self._profile, tls=tls) as real:
            if "real" in names:
                measure_pymongo(real, self._profile, self._results, self._tell, tls=tls)
            if "node" in names:
                measure_node(real, self._profile, self._results, self._tell, tls=tls)

    def _recorded(self) -> Prepared:
        if self._prepared is None:
            self._tell("recording what the server answers")
            self._prepared = prepare(self._folder / "recorded", self._profile)
        return self._prepared


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="What Sealwire costs, and against what; ratios from interleaved rounds of one run.",
        epilog="docs/benchmarks.md explains method and limits",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--profile", choices=PROFILES, default=FULL.name, help="how much (default full)")
    for profile, text in (
        (QUICK, "what the targets need, 3 minutes"),
        (TINY, "everything once, means nothing"),
    ):
        chosen.add_argument(
            f"--{profile.name}", dest="profile", action="store_const", const=profile.name, help=text
        )
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be repeated")
    parser.add_argument("--rounds", type=int, help="interleaved rounds, instead of the profile's")
    parser.add_argument("--generators", type=int, default=1, help="processes that make load (default 1)")
    parser.add_argument("--real-tls", action="store_true", help="TLS on every connection of the real server")
    parser.add_argument("--list", action="store_true", help="list the parts and the targets, measure nothing")
    parser.add_argument("--no-file", action="store_true", help="write nothing to bench/results")
    return parser.parse_args()


def _list(console: Console) -> None:
    console.print("parts:", ", ".join(PARTS))
    for title in TITLES.values():
        console.print(f"  {title}", soft_wrap=True)
    console.print("targets:")
    for target in TARGETS:
        console.print(f"  {target.name}: {target.text} {target.bound.value} {target.limit:g}", soft_wrap=True)


if __name__ == "__main__":
    main()
