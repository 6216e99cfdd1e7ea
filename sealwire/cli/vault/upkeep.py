"""`sealwire vault rotate-policy` and `remove`: what comes after a set-up, and the way back from it."""

import click

from sealwire.cli.options.common import yes_option
from sealwire.cli.output import Manner, manner_options, question_console, show_table
from sealwire.cli.vault.options import ServerOptions, names_options, server_options
from sealwire.sidecars.vault_setup import desired
from sealwire.sidecars.vault_setup.plan import Fate, Removal, plan_removal, take_away
from sealwire.sidecars.vault_setup.settings import SetupSettings, format_period, parse_period


@click.command(name="rotate-policy")
@server_options
@names_options
@click.option("--period", metavar="90d", help="Have the server rotate that often.")
@click.option("--now", is_flag=True, help="Add a key version at once.")
@click.option("--key", type=click.Choice(["proxy", "backup"]), help="Only this key; else both.")
@manner_options
def rotate_policy(
    server: ServerOptions,
    settings: SetupSettings,
    period: str | None,
    key: str | None,
    manner: Manner,
    *,
    now: bool,
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
    for age in desired.ages(admin, settings):
        if key is not None and age.name != f"{settings.prefix}-{key}":
            continue
        if not manner.dry_run:
            if period_s is not None:
                desired.set_period(admin, settings, age.name, period_s)
            if now:
                desired.rotate_now(admin, settings, age.name)
        period = format_period(age.period_s if period_s is None else period_s) or "never"
        rows.append({"key": age.name, "version": age.version + now, "rotation_period": period})
    title = "would become" if manner.dry_run else None
    cells = (row.values() for row in rows)
    manner.show_table(("key", "version", "rotation period"), cells, {"keys": rows}, title)


@click.command()
@server_options
@names_options
@click.option(
    "--destroy-keys", is_flag=True, help="Destroy the keys too: what they wrapped is lost for good."
)
@yes_option
@manner_options
def remove(
    server: ServerOptions, settings: SetupSettings, manner: Manner, *, destroy_keys: bool, yes: bool
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
    if pending and not manner.dry_run:
        if destroy_keys:
            question = f"Type {settings.prefix} to destroy its keys and all that they protect"
            if click.prompt(question, err=True) != settings.prefix:
                raise click.Abort
        elif not yes:
            show_table(_COLUMNS, map(_row, removals), question_console())
            click.confirm(f"Take away {len(pending)} things?", abort=True, err=True)
        removals = tuple(take_away(admin, settings, removals))
    rows = [_row(each) for each in removals]
    names = ("kind", "name", "fate", "reason")
    manner.show_table(_COLUMNS, rows, {"removals": [dict(zip(names, row, strict=True)) for row in rows]})


_COLUMNS = ("what", "name", "fate", "why")


def _row(removal: Removal) -> tuple[str, str, str, str]:
    return removal.resource.kind.value, removal.resource.name, removal.fate.value, removal.reason
