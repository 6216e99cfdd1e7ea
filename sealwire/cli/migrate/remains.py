"""`sealwire migrate remains`: where values may be left in the form that they had before a move."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.migrate.options import Site, site_options
from sealwire.cli.options import json_option
from sealwire.cli.output import print_json, show_table
from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.remains import Remaining, Remains, of_files, of_oplog

_COLUMNS = ("place", "older form", "what is known")


@click.command()
@click.argument("job", required=False)
@site_options
@click.option(
    "--backups",
    metavar="DIRECTORY|s3://BUCKET/PREFIX",
    help="A store of sealed backups: those from before the end of the move are counted.",
)
@json_option
def remains(job: str | None, site: Site, backups: str | None, as_json: bool) -> None:
    """Say where values may be left in the form from before a move, after all jobs or JOB.

    That is the oplog of the member that answers, free pages of the files of the collections, and with
    --backups a store. Exit code 1 means that one of them may have such values, or that nobody knows.
    docs/operations/migration.md has the commands that clear them.

    \b
    Examples:
      sealwire migrate remains --keyring keyring.json --uri-file server.uri
      sealwire migrate remains encrypt-1a2b3c --keyring keyring.json --uri-file server.uri \\
          --backups /var/backups/mongodb
    """
    with site.connected() as client:
        ledger = Ledger(client, site.open_keyring())
        found = moved(ledger.jobs()) if job is None else [ledger.load(job)[0]]
        if not found:
            raise click.UsageError("no job has moved anything here; name one")
        rows = list(_looked_at(client, found, backups))
    last = found[-1]
    if as_json:
        listed = [{"place": each.where, "verdict": each.verdict.value, "why": each.why} for each in rows]
        print_json({"job": last.name, "ended": last.updated.isoformat(), "places": listed})
    else:
        cells = ((each.where, each.verdict.value, each.why) for each in rows)
        title = f"{last.name}, {last.standing.value} {last.updated:%Y-%m-%d %H:%M:%SZ}"
        show_table(_COLUMNS, cells, title=title)
    sys.exit(0 if all(each.verdict is Remaining.GONE for each in rows) else EX_NO)


def moved(jobs: Iterable[Job]) -> list[Job]:
    """The jobs that took values out of plaintext or of an older key; the one that ended last is the last."""
    found = [
        each for each in jobs if each.standing is Standing.DONE and each.direction is not Direction.DECRYPT
    ]
    return sorted(found, key=lambda each: each.updated)


def _looked_at(client: Client, jobs: Sequence[Job], backups: str | None) -> Iterator[Remains]:
    ended = jobs[-1].updated
    if not jobs[-1].standing.is_over:
        yield Remains("collections", Remaining.PERHAPS, "the job is not over")
    yield of_oplog(client, ended)
    for namespace in sorted({move.namespace for job in jobs for move in job.moves}):
        yield of_files(client, namespace)
    if backups is not None:
        yield _of_backups(backups, ended)


def _of_backups(address: str, ended: datetime) -> Remains:
    # a store and its libraries are of use here alone
    from sealwire.sidecars.backup.keeping.catalog import read_catalog  # noqa: PLC0415
    from sealwire.sidecars.backup.stores.local_store import open_store  # noqa: PLC0415

    entries = read_catalog(open_store(address)).entries
    older = [each.name for each in entries if each.created <= ended]
    first = f", the first is {older[0]}" if older else ""
    verdict = Remaining.PERHAPS if older else Remaining.GONE
    return Remains("backups", verdict, f"{len(older)} of {len(entries)} are from before{first}")
