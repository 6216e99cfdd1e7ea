"""`python -m bench`: measure, print, write the JSON."""

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench.canned_backend import measure_canned
from bench.machine import describe_machine
from bench.measure import Figure
from bench.micro import MicroFigure, measure_micro
from bench.real_server import measure_real_server
from bench.recording import make_keyring, record
from bench.report import Report, show, write
from sealwire.keys.environment import generate_encoded_kek

PARTS = ("real", "canned", "micro")


def main() -> None:
    """Parse, run the chosen parts in a temporary folder, report."""
    parser = argparse.ArgumentParser(
        description="Measure what Sealwire costs; ratios from one interleaved run."
    )
    parser.add_argument("--rounds", type=int, default=8, help="interleaved rounds (default 8)")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be repeated")
    parser.add_argument(
        "--tls", action="store_true", help="TLS on every connection to and from the real server"
    )
    parser.add_argument("--no-file", action="store_true", help="write nothing to bench/results")
    arguments = parser.parse_args()
    parts = arguments.only or PARTS
    console = Console()
    started = time.monotonic()
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="sealwire-bench-") as name, console.status("") as status:
        folder = Path(name)
        real: list[Figure] = []
        canned: list[Figure] = []
        micro: list[MicroFigure] = []
        if "real" in parts:
            status.update("real server: three routes in turns")
            real = measure_real_server(_made(folder / "real"), rounds=arguments.rounds, tls=arguments.tls)
        if "canned" in parts or "micro" in parts:
            status.update("recording what the server answers")
            kek = generate_encoded_kek()
            keyring = make_keyring(folder / "canned" / "sealwire", kek)
            recorded = record(_made(folder / "recording"), keyring)
        if "canned" in parts:
            status.update("recorded replies: three routes in turns")
            canned = measure_canned(folder / "canned", recorded, kek, rounds=arguments.rounds)
        if "micro" in parts:
            status.update("the core alone")
            micro = measure_micro(recorded, keyring, repeats=30)
    report = Report(machine, arguments.tls, real, canned, micro, time.monotonic() - started)
    show(console, report)
    if not arguments.no_file:
        console.print(f"written to {write(report)}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
