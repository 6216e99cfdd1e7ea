"""`sealwire vault unwrap`: a wrapped secret id opened on the machine that is to log in."""

from pathlib import Path

import click

from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.cli.vault.options import ServerOptions, names_options, role_argument, server_options
from sealwire.keys.private_file import read_private, replace_private
from sealwire.keys.vault.admin import check_wrapped
from sealwire.sidecars.vault_setup.credentials import secret_id_path, take_out
from sealwire.sidecars.vault_setup.settings import Role, SetupSettings

_MAX_TOKEN_BYTES = 4096


@click.command()
@role_argument
@server_options
@names_options
@click.option("--secret-id-file", type=PATH, required=True, help="As `credentials` wrote it.")
@dry_run_option
@json_option
def command(
    role: Role,
    server: ServerOptions,
    setup: SetupSettings,
    secret_id_file: Path,
    *,
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
    path, name = secret_id_path(setup, role), setup.role_name(role)
    document: dict[str, object] = {"dry_run": dry_run, "role": name, "file": str(secret_id_file)}
    if dry_run:
        document["ttl_s"] = check_wrapped(server.without_login(), token, path)
        text = f"{secret_id_file}: opens, once, within {document['ttl_s']} s of its making"
    else:
        secret_id = take_out(server.without_login(), token, path)
        replace_private(secret_id_file, secret_id.encode("ascii") + b"\n")
        text = f"{secret_id_file}: holds the secret id of {name}"
    answer(text, document, as_json=as_json)
