"""`sealwire policy access`: what a client may do by the roles of a policy, without a key or a server."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options.common import json_option
from sealwire.cli.options.policies import policy_argument, read_policy
from sealwire.cli.output import show_table
from sealwire.cli.policy.command_argument import encoded_command, invalid_command, show_refusal
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.roles.role import Claim, Level, Rights
from sealwire.proxy.session.login.caller import NOTHING_STATED, Stated, stated_in
from sealwire.wire.errors import BsonError

_COLUMNS = ("class", "read", "filter", "write")


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
    policies = read_policy(policy)
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
            "classes": [dict(zip(_COLUMNS, row, strict=True)) for row in rows],
        }
        click.echo(json.dumps(answer | ({"passes": True} if passes else {})))
        return
    if rights.is_empty:
        click.echo(f"without {rights.lacks} no role counts; what is not protected passes")
        return
    if passes:
        click.echo("passes; values in the reply are shown as below, and denied ones withhold it")
    show_table(_COLUMNS, rows, title=f"roles: {', '.join(rights.roles)}")
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
