"""`sealwire keys rewrap`: another key-encryption key, or a newer version of it, for the same data keys."""

from datetime import UTC, datetime
from pathlib import Path

import click

from sealwire.cli.options import (
    KEK_FORMS,
    PATH,
    KekOptions,
    kek_options,
    keyring_option,
    open_kek,
    open_keyring_store,
)
from sealwire.cli.output import Manner, manner_options
from sealwire.crypto import selftest
from sealwire.keys.keyring import file
from sealwire.keys.providers import Providers


@click.command()
@keyring_option
@kek_options
@click.option(
    "--to",
    metavar=KEK_FORMS,
    help="The new key-encryption key. Without it, wrap under the newest version of the old one.",
)
@click.option("--to-passphrase-file", type=PATH, help="Passphrase of a new key file.")
@manner_options
def rewrap(
    keyring: str, kek: KekOptions, to: str | None, to_passphrase_file: Path | None, manner: Manner
) -> None:
    """Wrap all data keys anew. No data is touched, and nothing is encrypted again.

    Proxies that run keep the keys that they have. After a change of the key-encryption key set `kek` in their
    configuration and restart them one after the other. Until then they cannot read the keyring anew.

    Whoever has an old copy of the keyring and the old key-encryption key still opens all data keys. When both
    were seen by others, the data keys themselves have to be replaced.

    \b
    Examples:
      sealwire keys rewrap --keyring keyring.json --kek vault:transit/sealwire
      sealwire keys rewrap --keyring keyring.json --kek env:OLD_KEK --to env:NEW_KEK --dry-run
      sealwire keys rewrap --keyring keyring.json --kek env:SEALWIRE_KEK --to aws:alias/sealwire
    """
    selftest.run()
    providers = Providers()
    store = open_keyring_store(keyring, providers)
    old = kek.open(providers)
    new = old if to is None else open_kek(to, to_passphrase_file, providers)
    record = file.rewrap(store, old, new, datetime.now(UTC), dry_run=manner.dry_run)
    count = sum(len(entry.keys) for entry in record.classes)
    done = "would be wrapped" if manner.dry_run else "wrapped"
    document = {"keys": count, "generation": record.generation, "before": old.id, "kek_id": new.id}
    manner.answer(f"{store}: {count} keys {done} anew under {new.id}", document)
