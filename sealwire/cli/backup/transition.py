"""`sealwire backup transition`: plaintext backups may stay for a week; then this is an alarm."""

from datetime import UTC, datetime
from pathlib import Path

import click

from sealwire.cli.options import PATH, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.backup.manifest import format_time
from sealwire.sidecars.backup.transition import DEFAULT_DAYS, check_transition, write_metrics


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
def command(directory: Path, since: datetime, days: int, metrics: Path | None, as_json: bool) -> None:
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
