"""`sealwire backup unpack`: a sealed backup as the directory that mongorestore reads."""

from datetime import UTC, datetime
from pathlib import Path

import click

from sealwire.cli.backup.options import KeyOptions, reading_options, store_option
from sealwire.cli.options.common import PATH, dry_run_option, json_option
from sealwire.cli.output import answer, progress_bar
from sealwire.cli.signals import ended_in_order
from sealwire.crypto import selftest
from sealwire.sidecars.backup.keeping.catalog import read_catalog
from sealwire.sidecars.backup.keeping.verification import verify_backup
from sealwire.sidecars.backup.restoring.unpack import require_new, unpack
from sealwire.sidecars.backup.sealed.reader import open_backup
from sealwire.sidecars.backup.stores.store import Store


@click.command(name="unpack")
@click.argument("name")
@click.argument("directory", type=PATH)
@store_option
@reading_options
@dry_run_option
@json_option
def command(name: str, directory: Path, store: Store, keys: KeyOptions, dry_run: bool, as_json: bool) -> None:
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
    if dry_run:
        require_new(directory)
    with ended_in_order(), progress_bar(name, entry.dump_size) as done:
        found = verify_backup(store, name, identities, datetime.now(UTC), done, signers)
    document = {"name": name, "directory": str(directory), "bytes": found.manifest.size}
    document |= found.origin.to_json()
    if dry_run:
        text = f"{name}: sound, {found.origin}; {found.manifest.size:,} bytes would be written to {directory}"
        answer(text, {"dry_run": True, **document}, as_json=as_json)
        return
    with ended_in_order(), open_backup(store, name, identities, signers) as source:
        files = unpack(source, directory)
    whole = {"dry_run": False, **document, "files": files}
    answer(f"{name}: {files} files in {directory}; {found.origin}", whole, as_json=as_json)
