"""`sealwire backup create`, `restore`, `restore-dump` and `unpack`: from a server, and out of a backup."""

import hashlib
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from sealwire.audit.signing import SigningKey
from sealwire.cli import options, output
from sealwire.cli.exit_codes import EX_DATAERR
from sealwire.cli.tasks import ended_in_order, metrics_file_option, write_first_run, write_success
from sealwire.crypto import selftest
from sealwire.keys.keyring.file import read_record
from sealwire.sidecars.backup import commands
from sealwire.sidecars.backup.archive import dump_files
from sealwire.sidecars.backup.dumping import dump
from sealwire.sidecars.backup.keeping.catalog import read_catalog
from sealwire.sidecars.backup.keeping.verification import verify_backup
from sealwire.sidecars.backup.restoring.plan import RestorePlan, default_path, opened, parse_rename, plan
from sealwire.sidecars.backup.restoring.restore import Restore, RestoreOutcome, RestoreReport, Tell, drill
from sealwire.sidecars.backup.sealed.manifest import Manifest
from sealwire.sidecars.backup.sealed.payload import create_backup, open_backup
from sealwire.sidecars.backup.stores.store import Store
from sealwire.sidecars.direct import Client, connected
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess
from sealwire.testbed.mongo_server import User

BACKUP_RIGHTS = "log in as a user with the role `backup` (or read on what --only names)"


@click.command()
@click.argument("name", required=False)
@commands.new_store_option
@commands.writing_options
@options.server_options
@click.option("--only", multiple=True, metavar="DB|DB.COLL", help="Not everything. May be repeated.")
@click.option(
    "--consistency",
    type=click.Choice([wanted.value for wanted in dump.Wanted]),
    default=dump.Wanted.AUTO.value,
    show_default=True,
    help="auto: a snapshot where the server has them. none: each collection as it is when read, in parallel.",
)
@click.option(
    "--reader",
    type=click.Choice([choice.value for choice in dump.ReaderChoice]),
    default=dump.ReaderChoice.AUTO.value,
    show_default=True,
    help="auto: at a snapshot the driver, else mongodump where it is on the path.",
)
@click.option(
    "--parallel", type=click.IntRange(1, 16), default=2, show_default=True, help="Without a snapshot."
)
@options.variable_option(
    "--policy",
    envvar="SEALWIRE_BACKUP_POLICY",
    type=options.PRESENT_FILE,
    help="Note this policy file's checksum in the manifest.",
)
@options.variable_option(
    "--keyring",
    envvar="SEALWIRE_BACKUP_KEYRING",
    type=options.PRESENT_FILE,
    help="Note the ids of this keyring's keys in the manifest: those that the covered fields need.",
)
@metrics_file_option
@output.manner_options
def create(  # noqa: PLR0913 - one parameter an option
    *,
    name: str | None,
    store: Store,
    keys: commands.KeyOptions,
    uri: str,
    only: tuple[str, ...],
    consistency: str,
    reader: str,
    parallel: int,
    policy: Path | None,
    keyring: Path | None,
    metrics_file: Path | None,
    manner: output.Manner,
) -> None:
    """Back a server up to NAME, by default backup-TIME.

    Reads the server directly, not through Sealwire: covered fields stay ciphertext inside the backup. Nothing
    has its name before all of it is durable; whatever ends the command leaves earlier backups as they were.

    \b
    Examples:
      SEALWIRE_SERVER_URI=mongodb://... sealwire backup create --recipient public:/etc/sealwire/backup.pub
      sealwire backup create clinic-1 --uri-file /etc/sealwire/uri --recipient file:backup-kek --only clinic
      sealwire backup create --uri-file /etc/sealwire/uri --store s3://backups/clinic \\
          --recipient public:backup.pub --policy policy.yaml --keyring keyring.json --json
      sealwire backup create --recipient public:backup.pub --sign-with /etc/sealwire/backup-signing.key
    """
    if not manner.dry_run:
        write_first_run(metrics_file, "backup", datetime.now(UTC))
    selftest.run()
    began_s = monotonic()
    how = dump.DumpOptions(
        options.required_uri(uri),
        only,
        dump.Wanted(consistency),
        dump.ReaderChoice(reader),
        parallel,
        policy_sha256=None if policy is None else hashlib.sha256(policy.read_bytes()).hexdigest(),
        key_ids=() if keyring is None else _key_ids(keyring),
    )
    recipients = keys.recipients()  # also for a dry run: a key that is not there is found by it
    signing_key = keys.signing_key()
    name = name or f"backup-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with ended_in_order(), connected(uri, BACKUP_RIGHTS) as client:
        if manner.dry_run:
            _show_plan(name, store.address, dump.namespaces(client, only), manner)
            return
        with (
            create_backup(store, name, recipients, sign_with=signing_key) as sink,
            output.document_bar(name) as tell,
        ):
            dumped = dump.dump(client, sink, how, tell)
    _show(name, store.address, dumped, signing_key, as_json=manner.as_json)
    if metrics_file is not None:
        write_success(metrics_file, "backup", datetime.now(UTC), monotonic() - began_s)


def _key_ids(keyring: Path) -> tuple[str, ...]:
    record = read_record(keyring)
    return tuple(
        f"{entry.name}:{entry.class_id}:{key.version}" for entry in record.classes for key in entry.keys
    )


def _show_plan(name: str, store: str, found: list[tuple[str, str]], manner: output.Manner) -> None:
    rows = [{"namespace": namespace, "kind": kind} for namespace, kind in found]
    manner.show_table(("collection", "kind"), found, {"name": name, "store": store, "collections": rows})
    if not manner.as_json:
        click.echo(f"{name}: {len(found)} collections and views would be backed up to {store}")


def _show(
    name: str, store: str, dumped: dump.Dumped, signing_key: SigningKey | None, *, as_json: bool
) -> None:
    manifest, contents = dumped.manifest, dumped.contents
    signer = None if signing_key is None else signing_key.verification
    lines = (
        f"{name}: {manifest.documents:,} documents of {len(manifest.namespaces)} collections and views, "
        f"{manifest.size / 1e6:,.1f} MB before compression, in {store}",
        f"consistency: {manifest.consistency.value}, read by {manifest.dumper}",
        *([] if signer is None else [f"signed by {signer.name}, key {signer.fingerprint}"]),
        *(f"note: {note}" for note in contents.notes),
    )
    document = {
        "name": name,
        "store": store,
        "documents": manifest.documents,
        "size": manifest.size,
        "consistency": manifest.consistency.value,
        "dumper": manifest.dumper,
        "server_version": manifest.server_version,
        "signed_by": None if signer is None else signer.fingerprint,
        "collections": [
            {
                "namespace": found.namespace,
                "kind": found.kind.value,
                "in_snapshot": found.in_snapshot,
                "documents": found.content.documents,
                "size": found.content.size,
            }
            for found in contents.collections
        ],
        "notes": list(contents.notes),
    }
    output.answer("\n".join(lines), document, as_json=as_json)


_STYLES = {
    RestoreOutcome.RESTORED: "green",
    RestoreOutcome.INCOMPLETE: "yellow",
    RestoreOutcome.DIFFERENT: "bold red",
}
RESTORE_RIGHTS = "log in as a user with the role `restore`"


@dataclass(frozen=True, slots=True)
class RestoreChoices:
    """What the options say."""

    rename: tuple[str, ...]
    only: tuple[str, ...]
    users: bool
    drop: bool
    yes: bool
    journal: Path | None
    dry_run: bool
    as_json: bool


# The command gets `choices: RestoreChoices`.
restoring_options = options.settings(
    "choices",
    RestoreChoices,
    click.option("--rename", multiple=True, metavar="OLD=NEW", help="DB=DB or DB.COLL=DB.COLL; repeatable."),
    click.option("--only", multiple=True, metavar="DB|DB.COLL", help="Not everything; repeatable."),
    click.option("--users", is_flag=True, help="Users and roles as well: they can then log in."),
    click.option("--drop", is_flag=True, help="Replace collections that are there; asks first."),
    click.option("--yes", is_flag=True, help="Do not ask before --drop."),
    click.option(
        "--journal",
        type=options.PATH,
        help="Where to note what is done, to go on from. Default: in ~/.local/state/sealwire.",
    ),
    options.dry_run_option,
    options.json_option,
)


def restore_into(
    uri: str, files: dump_files.DumpFiles, choices: RestoreChoices, manifest: Manifest | None = None
) -> None:
    """Plan, ask, restore, show; ends the process with 65 where something is not as in the backup.

    `manifest` only tells whoever waits how much there is.
    """
    renames = dict(map(parse_rename, choices.rename))
    found = dump_files.survey(files)
    chosen = plan(found.collections.values(), renames, choices.only, logins=choices.users)
    with ended_in_order(), connected(options.required_uri(uri), RESTORE_RIGHTS) as client:
        restore = Restore(client, files, found, chosen)
        if choices.dry_run:
            occupied = [planned.target for planned in restore.occupied()]
            show_plan(chosen, occupied, as_json=choices.as_json, more=origin_of(files))
            return
        purpose = restore.purpose()
        path = choices.journal or default_path(purpose)
        with opened(path, purpose) as journal:
            if choices.drop and not journal.resumed:
                _drop(restore, yes=choices.yes)
            if journal.resumed:
                click.echo(f"continuing from {path}", err=True)
            with progress(chosen, manifest) as tell:
                report = restore.run(journal, tell)
            journal.remove()
    finish(report, as_json=choices.as_json, more=origin_of(files))


def origin_of(files: dump_files.DumpFiles) -> dict[str, Any]:
    """Who can have written a sealed backup, for programs; empty for a plain dump."""
    return {} if files.origin is None else files.origin.to_json()


def finish(report: RestoreReport, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Show the report and end the process with its exit code."""
    if as_json:
        results = [asdict(result) for result in report.collections]
        document = {"holds": report.holds, "collections": results, "left_out": _rows(report.left_out)}
        output.print_json((more or {}) | document | {"remarks": list(report.remarks)})
    else:
        rows = (
            (
                escape(result.source),
                escape(result.target),
                f"{result.documents:,}",
                f"[{_STYLES[result.outcome]}]{result.outcome}[/]",
                escape("\n".join(result.remarks)),
            )
            for result in report.collections
        )
        columns = ("from the backup", "to the server", "documents", "outcome", "remarks")
        output.show_table(columns, rows, Console(highlight=False))
        _show_left_out(report.left_out)
        for remark in report.remarks:
            click.secho(f"not done: {remark}", fg="yellow")
    sys.exit(0 if report.holds else EX_DATAERR)


@contextmanager
def progress(chosen: RestorePlan, manifest: Manifest | None) -> Iterator[Tell]:
    """What is being done now, and how much of all documents is in place, if that is known."""
    total = None if manifest is None else manifest.documents_size(chosen.sources())
    with output.document_bar("restoring") as show:
        yield lambda text, size: show(text, size, total)


def show_plan(
    chosen: RestorePlan, occupied: list[str], *, as_json: bool, more: dict[str, Any] | None = None
) -> None:
    """What would go where, and what is in the way."""
    rows = [(planned.source, planned.target, planned.part) for planned in chosen.collections]
    if as_json:
        collections = [{"source": source, "target": target, "what": part} for source, target, part in rows]
        document = {"dry_run": True, "collections": collections, "left_out": _rows(chosen.left_out)}
        output.print_json((more or {}) | document | {"occupied": occupied})
        return
    output.show_table(("from the backup", "to the server", "what"), rows)
    _show_left_out(chosen.left_out)
    for target in occupied:
        click.secho(f"in the way: {target} is there already", fg="yellow")


def _drop(restore: Restore, *, yes: bool) -> None:
    """Ask for the names of the databases, which nobody types by accident, and drop what is in the way."""
    occupied = restore.occupied()
    if not occupied:
        return
    databases = " ".join(sorted({planned.database for planned in occupied}))
    if not yes:
        for planned in occupied:
            click.echo(f"to be dropped: {planned.target}", err=True)
        typed = click.prompt(f"Type {databases!r} to drop {len(occupied)} collections", err=True)
        if typed.strip() != databases:
            raise click.Abort
    restore.drop()


def _rows(left_out: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"source": source, "reason": reason} for source, reason in left_out]


def _show_left_out(left_out: tuple[tuple[str, str], ...]) -> None:
    for source, reason in left_out:
        click.secho(f"left out: {source}: {reason}", dim=True)


@click.command()
@click.argument("name")
@commands.store_option
@commands.reading_options
@options.server_options
@restoring_options
@click.option(
    "--no-verify-first",
    is_flag=True,
    help="Read the backup once instead of twice. Damage is then noticed when a part is in place already.",
)
@click.option("--drill", "is_drill", is_flag=True, help="Into a server that is thrown away; report.")
@options.variable_option(
    "--drill-uri",
    envvar="SEALWIRE_DRILL_URI",
    help="An empty server for the drill. Default: one of the `demo` extra, on this machine.",
)
@metrics_file_option
def restore(  # noqa: PLR0913 - one parameter an option
    *,
    name: str,
    store: Store,
    keys: commands.KeyOptions,
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
    options.refuse_typed_password("drill_uri", drill_uri)
    selftest.run()
    entry = read_catalog(store).find(name)
    identities, signers = keys.identities(), keys.signers()
    if not (no_verify_first or choices.dry_run):
        with ended_in_order(), output.progress_bar(f"verifying {name}", entry.dump_size) as done:
            verify_backup(store, name, identities, datetime.now(UTC), done, signers)
    files = dump_files.open_sealed(store, name, identities, signers)
    if not choices.as_json:
        click.echo(f"{name}: {files.origin}")
    if is_drill:
        _drill(files, drill_uri, choices, entry.manifest, metrics_file)
    else:
        restore_into(uri, files, choices, entry.manifest)


def _drill(
    files: dump_files.DumpFiles,
    uri: str | None,
    choices: RestoreChoices,
    manifest: Manifest | None,
    metrics_file: Path | None,
) -> None:
    found = dump_files.survey(files)
    chosen = plan(found.collections.values(), only=choices.only)
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
@click.argument("path", type=options.PATH)
@options.server_options
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
    restore_into(uri, dump_files.open_plain(path), choices)


@click.command(name="unpack")
@click.argument("name")
@click.argument("directory", type=options.PATH)
@commands.store_option
@commands.reading_options
@output.manner_options
def unpack_command(
    name: str, directory: Path, store: Store, keys: commands.KeyOptions, manner: output.Manner
) -> None:
    """Write the backup NAME to DIRECTORY, which must not exist, in the layout of mongodump.

    For mongorestore, and for looking into. Covered fields stay ciphertext; everything else is then on the
    disk in clear, in files of this user only: remove it when it has served.

    \b
    Example:
      sealwire backup unpack clinic-1 /mnt/encrypted/dump --key private:backup-key
      mongorestore --dir /mnt/encrypted/dump
    """
    selftest.run()
    entry = read_catalog(store).find(name)
    identities, signers = keys.identities(), keys.signers()
    if manner.dry_run:
        dump_files.require_new(directory)
    with ended_in_order(), output.progress_bar(name, entry.dump_size) as done:
        found = verify_backup(store, name, identities, datetime.now(UTC), done, signers)
    document = {"name": name, "directory": str(directory), "bytes": found.manifest.size}
    document |= found.origin.to_json()
    if manner.dry_run:
        text = f"{name}: sound, {found.origin}; {found.manifest.size:,} bytes would be written to {directory}"
        manner.answer(text, document)
        return
    with ended_in_order(), open_backup(store, name, identities, signers) as source:
        files = dump_files.unpack(source, directory)
    manner.answer(f"{name}: {files} files in {directory}; {found.origin}", document | {"files": files})
