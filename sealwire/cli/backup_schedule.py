"""`sealwire backup schedule`: the files that make backups run every day."""

from datetime import datetime
from pathlib import Path

import click

from sealwire.cli.backup_options import dry_run_option, retention_options
from sealwire.keys.private_file import create_public
from sealwire.sidecars.backup.retention import RetentionPolicy
from sealwire.sidecars.backup.schedule import Schedule, kubernetes_cron_job, systemd_units

_WRITERS = {"systemd": systemd_units, "kubernetes": kubernetes_cron_job}


@click.command()
@click.argument("kind", type=click.Choice(sorted(_WRITERS)))
@click.option("--at", metavar="HH:MM", default="03:15", show_default=True, help="Time of day, UTC.")
@click.option(
    "--directory", default="/var/backups/mongodb", show_default=True, help="The store, if it is a directory."
)
@click.option(
    "--plaintext-since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Also raise the alarm about plaintext backups, a week after this day.",
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Write the files here.")
@retention_options
@dry_run_option
def command(  # noqa: PLR0913 - one parameter an option
    kind: str,
    at: str,
    directory: str,
    plaintext_since: datetime | None,
    output: Path | None,
    *,
    policy: RetentionPolicy,
    dry_run: bool,
) -> None:
    """Write a systemd service with its timer, or a Kubernetes CronJob: create, then prune, then the alarm.

    Printed unless --output is given; files that are there are not overwritten. Addresses and credentials are
    not in them: their first lines say where those belong.

    \b
    Examples:
      sealwire backup schedule systemd --keep-daily 7 --keep-weekly 5
      sealwire backup schedule systemd --keep-daily 7 --output /etc/systemd/system
      sealwire backup schedule kubernetes --at 01:30 --keep-daily 7 --keep-monthly 12
    """
    since = None if plaintext_since is None else plaintext_since.date()
    schedule = Schedule(policy, at=at, directory=directory, plaintext_since=since)
    for name, text in _WRITERS[kind](schedule).items():
        if output is None:
            click.echo(text)
        elif dry_run:
            click.echo(f"{output / name}: would be written")
        else:
            create_public(output / name, text.encode())
            click.echo(f"{output / name}: written")
    if kind == "systemd" and output is not None and not dry_run:
        click.echo("next: systemctl daemon-reload && systemctl enable --now sealwire-backup.timer", err=True)
