"""Runs the soak, tells how it goes, and writes what came of it: python -m tests.soak, or make soak.

`make soak` runs a copy of the repository with the compiled core: so it says where the results go.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.build_context import ROOT
from tests.soak.running import Soak, soak

SECONDS = 1200.0
ASSETS = ROOT / "docs" / "assets"
_WIDTH_IN = 9.0


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a mixed load and draw what became of it.")
    parser.add_argument("--into", type=Path, default=ASSETS, metavar="FOLDER", help="write the results there")
    into = parser.parse_args().into
    seconds = float(os.environ.get("SEALWIRE_SOAK_SECONDS", SECONDS))
    with tempfile.TemporaryDirectory() as folder:
        done = soak(Path(folder), seconds, lambda line: print(line, flush=True))  # noqa: T201
    (into / "soak.json").write_text(json.dumps(done.as_json(), indent=1) + "\n")
    draw(done, into / "soak.svg")
    for problem in done.problems() or ["no errors, no growth"]:
        print(problem)  # noqa: T201
    return 1 if done.problems() else 0


def draw(done: Soak, path: Path) -> None:
    """Memory, files and latency over the time."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "sealwire", "font.size": 10})
    figure = Figure(figsize=(_WIDTH_IN, 7))
    memory, files, latency = figure.subplots(3, 1, sharex=True)
    minutes = [each.at_s / 60 for each in done.samples]
    memory.plot(minutes, [each.resident_kib / 1024 for each in done.samples], color="#D55E00")
    memory.set_ylabel("memory, MiB")
    memory.set_ylim(0, 1.3 * max(each.resident_kib for each in done.samples) / 1024)
    files.plot(minutes, [each.files for each in done.samples], color="#0072B2", label="open files")
    files.plot(minutes, [each.connections for each in done.samples], color="#009E73", label="connections")
    files.set_ylim(bottom=0)
    files.legend()
    latency.plot(minutes, [each.p99_ms for each in done.samples], color="#CC79A7", label="99 of 100")
    latency.plot(minutes, [each.p50_ms for each in done.samples], color="#999999", label="half")
    latency.set_ylabel("latency below, ms")
    latency.set_ylim(bottom=0)
    latency.set_xlabel("minutes")
    latency.legend()
    total = sum(done.operations.values())
    memory.set_title(f"{total:,} operations, {sum(done.errors.values())} errors, {done.core} core")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
