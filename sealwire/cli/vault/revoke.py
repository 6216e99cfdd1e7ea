"""`sealwire vault revoke`: every login of a role ended."""

import click

from sealwire.cli.options import dry_run_option, json_option, yes_option
from sealwire.cli.output import answer
from sealwire.cli.vault.options import ServerOptions, names_options, role_argument, server_options
from sealwire.sidecars.vault_setup import credentials as logins
from sealwire.sidecars.vault_setup.settings import Role, SetupSettings


@click.command()
@role_argument
@server_options
@names_options
@yes_option
@dry_run_option
@json_option
def command(
    role: Role, server: ServerOptions, setup: SetupSettings, *, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """End every login of ROLE at once: its secret ids and its tokens. The role stays.

    A running proxy keeps the data keys that it has in memory until keys.max_age_s: stop it as well.

    \b
    Examples:
      sealwire vault revoke proxy --token-file root-token
    """
    name = setup.role_name(role)
    admin = server.admin()
    if dry_run:
        count = logins.count_secret_ids(admin, setup, role)
        text = f"{name}: {count} secret ids would end, and all tokens that were made with them"
        answer(text, {"dry_run": True, "role": name, "secret_ids": count}, as_json=as_json)
        return
    if not yes:
        click.confirm(f"End every login of {name}?", abort=True, err=True)
    ended = logins.revoke(admin, setup, role)
    text = f"{name}: ended {ended.secret_ids} secret ids and {ended.tokens} tokens"
    document = {"dry_run": False, "role": name, "secret_ids": ended.secret_ids, "tokens": ended.tokens}
    answer(text, document, as_json=as_json)
