"""`sealwire keys create`: a key for each class, and the keyring if there is none."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click

from sealwire.cli.key_options import KekOptions, kek_options, keyring_option, open_keyring_store
from sealwire.cli.options import PRESENT_FILE
from sealwire.cli.policy_options import read_policy
from sealwire.crypto import selftest
from sealwire.keys.keyring import Keyring
from sealwire.keys.keyring_file import add_classes, create_keyring, load_keyring
from sealwire.keys.keyring_store import KeyringStore
from sealwire.keys.providers import Providers


@click.command()
@click.argument("class_names", metavar="[CLASS]...", nargs=-1)
@click.option("--policy", type=PRESENT_FILE, help="Make a key for every class of this policy that has none.")
@keyring_option
@kek_options
def command(class_names: tuple[str, ...], policy: Path | None, keyring: str, kek: KekOptions) -> None:
    """Make a key for each CLASS, and the keyring if there is none.

    A class named here must not have a key yet; a class of --policy that has one keeps it, so the command may
    be run again after every change of the policy.

    \b
    Examples:
      sealwire keys create --keyring keyring.json --policy policy.yaml
      sealwire keys create --keyring keyring.json nhs_number postcode
      sealwire keys create --keyring keyring.json --kek file:kek.json notes
      sealwire keys create --keyring vault:secret/sealwire/keyring --kek vault:transit/sealwire notes
    """
    wanted = read_policy(policy).class_names if policy is not None else ()
    if not class_names and policy is None:
        raise click.UsageError("name a class, or give --policy")
    selftest.run()
    providers = Providers()
    store = open_keyring_store(keyring, providers)
    opened = kek.open(providers)
    now = datetime.now(UTC)
    if not store.exists():
        new = _in_order(class_names, wanted)
        _report(store, create_keyring(store, opened, new, now), new)
        click.echo(
            "Back up the keyring and the key-encryption key, apart from each other and from the database.\n"
            f"Without both ({opened.id}) nothing that is encrypted can be read again by anyone.",
            err=True,
        )
        return
    present = load_keyring(store, opened).class_names
    new = _in_order(class_names, (name for name in wanted if name not in present))
    if new:
        _report(store, add_classes(store, opened, new, now), new)
    else:
        click.echo(f"{store}: every class has a key already")


def _in_order(named: tuple[str, ...], from_policy: Iterable[str]) -> tuple[str, ...]:
    """Classes named twice on the command line stay twice, and are refused; the policy only adds to them."""
    return (*named, *(name for name in from_policy if name not in named))


def _report(store: KeyringStore, keyring: Keyring, names: Iterable[str]) -> None:
    for name in names:
        cipher = keyring.cipher_for(name)
        click.echo(f"{store}: created key {name}, id {cipher.class_id}, version {cipher.key_version}")
