"""`sealwire vault credentials`: a login for a role, handed over wrapped."""

from pathlib import Path

import click

from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import print_json
from sealwire.cli.vault.options import ServerOptions, names_options, role_argument, server_options
from sealwire.keys.private_file import create_private, require_free
from sealwire.sidecars.vault_setup import credentials as logins
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
@dry_run_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    role: Role,
    server: ServerOptions,
    setup: SetupSettings,
    secret_id_file: Path,
    wrap_ttl: str,
    *,
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
        role_id = logins.role_id_of(admin, setup, role)
        document: dict[str, object] = {"dry_run": True, "role_id": role_id}
        done = "would be written"
    else:
        made = logins.issue(admin, setup, role, wrap_ttl_s)
        # No writer's lock: of two wrapping tokens for one path either is as good.
        create_private(secret_id_file, made.secret_id.token.encode("ascii") + b"\n")
        role_id, secret_id = made.role_id, made.secret_id
        document = {"wrapping_accessor": secret_id.accessor, "ttl_s": secret_id.ttl_s}
        document = {"dry_run": False, "role_id": role_id, **document}
        done = f"opens once, within {secret_id.ttl_s} s"
    if as_json:
        print_json(document)
        return
    click.echo(role_id)
    click.echo(f"{secret_id_file}: {done}", err=True)
