"""`sealwire policy check` and `lint`: look at a policy alone. They need no server, and import no planner."""

import json
import sys
from pathlib import Path

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import json_option
from sealwire.cli.output import answer, show_table
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.policies.file.lint import lint

_COVERED_COLUMNS = ("namespace", "path", "class", "mode")


@click.command()
@policy_argument
@json_option
def check(policy: Path, as_json: bool) -> None:
    """Validate POLICY and list what it covers.

    \b
    Example:
      sealwire policy check policy.yaml
    """
    policies = read_policy(policy, may_observe=True)
    rows = [(namespace, path, each.name, each.mode.value) for namespace, path, each in policies.fields]
    if not as_json:
        show_table(_COVERED_COLUMNS, rows)
    text = f"{policy}: {len(rows)} covered paths, {len(policies.classes)} classes"
    if policies.observed:
        text += f"; NOT PROTECTED, only observed: {', '.join(policies.unprotected)}"
    answer(text, [dict(zip(_COVERED_COLUMNS, row, strict=True)) for row in rows], as_json=as_json)


@click.command(name="lint")
@policy_argument
@json_option
@click.option("--strict", is_flag=True, help="Exit with code 1 when there are findings.")
def lint_policy(policy: Path, as_json: bool, strict: bool) -> None:
    """Warn of choices in POLICY that are valid but weak.

    \b
    Example:
      sealwire policy lint policy.yaml --strict
    """
    policies = read_policy(policy, may_observe=True)
    findings = lint(policies)
    if as_json:
        click.echo(json.dumps([{"rule": f.rule, "where": f.where, "message": f.message} for f in findings]))
    else:
        for finding in findings:
            click.echo(f"{finding.where}: {finding.message} [{finding.rule}]")
        if policies.roles is not None and policies.roles.has_limits:
            click.echo(
                "note: each proxy grants the whole of a role's limit, unless it has frontier.uri_file; "
                "divide the limit by their number"
            )
        click.echo(f"{policy}: {len(findings)} findings")
    if findings and strict:
        sys.exit(EX_NO)
