"""`sealwire backup schedule` and `transition`: backups every day, and the end of plaintext ones."""

from datetime import UTC, datetime
from pathlib import Path

import click

from sealwire.cli.backup.options import retention_options
from sealwire.cli.options.common import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.keys.private_file import create_public
from sealwire.sidecars.backup.keeping.retention import RetentionPolicy
from sealwire.sidecars.backup.keeping.schedule import Schedule, kubernetes_cron_job, systemd_units
from sealwire.sidecars.backup.keeping.transition import DEFAULT_DAYS, check_transition, write_metrics
from sealwire.sidecars.backup.sealed.manifest import format_time

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
@json_option
def schedule(  # noqa: PLR0913 - one parameter an option
    kind: str,
    at: str,
    directory: str,
    plaintext_since: datetime | None,
    output: Path | None,
    *,
    policy: RetentionPolicy,
    dry_run: bool,
    as_json: bool,
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
    files = _WRITERS[kind](schedule)
    if output is not None and not dry_run:
        for name, text in files.items():
            create_public(output / name, text.encode())
    done = "would be written" if dry_run else "written"
    paths = {name: None if output is None else str(output / name) for name in files}
    rows = [{"name": name, "path": paths[name], "text": text} for name, text in files.items()]
    shown = files.values() if output is None else (f"{path}: {done}" for path in paths.values())
    answer("\n".join(shown), {"dry_run": dry_run, "files": rows}, as_json=as_json)
    if kind == "systemd" and output is not None and not dry_run:
        click.echo("next: systemctl daemon-reload && systemctl enable --now sealwire-backup.timer", err=True)


@click.command()
@click.option(
    "--directory",
    type=PATH,
    default=Path("/var/backups/mongodb"),
    show_default=True,
    help="Where plaintext backups may be; looked through with all below it.",
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    envvar="SEALWIRE_PLAINTEXT_SINCE",
    show_envvar=True,
    required=True,
    help="The day of the first encrypted backup.",
)
@click.option(
    "--days",
    type=click.IntRange(0, 366),
    envvar="SEALWIRE_PLAINTEXT_DAYS",
    show_envvar=True,
    default=DEFAULT_DAYS,
    show_default=True,
    help="How long plaintext backups may stay beside the encrypted ones.",
)
@click.option("--metrics", type=PATH, help="Write a .prom file for node_exporter's collector.")
@json_option
def transition(directory: Path, since: datetime, days: int, metrics: Path | None, as_json: bool) -> None:
    """Exit 65 when plaintext backups are left after the transition, and say which is the first.

    Dumps, tars, gzips, zips and archives of mongodump are found by what they begin with. Nothing is removed.

    \b
    Examples:
      sealwire backup transition --since 2026-11-25
      sealwire backup transition --since 2026-11-25 --metrics /var/lib/node_exporter/sealwire_backup.prom
    """
    status = check_transition(directory, since.date(), days, datetime.now(UTC))
    if metrics is not None:
        write_metrics(status, metrics)
    document = {
        "files": [str(path) for path in status.files],
        "bytes": status.size,
        "end": format_time(status.end),
        "overdue": status.overdue,
    }
    text = f"{len(status.files)} plaintext backup file(s), {status.size} bytes"
    answer(f"{text}\nthe transition ends {document['end']}", document, as_json=as_json)
    status.require_in_time()
