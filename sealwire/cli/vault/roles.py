"""`sealwire vault credentials`, `unwrap` and `revoke`: a role's login, handed over and taken back."""

import json
from pathlib import Path

import click

from sealwire.cli.vault.options import (
    ServerOptions,
    dry_run_option,
    json_option,
    names_options,
    server_options,
    yes_option,
)
from sealwire.keys.private_file import create_private, read_private, replace_private, require_free
from sealwire.keys.vault.admin import check_wrapped
from sealwire.keys.vault.admin import unwrap as take_out
from sealwire.sidecars.vault_setup import credentials as logins
from sealwire.sidecars.vault_setup.errors import ServerState, SetupReason
from sealwire.sidecars.vault_setup.settings import Role, SetupSettings, parse_period

_MAX_TOKEN_BYTES = 4096

role_argument = click.argument("role", type=click.Choice([role.value for role in Role]))


@click.command()
@role_argument
@server_options
@names_options
@click.option(
    "--secret-id-file",
    type=click.Path(path_type=Path),
    required=True,
    help="New file for the wrapping token, which opens once. The secret id itself is not in it.",
)
@click.option("--wrap-ttl", metavar="1h", default="1h", show_default=True, help="How long it can be opened.")
@dry_run_option
@json_option
def credentials(  # noqa: PLR0913 - one parameter an option
    *,
    role: str,
    server: ServerOptions,
    settings: SetupSettings,
    secret_id_file: Path,
    wrap_ttl: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a login for ROLE: prints the role id, and writes the secret id wrapped.

    Bring the file to the machine that is to log in, and run `sealwire vault unwrap` there, or let the proxy
    open it (vault.secret_id_wrapped).

    \b
    Examples:
      sealwire vault credentials proxy --token-file root-token --secret-id-file secret-id
    """
    wrap_ttl_s = parse_period(wrap_ttl)
    require_free(secret_id_file)  # before the server makes what nobody would have
    admin = server.admin()
    if dry_run:
        _show_credential(logins.role_id_of(admin, settings, Role(role)), secret_id_file, as_json=as_json)
        return
    made = logins.issue(admin, settings, Role(role), wrap_ttl_s)
    # No writer's lock: of two wrapping tokens for one path either is as good.
    create_private(secret_id_file, made.secret_id.token.encode("ascii") + b"\n")
    if as_json:
        row = {
            "dry_run": False,
            "role_id": made.role_id,
            "wrapping_accessor": made.secret_id.accessor,
            "ttl_s": made.secret_id.ttl_s,
        }
        click.echo(json.dumps(row, indent=2))
        return
    click.echo(made.role_id)
    click.echo(f"{secret_id_file}: opens once, within {made.secret_id.ttl_s} s", err=True)


def _show_credential(role_id: str, secret_id_file: Path, *, as_json: bool) -> None:
    """What would be made."""
    if as_json:
        click.echo(json.dumps({"dry_run": True, "role_id": role_id}, indent=2))
        return
    click.echo(role_id)
    click.echo(f"{secret_id_file}: would be written", err=True)


@click.command()
@role_argument
@server_options
@names_options
@click.option(
    "--secret-id-file", type=click.Path(path_type=Path), required=True, help="As `credentials` wrote it."
)
@dry_run_option
@json_option
def unwrap(
    *,
    role: str,
    server: ServerOptions,
    settings: SetupSettings,
    secret_id_file: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Open a wrapped secret id of ROLE; the file then holds the secret id itself, for every restart.

    Needs no login, and with --dry-run uses nothing up. That it does not open, though nobody here opened it,
    means that somebody else has.

    \b
    Examples:
      sealwire vault unwrap proxy --secret-id-file /etc/sealwire/vault-secret-id
    """
    token = read_private(secret_id_file, _MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
    path = logins.secret_id_path(settings, Role(role))
    document = {"dry_run": dry_run, "role": settings.role_name(Role(role)), "file": str(secret_id_file)}
    if dry_run:
        ttl_s = check_wrapped(server.without_login(), token, path)
        text = f"{secret_id_file}: opens, once, within {ttl_s} s of its making"
        click.echo(json.dumps({**document, "ttl_s": ttl_s}, indent=2) if as_json else text)
        return
    found = take_out(server.without_login(), token, path)
    secret_id = found.get("secret_id")
    if not isinstance(secret_id, str):
        raise ServerState(SetupReason.NOT_SET_UP, "what was wrapped is no secret id", "make a fresh one")
    replace_private(secret_id_file, secret_id.encode("ascii") + b"\n")
    text = f"{secret_id_file}: holds the secret id of {settings.role_name(Role(role))}"
    click.echo(json.dumps(document, indent=2) if as_json else text)


@click.command()
@role_argument
@server_options
@names_options
@yes_option
@dry_run_option
@json_option
def revoke(
    *,
    role: str,
    server: ServerOptions,
    settings: SetupSettings,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """End every login of ROLE at once: its secret ids and its tokens. The role stays.

    A running proxy keeps the data keys that it has in memory until keys.max_age_s: stop it as well.

    \b
    Examples:
      sealwire vault revoke proxy --token-file root-token
    """
    name = settings.role_name(Role(role))
    admin = server.admin()
    if dry_run:
        count = logins.count_secret_ids(admin, settings, Role(role))
        text = f"{name}: {count} secret ids would end, and all tokens that were made with them"
        row = {"dry_run": True, "role": name, "secret_ids": count}
        click.echo(json.dumps(row, indent=2) if as_json else text)
        return
    if not yes:
        click.confirm(f"End every login of {name}?", abort=True, err=True)
    ended = logins.revoke(admin, settings, Role(role))
    if as_json:
        row = {
            "dry_run": False,
            "role": name,
            "secret_ids": ended.secret_ids,
            "tokens": ended.tokens,
        }
        click.echo(json.dumps(row, indent=2))
    else:
        click.echo(f"{name}: ended {ended.secret_ids} secret ids and {ended.tokens} tokens")
