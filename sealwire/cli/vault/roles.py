"""`sealwire vault credentials`, `unwrap` and `revoke`: a role's login, handed over and taken back."""

from pathlib import Path

import click

from sealwire.cli.options.common import PATH, yes_option
from sealwire.cli.output import Manner, manner_options
from sealwire.cli.vault.options import ServerOptions, names_options, role_argument, server_options
from sealwire.keys.private_file import create_private, read_private, replace_private, require_free
from sealwire.keys.vault.admin import check_wrapped
from sealwire.sidecars.vault_setup import credentials as logins
from sealwire.sidecars.vault_setup.credentials import secret_id_path, take_out
from sealwire.sidecars.vault_setup.settings import Role, SetupSettings, parse_period


@click.command()
@role_argument
@server_options
@names_options
@click.option(
    "--secret-id-file",
    type=PATH,
    required=True,
    help="New file for the wrapping token, which opens once. The secret id itself is not in it.",
)
@click.option("--wrap-ttl", metavar="1h", default="1h", show_default=True, help="How long it can be opened.")
@manner_options
def credentials(
    role: Role,
    server: ServerOptions,
    settings: SetupSettings,
    secret_id_file: Path,
    wrap_ttl: str,
    manner: Manner,
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
    role_id = logins.role_id_of(admin, settings, role)
    document: dict[str, object] = {"role_id": role_id}
    done = "would be written"
    if not manner.dry_run:
        made = logins.issue(admin, settings, role, wrap_ttl_s)
        # No writer's lock: of two wrapping tokens for one path either is as good.
        create_private(secret_id_file, made.token.encode("ascii") + b"\n")
        done = f"opens once, within {made.ttl_s} s"
        document |= {"wrapping_accessor": made.accessor, "ttl_s": made.ttl_s}
    manner.answer(role_id, document)
    if not manner.as_json:
        click.echo(f"{secret_id_file}: {done}", err=True)


_MAX_TOKEN_BYTES = 4096


@click.command()
@role_argument
@server_options
@names_options
@click.option("--secret-id-file", type=PATH, required=True, help="As `credentials` wrote it.")
@manner_options
def unwrap(
    role: Role, server: ServerOptions, settings: SetupSettings, secret_id_file: Path, manner: Manner
) -> None:
    """Open a wrapped secret id of ROLE; the file then holds the secret id itself, for every restart.

    Needs no login, and with --dry-run uses nothing up. That it does not open, though nobody here opened it,
    means that somebody else has.

    \b
    Examples:
      sealwire vault unwrap proxy --secret-id-file /etc/sealwire/vault-secret-id
    """
    token = read_private(secret_id_file, _MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
    path, name = secret_id_path(settings, role), settings.role_name(role)
    document: dict[str, object] = {"role": name, "file": str(secret_id_file)}
    if manner.dry_run:
        document["ttl_s"] = check_wrapped(server.without_login(), token, path)
        text = f"{secret_id_file}: opens, once, within {document['ttl_s']} s of its making"
    else:
        secret_id = take_out(server.without_login(), token, path)
        replace_private(secret_id_file, secret_id.encode("ascii") + b"\n")
        text = f"{secret_id_file}: holds the secret id of {name}"
    manner.answer(text, document)


@click.command()
@role_argument
@server_options
@names_options
@yes_option
@manner_options
def revoke(role: Role, server: ServerOptions, settings: SetupSettings, manner: Manner, *, yes: bool) -> None:
    """End every login of ROLE at once: its secret ids and its tokens. The role stays.

    A running proxy keeps the data keys that it has in memory until keys.max_age_s: stop it as well.

    \b
    Examples:
      sealwire vault revoke proxy --token-file root-token
    """
    name = settings.role_name(role)
    admin = server.admin()
    if manner.dry_run:
        count = logins.count_secret_ids(admin, settings, role)
        text = f"{name}: {count} secret ids would end, and all tokens that were made with them"
        manner.answer(text, {"role": name, "secret_ids": count})
        return
    if not yes:
        click.confirm(f"End every login of {name}?", abort=True, err=True)
    ended = logins.revoke(admin, settings, role)
    text = f"{name}: ended {ended.secret_ids} secret ids and {ended.tokens} tokens"
    manner.answer(text, {"role": name, "secret_ids": ended.secret_ids, "tokens": ended.tokens})
