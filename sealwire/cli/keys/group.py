"""`sealwire keys`: make a key-encryption key and a keyring, list the keyring, prove that it works."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from sealwire.cli.key_options import (
    ask_new_passphrase,
    kek_options,
    keyring_option,
    open_kek_from_options,
    open_store_from_option,
    passphrase_file_option,
)
from sealwire.crypto import selftest
from sealwire.keys.data_key import KeyState
from sealwire.keys.environment import DEFAULT_VARIABLE, generate_encoded_kek
from sealwire.keys.kek import KeyEncryptionKey
from sealwire.keys.key_file import create_key_file
from sealwire.keys.keyring import Keyring
from sealwire.keys.keyring_file import add_classes, create_keyring, load_keyring, read_record
from sealwire.keys.keyring_record import format_time
from sealwire.keys.keyring_store import KeyringStore
from sealwire.keys.providers import Providers
from sealwire.keys.verification import verify_keyring

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group()
def command() -> None:
    """Create, list and verify keys."""


@command.command()
@click.argument("class_names", metavar="[CLASS]...", nargs=-1)
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Make a key for every class of this policy that has none.",
)
@kek_options
def create(
    class_names: tuple[str, ...],
    policy: Path | None,
    keyring: str,
    kek_setting: str,
    passphrase_file: Path | None,
) -> None:
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
    wanted = _policy_classes(policy) if policy is not None else ()
    if not class_names and policy is None:
        raise click.UsageError("name a class, or give --policy")
    selftest.run()
    providers = Providers()
    store = open_store_from_option(keyring, providers)
    kek = open_kek_from_options(kek_setting, passphrase_file, providers)
    if store.exists():
        present = load_keyring(store, kek).class_names
        new = _in_order(class_names, (name for name in wanted if name not in present))
        if not new:
            click.echo(f"{store}: every class has a key already")
            return
        _report(store, add_classes(store, kek, new, datetime.now(UTC)), new)
    else:
        new = _in_order(class_names, wanted)
        _report(store, create_keyring(store, kek, new, datetime.now(UTC)), new)
        _warn_of_loss(kek)


def _policy_classes(policy: Path) -> tuple[str, ...]:
    from sealwire.policies.file.loader import load_policy  # noqa: PLC0415 - only this option needs it
    from sealwire.proxy.server.config.reader import read_named_file  # noqa: PLC0415 - as above

    return load_policy(read_named_file(policy, "the policy"), str(policy)).class_names


def _in_order(named: Iterable[str], from_policy: Iterable[str]) -> tuple[str, ...]:
    """Classes named twice on the command line stay twice, and are refused; the policy only adds to them."""
    named = tuple(named)
    return (*named, *(name for name in from_policy if name not in named))


def _report(store: KeyringStore, keyring: Keyring, names: Iterable[str]) -> None:
    for name in names:
        cipher = keyring.cipher_for(name)
        click.echo(f"{store}: created key {name}, id {cipher.class_id}, version {cipher.key_version}")


def _warn_of_loss(kek: KeyEncryptionKey) -> None:
    click.echo(
        "Back up the keyring and the key-encryption key, apart from each other and from the database.\n"
        f"Without both ({kek.id}) nothing that is encrypted can be read again by anyone.",
        err=True,
    )


@command.command(name="create-kek")
@click.option(
    "--file", "path", type=click.Path(path_type=Path), help="Write a passphrase-protected key file."
)
@passphrase_file_option
def create_kek(path: Path | None, passphrase_file: Path | None) -> None:
    """Make a key-encryption key: printed as base64, or in a file under a passphrase.

    The passphrase never comes from the command line: from --passphrase-file, $SEALWIRE_PASSPHRASE, or a
    prompt. At least 20 characters.

    \b
    Examples:
      export SEALWIRE_KEK="$(sealwire keys create-kek)"
      sealwire keys create-kek --file kek.json
      sealwire keys create-kek --file kek.json --passphrase-file passphrase.txt
    """
    if path is None:
        click.echo(generate_encoded_kek())
        click.echo(
            f"This line is the key itself, for the environment variable {DEFAULT_VARIABLE}. Keep it in a\n"
            "secret store, not in a file beside the keyring. It is shown once and stored nowhere.",
            err=True,
        )
        return
    passphrase = ask_new_passphrase(passphrase_file)
    with Console(stderr=True).status("deriving a key from the passphrase"):
        kek_id = create_key_file(path, passphrase)
    click.echo(f"{path}: created key-encryption key {kek_id}")
    click.echo("Back up the file and its passphrase, apart from each other.", err=True)


@command.command(name="list")
@keyring_option
@_json_option
def list_command(keyring: str, as_json: bool) -> None:
    """List classes and key versions. Needs no key-encryption key, and so proves nothing: `verify` does.

    \b
    Examples:
      sealwire keys list --keyring keyring.json
      SEALWIRE_KEYRING=keyring.json sealwire keys list --json
      sealwire keys list --keyring vault:secret/sealwire/keyring
    """
    record = read_record(open_store_from_option(keyring, Providers()))
    rows = [
        _row(entry.name, entry.class_id, key.version, key.state, key.created)
        for entry in record.classes
        for key in entry.keys
    ]
    if as_json:
        _print_json(record.generation, record.kek_id, rows, authenticated=False)
        return
    _print_table(rows)
    click.echo(f"generation {record.generation}, key-encryption key {record.kek_id}, not authenticated")


@command.command()
@kek_options
@_json_option
def verify(keyring: str, kek_setting: str, passphrase_file: Path | None, as_json: bool) -> None:
    """Authenticate the keyring, unwrap every key, and encrypt and decrypt a sample with each.

    \b
    Examples:
      sealwire keys verify --keyring keyring.json
      sealwire keys verify --keyring keyring.json --kek file:kek.json --json
    """
    providers = Providers()
    kek = open_kek_from_options(kek_setting, passphrase_file, providers)
    found = verify_keyring(open_store_from_option(keyring, providers), kek)
    rows = [_row(key.class_name, key.class_id, key.version, key.state, key.created) for key in found.keys]
    if as_json:
        _print_json(found.generation, found.kek_id, rows, authenticated=True)
        return
    _print_table(rows)
    click.echo(
        f"generation {found.generation}, key-encryption key {found.kek_id}, authenticated; "
        f"{found.usable} of {len(rows)} keys encrypt and decrypt"
    )


def _row(name: str, class_id: int, version: int, state: KeyState, created: datetime) -> dict[str, Any]:
    return {
        "class": name,
        "id": class_id,
        "version": version,
        "state": state.value,
        "created": format_time(created),
    }


def _print_json(generation: int, kek_id: str, rows: list[dict[str, Any]], *, authenticated: bool) -> None:
    whole = {"generation": generation, "kek_id": kek_id, "authenticated": authenticated, "keys": rows}
    click.echo(json.dumps(whole, indent=2))


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = Table("class", "id", "version", "state", "created")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
