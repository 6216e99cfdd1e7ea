"""`sealwire backup restore` and `restore-dump`: into a server, or as a drill into one that is thrown away."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from sealwire.cli.backup.options import KeyOptions, reading_options, store_option
from sealwire.cli.backup.restoring import (
    RestoreChoices,
    finish,
    origin_of,
    progress,
    restore_into,
    restoring_options,
)
from sealwire.cli.options.common import PATH
from sealwire.cli.options.server import refuse_typed_password, server_options
from sealwire.cli.output import progress_bar
from sealwire.cli.signals import ended_in_order
from sealwire.cli.task_figures import metrics_file_option, write_first_run, write_success
from sealwire.crypto import selftest
from sealwire.sidecars.backup.archive.dump_files import DumpFiles, open_plain, open_sealed
from sealwire.sidecars.backup.archive.survey import survey
from sealwire.sidecars.backup.keeping.catalog import read_catalog
from sealwire.sidecars.backup.keeping.verification import verify_backup
from sealwire.sidecars.backup.restoring.drill import drill
from sealwire.sidecars.backup.restoring.plan import plan
from sealwire.sidecars.backup.sealed.manifest import Manifest
from sealwire.sidecars.backup.stores.store import Store
from sealwire.sidecars.direct import Client, connected
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess
from sealwire.testbed.mongo_server import User


@click.command()
@click.argument("name")
@store_option
@reading_options
@server_options
@restoring_options
@click.option(
    "--no-verify-first",
    is_flag=True,
    help="Read the backup once instead of twice. Damage is then noticed when a part is in place already.",
)
@click.option("--drill", "is_drill", is_flag=True, help="Into a server that is thrown away; report.")
@click.option(
    "--drill-uri",
    envvar="SEALWIRE_DRILL_URI",
    show_envvar=True,
    help="An empty server for the drill. Default: one of the `demo` extra, on this machine.",
)
@metrics_file_option
def restore(  # noqa: PLR0913 - one parameter an option
    *,
    name: str,
    store: Store,
    keys: KeyOptions,
    uri: str,
    choices: RestoreChoices,
    no_verify_first: bool,
    is_drill: bool,
    drill_uri: str | None,
    metrics_file: Path | None,
) -> None:
    """Restore the backup NAME into a server, and compare every collection with it afterwards.

    The whole backup is authenticated before anything is written. Nothing on the server is replaced without
    --drop. A restore that was broken off goes on when the same command is run again. Exit code 65 when
    something is not as in the backup. With --signed-by, only a backup that this key has signed is restored;
    without it, everyone who has a public key of yours can have written it.

    \b
    Examples:
      sealwire backup restore clinic-1 --key private:backup-key --uri-file /etc/sealwire/uri --dry-run
      sealwire backup restore clinic-1 --key private:backup-key --rename clinic=clinic_copy
      sealwire backup restore clinic-1 --key private:backup-key --only clinic.patients --drop
      sealwire backup restore clinic-1 --key private:backup-key --drill --json
      sealwire backup restore clinic-1 --key private:backup-key --signed-by backup-signing.key.pub
    """
    if is_drill and (choices.rename or choices.drop or choices.users or choices.dry_run):
        raise click.UsageError("--drill takes none of --rename, --drop, --users and --dry-run")
    if metrics_file is not None and not is_drill:
        raise click.UsageError("--metrics-file is about a drill: add --drill")
    write_first_run(metrics_file, "restore_drill", datetime.now(UTC))
    refuse_typed_password("drill_uri", drill_uri)
    selftest.run()
    entry = read_catalog(store).find(name)
    identities, signers = keys.identities(), keys.signers()
    if not (no_verify_first or choices.dry_run):
        with ended_in_order(), progress_bar(f"verifying {name}", entry.dump_size) as done:
            verify_backup(store, name, identities, datetime.now(UTC), done, signers)
    files = open_sealed(store, name, identities, signers)
    if not choices.as_json:
        click.echo(f"{name}: {files.origin}")
    if is_drill:
        _drill(files, drill_uri, choices, entry.manifest, metrics_file)
    else:
        restore_into(uri, files, choices, entry.manifest)


def _drill(
    files: DumpFiles,
    uri: str | None,
    choices: RestoreChoices,
    manifest: Manifest | None,
    metrics_file: Path | None,
) -> None:
    found = survey(files)
    chosen = plan(list(found.collections.values()), only=choices.only)
    with ended_in_order(), _drill_server(uri) as client, progress(chosen, manifest) as tell:
        report = drill(client, files, found, choices.only, tell)
    if not choices.as_json:
        Console(highlight=False).print(
            f"drill: restored into {report.server_version} in {report.seconds:,.1f} s, and removed"
        )
    if metrics_file is not None and report.restored.holds:
        write_success(metrics_file, "restore_drill", datetime.now(UTC), report.seconds)
    more = {"drill": True, "server_version": report.server_version, "seconds": round(report.seconds, 3)}
    finish(report.restored, as_json=choices.as_json, more=more | origin_of(files))


@contextmanager
def _drill_server(uri: str | None) -> Iterator[Client]:
    """The server that is named, or one of our own with a login that exists for this drill only."""
    if uri is not None:
        with connected(uri) as client:
            yield client
        return
    user = User("drill", secrets.token_urlsafe(18), (("root", "admin"),))
    # What is not covered lies there in clear for a while: the folder is open to this user only.
    with (
        tempfile.TemporaryDirectory(prefix="sealwire-drill-") as folder,
        DatabaseProcess(DatabaseOptions(Path(folder) / "database", (user,))) as database,
        connected(database.uri(user)) as client,
    ):
        yield client


@click.command()
@click.argument("path", type=PATH)
@server_options
@restoring_options
def restore_dump(path: Path, uri: str, choices: RestoreChoices) -> None:
    """Restore PATH, a directory that mongodump wrote or a .tar or .tar.gz of one, and compare afterwards.

    Such a dump has no authentication: what somebody changed in it is restored as it is. It goes on like
    `backup restore` does when it was broken off.

    \b
    Examples:
      sealwire backup restore-dump /var/backups/dump --uri-file /etc/sealwire/uri --dry-run
      sealwire backup restore-dump dump.tar.gz --uri-file /etc/sealwire/uri --rename clinic=clinic_copy
    """
    restore_into(uri, open_plain(path), choices)
