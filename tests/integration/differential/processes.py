"""A campaign in parts, each with a server, a proxy and policies of its own.

A long one has a process for each part.

Processes use the cores; parts bound what the server and hypothesis keep in memory, and bring new policies.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.integration.differential.tally import Tally

PART = 2_500
"""Most sequences of one process: two minutes."""

_ROOT = Path(__file__).parents[3]
_END_OF_OUTPUT = 12_000


@dataclass(frozen=True, slots=True)
class Part:
    """What one process found: figures, or the end of what it said when it failed."""

    seed: int
    tally: Tally | None
    output: str = ""


def run_parts(seed: int, examples: int, size: int = PART, *options: str) -> tuple[Tally, list[Part]]:
    """`examples` sequences from seeds `seed`, `seed + 1`, ...: all figures, and the parts that failed.

    `options` go to every process as they stand.
    """
    sizes = [min(size, examples - begin) for begin in range(0, examples, size)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(partial(_run_part, options), range(seed, seed + len(sizes)), sizes))
    total = Tally()
    for part in parts:
        if part.tally is not None:
            total.add(part.tally)
    return total, [part for part in parts if part.tally is None]


def run_here(
    folder: Path, seed: int, examples: int, part: Callable[[Path, int, int], Tally], parts: int = 2
) -> Tally:
    """As `run_parts`, one part after the other in this process: sooner where they are short.

    Raises AssertionError for the first difference.
    """
    total = Tally()
    for number in range(seed, seed + parts):
        total.add(part(folder / str(number), number, examples // parts))
    return total


def _run_part(options: tuple[str, ...], seed: int, examples: int) -> Part:
    command = [sys.executable, "-m", "tests.integration.differential", "--json", *options]
    command += ["--seed", str(seed), "--examples", str(examples)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return Part(seed, None, (done.stdout + done.stderr)[-_END_OF_OUTPUT:])
    return Part(seed, Tally.from_json(json.loads(done.stdout)))
