"""`python -m bench.migration`: measure, print, write the JSON."""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.migration.alone import WORKS, Figures
from bench.migration.beside import Noticed, measure_beside
from bench.report.figures import Tell
from bench.report.report import RESULTS, describe_machine

LEAST_DOCUMENTS_S: Final = 5_000
MOST_PEAK_KIB: Final = 150 << 10
MOST_LATENCY: Final = 1.3
_ALONE: Final = [
    "job",
    "documents",
    "a second",
    "job us",
    "server us",
    "of it updates",
    "idle MiB",
    "peak MiB",
    "rate",
    "memory",
]
_BESIDE: Final = [
    "job",
    "documents",
    "a second",
    "peak MiB",
    "questions",
    "asked",
    "rest us",
    "meanwhile us",
    "p99 us",
    "ratio",
    "",
]
_WORDS: Final = {True: "reached", False: "NOT REACHED"}


def main() -> None:
    """Parse and run both parts; an error of one ends the run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.migration",
        description="What a migration costs: its own rate and memory, and an application's latency.",
    )
    parser.add_argument(
        "--documents", type=int, default=1_000_000, help="held in memory (default 1,000,000: 5 minutes)"
    )
    parser.add_argument(
        "--real-documents", type=int, default=10_000, help="on the real server (default 10,000)"
    )
    parser.add_argument("--no-file", action="store_true", help="write nothing to bench/results")
    arguments = parser.parse_args()
    machine = describe_machine()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="sealwire-bench-") as name, console.status("") as status:
        alone = measure_alone(arguments.documents, status.update)
        beside = measure_beside(Path(name), arguments.real_documents, status.update)
    show(console, alone, beside)
    if not arguments.no_file:
        path = RESULTS / f"migration-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{machine['commit']}.json"
        whole = {
            "machine": machine,
            "alone": [asdict(each) for each in alone],
            "beside": [asdict(each) for each in beside],
        }
        path.write_text(json.dumps(whole, indent=1) + "\n")
        console.print(f"written to {path}", soft_wrap=True)


def measure_alone(count: int, tell: Tell) -> list[Figures]:
    """Each work in a process of its own. Raises CalledProcessError."""
    found: list[Figures] = []
    for work in WORKS:
        tell(f"{work}, {count:,} documents in memory")
        line = [sys.executable, "-m", "bench.migration.alone", work, "--documents", str(count)]
        done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
        found.append(Figures(**json.loads(done.stdout)))
    return found


def show(console: Console, alone: list[Figures], beside: list[Noticed]) -> None:
    """Two tables, each with its targets."""
    table = Table(
        *_ALONE,
        title="alone: against a server in memory; microseconds of processor time a document",
        title_justify="left",
    )
    for one in alone:
        rate = one.documents / one.wall_s
        taken = (one.cpu_s, one.server_cpu_s, one.update_cpu_s)
        table.add_row(
            one.work,
            f"{one.documents:,}",
            f"{rate:,.0f}",
            *(f"{seconds / one.documents * 1e6:.0f}" for seconds in taken),
            f"{one.idle_kib / 1024:.0f}",
            f"{one.peak_kib / 1024:.0f}",
            _WORDS[rate >= LEAST_DOCUMENTS_S],
            _WORDS[one.peak_kib <= MOST_PEAK_KIB],
        )
    console.print(table)
    table = Table(
        *_BESIDE,
        title="beside: the command on the real server, and an application; medians",
        title_justify="left",
    )
    for each in beside:
        for kind, ratio in each.ratio.items():
            table.add_row(
                each.work,
                f"{each.documents:,}",
                f"{each.documents_s:,.0f}",
                f"{each.peak_kib / 1024:.0f}",
                f"{each.questions:,}",
                kind,
                f"{each.rest_p50_us[kind]:,.0f}",
                f"{each.work_p50_us[kind]:,.0f}",
                f"{each.work_p99_us[kind]:,.0f}",
                f"{ratio:.2f}",
                _WORDS[ratio <= MOST_LATENCY],
            )
    console.print(table)


if __name__ == "__main__":
    main()
