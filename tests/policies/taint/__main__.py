"""Attack the planner by hand: `python -m tests.policies.taint --examples 100000 --seed 7`."""

import argparse
import sys
import time

from tests.policies.taint.campaign import attack, chosen_seed


def main() -> int:
    """Exit status 1 when something was found; the findings, made small, as extended JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.policies.taint", description=__doc__)
    parser.add_argument("--examples", type=int, default=20_000, help="how many commands (default: 20000)")
    parser.add_argument("--seed", type=int, default=chosen_seed(1), help="what they are drawn from")
    parser.add_argument("--findings", type=int, default=5, help="end after so many (default: 5)")
    parser.add_argument("--keyed", action="store_true", help="classes have a key for each context")
    chosen = parser.parse_args()
    begun = time.monotonic()
    report = attack(chosen.seed, chosen.examples, chosen.findings, is_keyed=chosen.keyed)
    took = time.monotonic() - begun
    sys.stdout.write(f"seed {chosen.seed}: {report}\n{took:.1f} s\n")
    if report.missing and chosen.examples >= 20_000:
        sys.stdout.write(f"never drawn: {sorted(report.missing)}\n")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
