"""`sealwire backup create`: dump a server into a sealed backup."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import click

from sealwire.audit.signing import SigningKey
from sealwire.cli.backup.options import KeyOptions, new_store_option, writing_options
from sealwire.cli.options.common import PRESENT_FILE, dry_run_option, json_option
from sealwire.cli.options.server import required_uri, server_options
from sealwire.cli.output import answer, document_bar, print_json, show_table
from sealwire.cli.signals import ended_in_order
from sealwire.cli.task_figures import metrics_file_option, write_first_run, write_success
from sealwire.crypto import selftest
from sealwire.keys.keyring.file import read_record
from sealwire.sidecars.backup.dumping.consistency import Wanted
from sealwire.sidecars.backup.dumping.dump import (
    Dumped,
    DumpOptions,
    Progress,
    ReaderChoice,
    dump,
    namespaces,
)
from sealwire.sidecars.backup.sealed.writer import create_backup
from sealwire.sidecars.backup.stores.store import Store
from sealwire.sidecars.direct import connected

RIGHTS = "log in as a user with the role `backup` (or read on what --only names)"


@click.command()
@click.argument("name", required=False)
@new_store_option
@writing_options
@server_options
@click.option("--only", multiple=True, metavar="DB|DB.COLL", help="Not everything. May be repeated.")
@click.option(
    "--consistency",
    type=click.Choice([wanted.value for wanted in Wanted]),
    default=Wanted.AUTO.value,
    show_default=True,
    help="auto: a snapshot where the server has them. none: each collection as it is when read, in parallel.",
)
@click.option(
    "--reader",
    type=click.Choice([choice.value for choice in ReaderChoice]),
    default=ReaderChoice.AUTO.value,
    show_default=True,
    help="auto: at a snapshot the driver, else mongodump where it is on the path.",
)
@click.option(
    "--parallel", type=click.IntRange(1, 16), default=2, show_default=True, help="Without a snapshot."
)
@click.option(
    "--policy",
    envvar="SEALWIRE_BACKUP_POLICY",
    show_envvar=True,
    type=PRESENT_FILE,
    help="Note this policy file's checksum in the manifest.",
)
@click.option(
    "--keyring",
    envvar="SEALWIRE_BACKUP_KEYRING",
    show_envvar=True,
    type=PRESENT_FILE,
    help="Note the ids of this keyring's keys in the manifest: those that the covered fields need.",
)
@metrics_file_option
@dry_run_option
@json_option
def create(  # noqa: PLR0913 - one parameter an option
    *,
    name: str | None,
    store: Store,
    keys: KeyOptions,
    uri: str,
    only: tuple[str, ...],
    consistency: str,
    reader: str,
    parallel: int,
    policy: Path | None,
    keyring: Path | None,
    metrics_file: Path | None,
    dry_run: bool,
    as_json: bool,
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
    if not dry_run:
        write_first_run(metrics_file, "backup", datetime.now(UTC))
    selftest.run()
    began_s = monotonic()
    options = DumpOptions(
        required_uri(uri),
        only,
        Wanted(consistency),
        ReaderChoice(reader),
        parallel,
        policy_sha256=None if policy is None else hashlib.sha256(policy.read_bytes()).hexdigest(),
        key_ids=() if keyring is None else _key_ids(keyring),
    )
    recipients = keys.recipients()  # also for a dry run: a key that is not there is found by it
    signing_key = keys.signing_key()
    name = name or f"backup-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with ended_in_order(), connected(uri, RIGHTS) as client:
        if dry_run:
            _show_plan(name, store.address, namespaces(client, only), as_json=as_json)
            return
        with create_backup(store, name, recipients, sign_with=signing_key) as sink, _bar(name) as tell:
            dumped = dump(client, sink, options, tell)
    _show(name, store.address, dumped, signing_key, as_json=as_json)
    if metrics_file is not None:
        write_success(metrics_file, "backup", datetime.now(UTC), monotonic() - began_s)


def _key_ids(keyring: Path) -> tuple[str, ...]:
    record = read_record(keyring)
    return tuple(
        f"{entry.name}:{entry.class_id}:{key.version}" for entry in record.classes for key in entry.keys
    )


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Progress], None]]:
    """Shows how far the dump is. The total is what the server said; documents come and go."""
    with document_bar(name) as show:

        def tell(now: Progress) -> None:
            text = f"{now.collections} of {now.of_collections} collections: {now.namespace}"
            show(text, now.size, None if now.of_size is None else max(now.of_size, now.size))

        yield tell


def _show_plan(name: str, store: str, found: list[tuple[str, str]], *, as_json: bool) -> None:
    if as_json:
        rows = [{"namespace": namespace, "kind": kind} for namespace, kind in found]
        print_json({"dry_run": True, "name": name, "store": store, "collections": rows})
        return
    show_table(("collection", "kind"), found)
    click.echo(f"{name}: {len(found)} collections and views would be backed up to {store}")


def _show(name: str, store: str, dumped: Dumped, signing_key: SigningKey | None, *, as_json: bool) -> None:
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
    answer("\n".join(lines), document, as_json=as_json)
