"""`sealwire vault remove`: the way back from `setup`."""

from collections.abc import Sequence

import click
from rich.console import Console

from sealwire.cli.options import dry_run_option, json_option, yes_option
from sealwire.cli.output import print_json, question_console, show_table
from sealwire.cli.vault.options import ServerOptions, names_options, server_options
from sealwire.sidecars.vault_setup.removal import Fate, Removal, carry_out, plan_removal
from sealwire.sidecars.vault_setup.settings import SetupSettings


@click.command()
@server_options
@names_options
@click.option(
    "--destroy-keys", is_flag=True, help="Destroy the keys too: what they wrapped is lost for good."
)
@dry_run_option
@yes_option
@json_option
def remove(
    server: ServerOptions,
    settings: SetupSettings,
    *,
    destroy_keys: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take away what `setup` made: roles, policies, and what it mounted, if empty. Keys stay.

    With --destroy-keys every value that they protect is lost, in the database and in every backup; the prefix
    has to be typed, whatever --yes says.

    \b
    Examples:
      sealwire vault remove --token-file root-token --dry-run
      sealwire vault remove --token-file root-token
    """
    admin = server.admin()
    removals = plan_removal(admin, settings, destroy_keys=destroy_keys)
    pending = [each for each in removals if each.fate is Fate.REMOVE]
    if pending and not dry_run:
        if destroy_keys:
            typed = click.prompt(
                f"Type {settings.prefix} to destroy its keys and all that they protect", err=True
            )
            if typed != settings.prefix:
                raise click.Abort
        elif not yes:
            _show(removals, question_console())
            click.confirm(f"Take away {len(pending)} things?", abort=True, err=True)
        removals = tuple(carry_out(admin, settings, removals))
    if as_json:
        rows = [dict(zip(("kind", "name", "fate", "reason"), _row(each), strict=True)) for each in removals]
        print_json({"dry_run": dry_run, "removals": rows})
    else:
        _show(removals)


def _show(removals: Sequence[Removal], console: Console | None = None) -> None:
    show_table(("what", "name", "fate", "why"), map(_row, removals), console)


def _row(removal: Removal) -> tuple[str, str, str, str]:
    return removal.resource.kind.value, removal.resource.name, removal.fate.value, removal.reason
