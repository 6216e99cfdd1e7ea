"""`sealwire policy`: look at a policy and at what it does to a command; only enforce needs a server."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from bson import encode
from bson.errors import BSONError
from bson.json_util import loads
from rich.console import Console
from rich.table import Table

from sealwire.cli.policy.enforce import enforce
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.file.lint import Finding, lint
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet, leaves
from sealwire.policies.planning.plan import Plan, RangeEdit, ValueEdit
from sealwire.proxy.server.config.reader import read_named_file
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import validate

EXIT_REFUSED = 1

_policy_argument = click.argument("policy", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group()
def command() -> None:
    """Check a policy file, lint it, explain what it does to a command, or make the server enforce it."""


command.add_command(enforce)


def _load(path: Path) -> PolicySet:
    return load_policy(read_named_file(path, "the policy"), str(path))


@command.command(name="check")
@_policy_argument
@_json_option
def check(policy: Path, as_json: bool) -> None:
    """Validate POLICY and list what it covers.

    \b
    Example:
      sealwire policy check policy.yaml
    """
    policies = _load(policy)
    rows = [
        (namespace, leaf.path, leaf.leaf.name, leaf.leaf.mode.value)
        for namespace, tree in (*policies.collections.items(), *policies.patterns)
        for leaf in leaves(tree)
        if leaf.leaf is not None
    ]
    if as_json:
        keys = ("namespace", "path", "class", "mode")
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return
    table = Table("namespace", "path", "class", "mode")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    click.echo(f"{policy}: {len(rows)} covered paths, {len(policies.classes)} classes")


@command.command(name="lint")
@_policy_argument
@_json_option
@click.option("--strict", is_flag=True, help="Exit with code 1 when there are findings.")
def lint_command(policy: Path, as_json: bool, strict: bool) -> None:
    """Warn of choices in POLICY that are valid but weak.

    \b
    Example:
      sealwire policy lint policy.yaml --strict
    """
    findings: list[Finding] = lint(_load(policy))
    if as_json:
        click.echo(json.dumps([{"rule": f.rule, "where": f.where, "message": f.message} for f in findings]))
    else:
        for finding in findings:
            click.echo(f"{finding.where}: {finding.message} [{finding.rule}]")
        click.echo(f"{policy}: {len(findings)} findings")
    if findings and strict:
        sys.exit(EXIT_REFUSED)


@command.command()
@_policy_argument
@click.argument("source", metavar="COMMAND")
@click.option("--db", "database", help="Database, when the command has no $db.")
@_json_option
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
    policies = _load(policy)
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
        sys.exit(EXIT_REFUSED)
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
    rows = [
        (edit.node.path, edit.field_class.name, edit.field_class.mode.value, _use(edit))
        for edit in plan.edits
    ]
    if as_json:
        keys = ("path", "class", "mode", "use")
        values = [dict(zip(keys, row, strict=True)) for row in rows]
        answer = {"command": plan.command, "namespace": plan.namespace, "protected": plan.protected}
        click.echo(json.dumps(answer | {"encrypted": values}))
        return
    if not plan.protected:
        click.echo(f"{plan.command}: touches no protected collection; passes untouched")
        return
    if not rows:
        click.echo(f"{plan.command} on {plan.namespace}: passes as it is; no covered value in it")
        return
    table = Table("path", "class", "mode", "use", title=f"{plan.command} on {plan.namespace}")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
