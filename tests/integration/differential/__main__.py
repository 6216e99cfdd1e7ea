"""Run the differential test by hand: `python -m tests.integration.differential --examples 1000 --seed 7`."""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.integration.differential.campaign import run_campaign, run_moving


def main() -> None:
    """Exit status 1 and the smallest sequence that differs, or 0 and the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.differential", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="how many sequences (default: 1000)")
    parser.add_argument(
        "--seed", type=int, default=int(os.environ.get("SEALWIRE_SEED", "1")), help="what they are drawn from"
    )
    parser.add_argument("--json", action="store_true", help="print the figures for a program")
    parser.add_argument("--malformed", action="store_true", help="commands that MongoDB rejects, instead")
    parser.add_argument("--moving", action="store_true", help="by two proxies, while classes move")
    parser.add_argument(
        "--to-clear", action="store_true", help="while classes move, also to plaintext and back"
    )
    parser.add_argument("--asks", action="store_true", help="with conditions that need a question")
    parser.add_argument("--unasked", action="store_true", help="the same commands, where no class asks")
    parser.add_argument("--contexts", action="store_true", help="with keys for each database, which are new")
    parser.add_argument("--older", action="store_true", help="with an older version of each class's key")
    chosen = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
        if chosen.moving:
            tally = run_moving(
                Path(folder), chosen.seed, chosen.examples, to_clear=chosen.to_clear, asks=chosen.asks
            )
        else:
            options = {"malformed": chosen.malformed, "older": chosen.older}
            options |= {
                "contexts": chosen.contexts,
                "asks": chosen.asks or chosen.unasked,
                "unasked": chosen.unasked,
            }
            tally = run_campaign(Path(folder), chosen.seed, chosen.examples, **options)
    if chosen.json:
        json.dump(tally.to_json(), sys.stdout)
        return
    took = time.monotonic() - begun
    lines = [f"seed {chosen.seed}: {tally.examples} sequences, {tally.commands} commands, {took:.0f} s"]
    lines += [f"operators and stages answered: {' '.join(sorted(tally.answered))}"]
    sys.stdout.write("\n".join([*lines, *tally.table(), ""]))


if __name__ == "__main__":  # the processes that move classes import this module
    main()
