"""`sealwire vault rotate-policy`: how often keys are made new, or new ones at once."""

import click

from sealwire.cli.output import Manner, manner_options, show_table
from sealwire.cli.vault.options import ServerOptions, names_options, server_options
from sealwire.sidecars.vault_setup import rotation
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
    for age in rotation.ages(admin, settings):
        if key is not None and age.name != f"{settings.prefix}-{key}":
            continue
        if not manner.dry_run:
            if period_s is not None:
                rotation.set_period(admin, settings, age.name, period_s)
            if now:
                rotation.rotate_now(admin, settings, age.name)
        period = format_period(age.period_s if period_s is None else period_s) or "never"
        rows.append({"key": age.name, "version": age.version + now, "rotation_period": period})
    if manner.as_json:
        manner.answer("", {"keys": rows})
    else:
        title = "would become" if manner.dry_run else None
        show_table(("key", "version", "rotation period"), (row.values() for row in rows), title=title)
