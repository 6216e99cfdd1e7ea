"""`sealwire vault rotate-policy` and `remove`: how often keys are made new, and the way back."""

import json

import click
from rich.console import Console
from rich.table import Table

from sealwire.cli.vault.options import (
    ServerOptions,
    dry_run_option,
    json_option,
    names_options,
    server_options,
    yes_option,
)
from sealwire.sidecars.vault_setup import removal as rollback
from sealwire.sidecars.vault_setup import rotation
from sealwire.sidecars.vault_setup.settings import SetupSettings, format_period, parse_period


@click.command(name="rotate-policy")
@server_options
@names_options
@click.option("--period", metavar="90d", help="Have the server rotate that often.")
@click.option("--now", is_flag=True, help="Add a key version at once.")
@click.option("--key", type=click.Choice(["proxy", "backup"]), help="Only this key; else both.")
@dry_run_option
@json_option
def rotate_policy(  # noqa: PLR0913 - one parameter an option
    *,
    server: ServerOptions,
    settings: SetupSettings,
    period: str | None,
    now: bool,
    key: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Change how often the keys are rotated, or rotate them now. The rotation role may do it.

    Rotation touches no data: what older versions wrapped stays readable.

    \b
    Examples:
      sealwire vault rotate-policy --period 30d
      sealwire vault rotate-policy --now --key proxy
    """
    if period is None and not now:
        raise click.UsageError("give --period, --now, or both")
    period_s = None if period is None else parse_period(period)
    admin = server.admin()
    rows = []
    for age in rotation.ages(admin, settings):
        if key is not None and age.name != f"{settings.prefix}-{key}":
            continue
        if not dry_run:
            if period_s is not None:
                rotation.set_period(admin, settings, age.name, period_s)
            if now:
                rotation.rotate_now(admin, settings, age.name)
        rows.append(_row(age, age.period_s if period_s is None else period_s, now=now))
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "keys": rows}, indent=2))
        return
    table = Table("key", "version", "rotation period", title="would become" if dry_run else None)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


def _row(age: rotation.KeyAge, period_s: int, *, now: bool) -> dict[str, object]:
    period = format_period(period_s) if period_s else "never"
    return {"key": age.name, "version": age.version + now, "rotation_period": period}


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
    *,
    server: ServerOptions,
    settings: SetupSettings,
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
    removals = rollback.plan_removal(admin, settings, destroy_keys=destroy_keys)
    pending = [each for each in removals if each.fate is rollback.Fate.REMOVE]
    if pending and not dry_run:
        if destroy_keys:
            _confirm_by_name(settings.prefix)
        elif not yes:
            _show(removals, Console(stderr=True, markup=False))
            click.confirm(f"Take away {len(pending)} things?", abort=True, err=True)
        removals = tuple(rollback.carry_out(admin, settings, removals))
    if as_json:
        rows = [
            {
                "kind": each.resource.kind.value,
                "name": each.resource.name,
                "fate": each.fate.value,
                "reason": each.reason,
            }
            for each in removals
        ]
        click.echo(json.dumps({"dry_run": dry_run, "removals": rows}, indent=2))
    else:
        _show(removals, Console(markup=False))


def _confirm_by_name(prefix: str) -> None:
    typed = click.prompt(f"Type {prefix} to destroy its keys and all that they protect", err=True)
    if typed != prefix:
        raise click.Abort


def _show(removals: tuple[rollback.Removal, ...], console: Console) -> None:
    table = Table("what", "name", "fate", "why")
    for each in removals:
        table.add_row(each.resource.kind.value, each.resource.name, each.fate.value, each.reason)
    console.print(table)
