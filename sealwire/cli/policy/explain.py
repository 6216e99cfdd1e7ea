"""`sealwire policy explain`: what a policy does to a command, without keys and without a server."""

import json
import sys
from pathlib import Path

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options.common import json_option
from sealwire.cli.options.policies import policy_argument, read_policy
from sealwire.cli.output import show_table
from sealwire.cli.policy.command_argument import encoded_command, invalid_command, show_refusal
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.planning.plan import Plan, RangeEdit, ValueEdit
from sealwire.wire.errors import BsonError


@click.command()
@policy_argument
@click.argument("source", metavar="COMMAND")
@click.option("--db", "database", help="Database, when the command has no $db.")
@json_option
def explain(policy: Path, source: str, database: str | None, as_json: bool) -> None:
    """Show what POLICY does to COMMAND (extended JSON, or - for standard input).

    Needs no keys and no server. Exit code 1 when the command would be refused.

    \b
    Examples:
      sealwire policy explain policy.yaml --db clinic \\
          '{"find": "patients", "filter": {"nhs_number": "9434765919"}}'
      echo '{"count": "patients", "query": {"mrn": {"$regex": "^1"}}, "$db": "clinic"}' |
          sealwire policy explain policy.yaml -
    """
    policies = read_policy(policy)
    encoded = encoded_command(source, database)
    try:
        plan = plan_command(policies, encoded, 0)
    except Refusal as refusal:
        show_refusal(refusal, as_json=as_json)
        sys.exit(EX_NO)
    except BsonError as error:
        raise invalid_command(error) from None
    _show_plan(plan, as_json)


def _use(edit: ValueEdit | RangeEdit) -> str:
    if isinstance(edit, RangeEdit):
        return f"{edit.use.value} $in of {len(edit.listed)} values"
    return edit.use.value


def _show_plan(plan: Plan, as_json: bool) -> None:
    columns = ("path", "class", "mode", "use")
    rows = [
        (edit.node.path, edit.field_class.name, edit.field_class.mode.value, _use(edit))
        for edit in plan.edits
    ]
    if as_json:
        values = [dict(zip(columns, row, strict=True)) for row in rows]
        document = {"command": plan.command, "namespace": plan.namespace, "protected": plan.protected}
        click.echo(json.dumps(document | {"encrypted": values}))
    elif not plan.protected:
        click.echo(f"{plan.command}: touches no protected collection; passes untouched")
    elif not rows:
        click.echo(f"{plan.command} on {plan.namespace}: passes as it is; no covered value in it")
    else:
        show_table(columns, rows, title=f"{plan.command} on {plan.namespace}")
