"""What the tests of `sealwire policy` share."""

from pathlib import Path

from tests.cli.runs import Outcome, Run

POLICY = """\
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  ward: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs, ward: ward, notes: notes}
  tenant_*.patients: {nhs_number: nhs}
"""


def explain(run: Run, policy: Path, text: str, *more: str) -> Outcome:
    """`sealwire policy explain` with JSON output."""
    return run("explain", policy, text, "--db", "clinic", "--json", *more)
