"""What the tests of `sealwire policy` share."""

from pathlib import Path

from click.testing import CliRunner, Result

from sealwire.cli.policy import command

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


def run(*arguments: object, stdin: str | None = None) -> Result:
    """`sealwire policy` with these arguments."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments], input=stdin)


def explain(policy: Path, text: str, *more: str) -> Result:
    """`sealwire policy explain` with JSON output."""
    return run("explain", policy, text, "--db", "clinic", "--json", *more)
