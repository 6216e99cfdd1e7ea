"""`sealwire policy explain` and `access`: what a policy does to a command, and who may do what."""

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
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.sorted_find import FindSortsByValues, as_aggregate
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.plan import Plan, RangeEdit, ValueEdit
from sealwire.policies.questions.asked import Answers, ValuesUnknown
from sealwire.policies.roles.role import Claim, Level, Rights
from sealwire.proxy.session.login.caller import NOTHING_STATED, Stated, stated_in
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import validate


def encoded_command(source: str, database: str | None) -> bytes:
    """The command in `source`, or on standard input for `-`, as BSON. Raises UsageError.

    `database` is its `$db` where it has none.
    """
    document = _parsed(sys.stdin.read() if source == "-" else source)
    if database is not None:
        document.setdefault("$db", database)
    if "$db" not in document:
        raise click.UsageError("the command names no database: give --db, or a $db in the command")
    try:
        encoded = encode(document)
        # the planner leaves what touches no protected collection to the server; here there is none
        validate(encoded, 0, len(encoded))
    except (BSONError, OverflowError, UnicodeEncodeError, RecursionError):
        raise click.UsageError("the command has a value or a name that BSON cannot hold") from None
    except BsonError as error:
        raise invalid_command(error) from None
    return encoded


def invalid_command(error: BsonError) -> click.UsageError:
    """What is to be raised for a command that no server could read."""
    return click.UsageError(f"the command is not valid: {error}")


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = loads(text)
    except (BSONError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
        raise click.UsageError("the command is not extended JSON; quote its keys and strings") from None
    if not isinstance(document, dict) or not document:
        raise click.UsageError('the command must be a JSON object such as {"find": "patients"}')
    return document


def show_refusal(refusal: Refusal, *, as_json: bool) -> None:
    """Print why a command is refused."""
    code = refusal.error_code
    if as_json:
        answer = {"refused": refusal.reason.value, "path": refusal.path, "rule": refusal.rule}
        click.echo(json.dumps(answer | {"code": code.code, "codeName": code.code_name}))
    else:
        click.echo(f"refused with {code.code} {code.code_name}: {refusal.message}")


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
    policies = read_policy(policy, may_observe=True)
    encoded = encoded_command(source, database)
    try:
        plan = _planned(policies, encoded)
    except Refusal as refusal:
        show_refusal(refusal, as_json=as_json)
        sys.exit(EX_NO)
    except BsonError as error:
        raise invalid_command(error) from None
    _show_plan(plan, as_json)


def _planned(policies: PolicySet, encoded: bytes) -> Plan:
    """The plan as if no stored value satisfied what the server is asked."""
    answers, written_as = Answers(), ""
    while True:
        try:
            return plan_command(policies, encoded, 0, answers=answers, written_as=written_as)
        except FindSortsByValues:
            encoded, written_as = as_aggregate(encoded, 0), "find"
        except ValuesUnknown as unknown:
            answers.learn(unknown.question, unknown.judgement.answer())


def _use(edit: ValueEdit | RangeEdit) -> str:
    if isinstance(edit, RangeEdit) and edit.outside is not None:
        return f"{edit.use.value} $nin of the stored values that do not satisfy it"
    if isinstance(edit, RangeEdit) and edit.ranks is not None:
        return f"{edit.use.value} ranks of the stored values"
    if isinstance(edit, RangeEdit) and isinstance(edit.listed, tuple):
        return f"{edit.use.value} $in of the stored values that satisfy it"
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


_RIGHTS_COLUMNS = ("class", "read", "filter", "write")


@click.command()
@policy_argument
@click.argument("source", metavar="[COMMAND]", required=False)
@click.option("--as", "users", multiple=True, metavar="USER@DATABASE", help="Who has logged in.")
@click.option("--certificate", default="", help="The subject of a verified certificate, such as CN=desk.")
@click.option("--issuer", default="", help="The authority that has signed it, such as CN=Clinic CA.")
@click.option("--purpose", default="", help="The purpose that the command states.")
@click.option("--break-glass", "glass", default="", help="The reason that the command gives.")
@click.option("--db", "database", help="Database, when the command has no $db.")
@json_option
def access(  # noqa: PLR0913, PLR0917 - one for each option
    policy: Path,
    source: str | None,
    users: tuple[str, ...],
    certificate: str,
    issuer: str,
    purpose: str,
    glass: str,
    database: str | None,
    as_json: bool,
) -> None:
    """Show what a client may see, filter by and write by the roles of POLICY.

    With a COMMAND (extended JSON, or - for standard input) also whether that would pass. Needs no keys and no
    server. Exit code 1 when the command would be refused, or the client has no role.

    \b
    Examples:
      sealwire policy access policy.yaml --as reception@admin
      sealwire policy access policy.yaml --as reception@admin --db clinic \\
          '{"find": "patients", "filter": {"nhs_number": "9434765919"}}'
    """
    for user in users:
        name, _, where = user.rpartition("@")
        if not name or not where:
            raise click.BadParameter("write USER@DATABASE, as the user logs in", param_hint="--as")
    policies = read_policy(policy, may_observe=True)
    if policies.roles is None:
        _show_no_roles(as_json)
        return
    encoded = None if source is None else encoded_command(source, database)
    try:
        stated = NOTHING_STATED if encoded is None else stated_in(encoded, 0)
        stated = Stated(purpose or stated.purpose, glass or stated.glass)
        claim = Claim(users, certificate, stated.purpose, bool(stated.glass.strip()), issuer)
        rights = policies.roles.rights(claim)
        if encoded is not None:
            plan_command(policies, encoded, 0, rights=rights)
    except Refusal as refusal:
        show_refusal(refusal, as_json=as_json)
        sys.exit(EX_NO)
    except BsonError as error:
        raise invalid_command(error) from None
    _show_rights(policies, rights, as_json=as_json, passes=encoded is not None)
    if rights.is_empty and encoded is None:
        sys.exit(EX_NO)


def _show_no_roles(as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"roles": None}))
    else:
        click.echo("the policy has no roles: everybody whom the server lets in may do everything")


def _show_rights(policies: PolicySet, rights: Rights, *, as_json: bool, passes: bool) -> None:
    rows = [_row(name, rights) for name in policies.classes]
    if as_json:
        answer: dict[str, Any] = {
            "roles": list(rights.roles),
            "lacks": rights.lacks,
            "delete": rights.deletes,
            "documents_per_hour": rights.documents_per_hour,
            "comparisons_per_hour": rights.comparisons_per_hour,
            "breaks_glass": rights.is_glass_broken,
            "classes": [dict(zip(_RIGHTS_COLUMNS, row, strict=True)) for row in rows],
        }
        click.echo(json.dumps(answer | ({"passes": True} if passes else {})))
        return
    if rights.is_empty:
        click.echo(f"without {rights.lacks} no role counts; what is not protected passes")
        return
    if passes:
        click.echo("passes; values in the reply are shown as below, and denied ones withhold it")
    show_table(_RIGHTS_COLUMNS, rows, title=f"roles: {', '.join(rights.roles)}")
    if rights.documents_per_hour is not None:
        click.echo(f"{rights.documents_per_hour} documents an hour")
    if rights.comparisons_per_hour is not None:
        click.echo(f"{rights.comparisons_per_hour} comparisons an hour")
    if rights.deletes:
        click.echo("deletes documents whatever they hold")
    if rights.is_glass_broken:
        click.echo("breaks the glass: each such command is on record")


def _row(name: str, rights: Rights) -> tuple[str, str, str, str]:
    found = rights.access(name)
    read = found.read.level.name.lower()
    if found.read.level is Level.MASKED:
        read = f"masked ({found.read.mask.value})"
    return name, read, "yes" if found.filters else "no", "yes" if found.writes else "no"
