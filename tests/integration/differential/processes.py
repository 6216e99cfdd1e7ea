"""A campaign in parts, each with a server, a proxy and policies of its own.

A long one has a process for each part.

Processes use the cores; parts bound what the server and hypothesis keep in memory, and bring new policies.
"""

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.integration.differential.tally import Tally
from tests.support.runs import ran

PART = 2_500
"""Most sequences of one process: two minutes."""

_ROOT = Path(__file__).parents[3]
_END_OF_OUTPUT = 12_000


def run_parts(seed: int, examples: int, *options: str) -> Tally:
    """`examples` sequences from seeds `seed`, `seed + 1`, ...: all figures.

    `options` go to every process as they stand. Raises AssertionError, with what the failed parts said.
    """
    sizes = [min(PART, examples - begin) for begin in range(0, examples, PART)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(partial(_run_part, options), range(seed, seed + len(sizes)), sizes))
    total = Tally()
    for part in parts:
        if isinstance(part, Tally):
            total.add(part)
    failed = [part for part in parts if isinstance(part, str)]
    assert not failed, "\n".join(failed)
    return total


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


def _run_part(options: tuple[str, ...], seed: int, examples: int) -> Tally | str:
    """What one process found: figures, or the end of what it said when it failed."""
    command = [sys.executable, "-m", "tests.integration.differential", "--json", *options]
    done = ran([*command, "--seed", str(seed), "--examples", str(examples)], cwd=_ROOT)
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-_END_OF_OUTPUT:]
        return f"--seed {seed} {' '.join(options)} differs:\n{said}"
    return Tally.from_json(json.loads(done.stdout))
