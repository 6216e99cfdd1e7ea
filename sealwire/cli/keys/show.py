"""`sealwire keys list` and `verify`: what is in a keyring, and whether it works."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import click

from sealwire.cli.key_options import KekOptions, kek_options, keyring_option, open_keyring_store
from sealwire.cli.options import json_option
from sealwire.cli.output import answer, show_table
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import read_record
from sealwire.keys.keyring.record import format_time
from sealwire.keys.keyring.verification import verify_keyring
from sealwire.keys.providers import Providers

Row = tuple[str, int, int, KeyState, datetime, bool]
"""Class, id, version, state, when the key was made, and whether the class is in clear in this version."""

_COLUMNS = ("class", "id", "version", "state", "created")


@click.command(name="list")
@keyring_option
@json_option
def list_keys(keyring: str, as_json: bool) -> None:
    """List classes and key versions. Needs no key-encryption key, and so proves nothing: `verify` does.

    \b
    Examples:
      sealwire keys list --keyring keyring.json
      SEALWIRE_KEYRING=keyring.json sealwire keys list --json
      sealwire keys list --keyring vault:secret/sealwire/keyring
    """
    record = read_record(open_keyring_store(keyring, Providers()))
    rows = (
        (entry.name, entry.class_id, key.version, key.state, key.created, key.is_plaintext)
        for entry in record.classes
        for key in entry.keys
    )
    document = {"generation": record.generation, "kek_id": record.kek_id, "authenticated": False}
    show_keys(rows, "not authenticated", document, as_json=as_json)


def show_keys(rows: Iterable[Row], verdict: str, document: dict[str, Any], *, as_json: bool) -> None:
    """A keyring's keys, and what is known of them as a whole."""
    listed = list(rows)
    if not as_json:
        show_table(
            _COLUMNS,
            (
                (name, class_id, version, shown_state(state, is_plaintext=is_plaintext), format_time(created))
                for name, class_id, version, state, created, is_plaintext in listed
            ),
        )
    text = f"generation {document['generation']}, key-encryption key {document['kek_id']}, {verdict}"
    keys = [
        dict(zip(_COLUMNS, (name, class_id, version, state.value, format_time(created)), strict=True))
        | {"plaintext": is_plaintext}
        for name, class_id, version, state, created, is_plaintext in listed
    ]
    answer(text, document | {"keys": keys}, as_json=as_json)


def shown_state(state: KeyState, *, is_plaintext: bool) -> str:
    """A version's state, and that its class is in clear in it, if it is."""
    return f"{state.value}, plaintext" if is_plaintext else state.value


@click.command()
@keyring_option
@kek_options
@json_option
def verify(keyring: str, kek: KekOptions, as_json: bool) -> None:
    """Authenticate the keyring, unwrap every key, and encrypt and decrypt a sample with each.

    \b
    Examples:
      sealwire keys verify --keyring keyring.json
      sealwire keys verify --keyring keyring.json --kek file:kek.json --json
    """
    providers = Providers()
    opened = kek.open(providers)
    found = verify_keyring(open_keyring_store(keyring, providers), opened)
    rows = [
        (key.class_name, key.class_id, key.version, key.state, key.created, key.is_plaintext)
        for key in found.keys
    ]
    verdict = f"authenticated; {found.usable} of {len(rows)} keys encrypt and decrypt"
    document = {"generation": found.generation, "kek_id": found.kek_id, "authenticated": True}
    show_keys(rows, verdict, document, as_json=as_json)
