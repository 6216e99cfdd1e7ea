"""`sealwire backup verify`: decrypt backups and check every checksum and count, without restoring."""

from datetime import UTC, datetime
from typing import Any

import click

from sealwire.cli.backup.options import Failures, KeyOptions, names_argument, reading_options, store_option
from sealwire.cli.options.common import json_option
from sealwire.cli.output import print_json, progress_bar
from sealwire.crypto import selftest
from sealwire.sidecars.backup.keeping.catalog import choose, read_catalog
from sealwire.sidecars.backup.keeping.verification import Verification, verify_backup
from sealwire.sidecars.backup.stores.store import Store


@click.command()
@names_argument
@click.option("--latest", is_flag=True, help="Only the newest backup.")
@store_option
@reading_options
@json_option
def verify(names: tuple[str, ...], latest: bool, store: Store, keys: KeyOptions, as_json: bool) -> None:
    """Read backups to their authenticated end, and hold every file against the manifest.

    All of the store, or only those named. What is sound is noted in its sidecar, where prune looks; a lost
    sidecar is written again. Exit code 65 when one of them is damaged, after all have been read. A sound
    backup is not proof of who wrote it: everyone who has a public key can make one. --signed-by proves it.

    \b
    Examples:
      sealwire backup verify --key private:backup-key
      sealwire backup verify clinic-20261125T031500Z --key env:SEALWIRE_BACKUP_KEK
      sealwire backup verify --latest --store s3://clinic-backups/mongodb --key private:backup-key --json
      sealwire backup verify --key private:backup-key --signed-by backup-signing.key.pub
    """
    selftest.run()
    entries = choose(read_catalog(store), names)
    identities, signers = keys.identities(), keys.signers()
    failures = Failures()
    rows = []
    for entry in entries[-1:] if latest else entries:
        with failures.collect(entry.name), progress_bar(entry.name, entry.dump_size) as progress:
            found = verify_backup(store, entry.name, identities, datetime.now(UTC), progress, signers)
            rows.append(_row(found))
            if not as_json:
                click.echo(_line(found))
    if as_json:
        print_json({"sound": rows})
    failures.exit()


def _row(found: Verification) -> dict[str, Any]:
    return {
        "name": found.name,
        "documents": found.manifest.documents,
        "files": len(found.manifest.members),
        "bytes": found.manifest.size,
        "recorded": found.recorded,
        "sidecar_rebuilt": found.rebuilt,
        **found.origin.to_json(),
    }


def _line(found: Verification) -> str:
    documents, files = found.manifest.documents, len(found.manifest.members)
    rebuilt = "; sidecar written again" if found.rebuilt else ""
    unrecorded = "" if found.recorded else "; not noted: the store cannot be written"
    return f"{found.name}: sound, {documents} documents in {files} files{rebuilt}{unrecorded}; {found.origin}"
