"""`sealwire vault rotate-policy`: how often keys are made new, or new ones at once."""

import click

from sealwire.cli.options import dry_run_option, json_option
from sealwire.cli.output import print_json, show_table
from sealwire.cli.vault.options import ServerOptions, names_options, server_options
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
    server: ServerOptions,
    settings: SetupSettings,
    period: str | None,
    *,
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
        print_json({"dry_run": dry_run, "keys": rows})
        return
    title = "would become" if dry_run else None
    show_table(("key", "version", "rotation period"), (row.values() for row in rows), title=title)


def _row(age: rotation.KeyAge, period_s: int, *, now: bool) -> dict[str, object]:
    period = format_period(period_s) if period_s else "never"
    return {"key": age.name, "version": age.version + now, "rotation_period": period}
