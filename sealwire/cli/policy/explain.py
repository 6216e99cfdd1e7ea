"""`sealwire policy explain`: what a policy does to a command, without keys and without a server."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from bson import encode
from bson.errors import BSONError
from bson.json_util import loads

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import json_option
from sealwire.cli.output import show_table
from sealwire.cli.policy_options import policy_argument, read_policy
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.planning.plan import Plan, RangeEdit, ValueEdit
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import validate


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
    document = _parse_command(sys.stdin.read() if source == "-" else source)
    if database is not None:
        document.setdefault("$db", database)
    try:
        encoded = _encode(document)
        # the planner leaves what touches no protected collection to the server; here there is none
        validate(encoded, 0, len(encoded))
        plan = plan_command(policies, encoded, 0)
    except Refusal as refusal:
        _show_refusal(refusal, as_json)
        sys.exit(EX_NO)
    except BsonError as error:
        raise click.UsageError(f"the command is not valid: {error}") from None
    _show_plan(plan, as_json)


def _encode(document: dict[str, Any]) -> bytes:
    try:
        return encode(document)
    except (BSONError, OverflowError, UnicodeEncodeError, RecursionError):
        raise click.UsageError("the command has a value or a name that BSON cannot hold") from None


def _parse_command(text: str) -> dict[str, Any]:
    try:
        document = loads(text)
    except (BSONError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
        raise click.UsageError("the command is not extended JSON; quote its keys and strings") from None
    if not isinstance(document, dict) or not document:
        raise click.UsageError('the command must be a JSON object such as {"find": "patients"}')
    return document


def _show_refusal(refusal: Refusal, as_json: bool) -> None:
    code = refusal.error_code
    if as_json:
        answer = {"refused": refusal.reason.value, "path": refusal.path, "rule": refusal.rule}
        click.echo(json.dumps(answer | {"code": code.code, "codeName": code.code_name}))
    else:
        click.echo(f"refused with {code.code} {code.code_name}: {refusal.message}")


def _use(edit: ValueEdit | RangeEdit) -> str:
    if isinstance(edit, RangeEdit):
        return f"{edit.use.value} $in of {len(edit.positions)} values"
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
