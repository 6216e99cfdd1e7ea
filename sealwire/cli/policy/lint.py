"""`sealwire policy lint`: warn of what is valid in a policy but weak."""

import json
import sys
from pathlib import Path

import click

from sealwire.cli.options import json_option
from sealwire.cli.policy_options import policy_argument, read_policy
from sealwire.policies.file.lint import lint

_EXIT_FINDINGS = 1


@click.command()
@policy_argument
@json_option
@click.option("--strict", is_flag=True, help="Exit with code 1 when there are findings.")
def command(policy: Path, as_json: bool, strict: bool) -> None:
    """Warn of choices in POLICY that are valid but weak.

    \b
    Example:
      sealwire policy lint policy.yaml --strict
    """
    findings = lint(read_policy(policy))
    if as_json:
        click.echo(json.dumps([{"rule": f.rule, "where": f.where, "message": f.message} for f in findings]))
    else:
        for finding in findings:
            click.echo(f"{finding.where}: {finding.message} [{finding.rule}]")
        click.echo(f"{policy}: {len(findings)} findings")
    if findings and strict:
        sys.exit(_EXIT_FINDINGS)
