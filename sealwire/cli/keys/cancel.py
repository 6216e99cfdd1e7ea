"""`sealwire keys cancel`: take a pending key back that was made by mistake."""

from collections.abc import Callable
from datetime import UTC, datetime

import click

from sealwire.cli.options import (
    KekOptions,
    kek_options,
    keyring_option,
    open_keyring_store,
    required_uri,
    server_options,
)
from sealwire.cli.output import Manner, manner_options
from sealwire.crypto import selftest
from sealwire.keys.keyring import turning
from sealwire.keys.keyring.data_key import DataKey
from sealwire.keys.keyring.file import load_keyring
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.providers import Providers
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.migration.errors import MigrationRefused
from sealwire.sidecars.migration.windows.unbegun import pending_version, require_unbegun

_RIGHTS = "the user has to read frontiers and jobs in the database sealwire"


@click.command()
@click.argument("class_name", metavar="CLASS")
@click.option("--undo", is_flag=True, help="Let a cancelled key be pending again.")
@keyring_option
@kek_options
@server_options
@manner_options
def cancel(*, class_name: str, undo: bool, keyring: str, kek: KekOptions, uri: str, manner: Manner) -> None:
    """Take the pending key of CLASS back, as long as no data has begun to move to it.

    It is looked for on the server whether a job for it is there, or has begun. The key is then retired: it
    opens nothing, its version is given to no other key, and it may be destroyed as others are. A borrowed key
    goes back to its lender. With several servers, run it for each with --dry-run first.

    \b
    Examples:
      sealwire keys cancel nhs_number --keyring keyring.json --uri-file server.uri
      sealwire keys cancel nhs_number --keyring keyring.json --uri-file server.uri --dry-run --json
      sealwire keys cancel nhs_number --keyring keyring.json --undo
    """
    selftest.run()
    providers = Providers()
    store, now = open_keyring_store(keyring, providers), datetime.now(UTC)
    opened = kek.open(providers)
    if undo:
        renewed = turning.renew(store, opened, class_name, now, dry_run=manner.dry_run)
        _show(str(store), renewed, manner)
        return
    before = load_keyring(store, opened)
    version = pending_version(before, class_name)
    with connected(required_uri(uri), _RIGHTS) as client:
        require_unbegun(client, before, class_name, version)
        key = turning.cancel(store, opened, class_name, now, dry_run=manner.dry_run)
        if not manner.dry_run:
            _look_again(client, lambda: turning.renew(store, opened, class_name, now), key, before)
    _show(str(store), key, manner)


def _look_again(client: Client, renew: Callable[[], DataKey], key: DataKey, keyring: Keyring) -> None:
    """A job may have begun in the very moment: it goes before. Raises MigrationRefused."""
    try:
        require_unbegun(client, keyring, key.class_name, key.version)
    except MigrationRefused:
        renew()
        raise


def _show(place: str, key: DataKey, manner: Manner) -> None:
    done = "would be" if manner.dry_run else "is"
    document = {"class": key.class_name, "version": key.version, "state": key.state.value}
    manner.answer(f"{place}: version {key.version} of {key.class_name} {done} {key.state.value}", document)
