"""`sealwire keys list` and `verify`: what is in a keyring, and whether it works."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import click

from sealwire.cli.keys.lent import key_of, shown_key_of
from sealwire.cli.options.common import json_option
from sealwire.cli.options.keys import KekOptions, kek_options, keyring_option, open_keyring_store
from sealwire.cli.output import answer, show_table
from sealwire.keys.keyring.data_key import KeyIds, KeyState
from sealwire.keys.keyring.file import read_record, verify_keyring
from sealwire.keys.keyring.record import format_time
from sealwire.keys.providers import Providers


class Row(NamedTuple):
    """One key version."""

    name: str
    class_id: int
    version: int
    state: KeyState
    created: datetime
    is_plaintext: bool
    """Whether the class is in clear in this version."""
    lender: KeyIds | None
    """Whose key it is, if the class borrows it."""


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
        Row(entry.name, entry.class_id, key.version, key.state, key.created, key.is_plaintext, key.lender)
        for entry in record.classes
        for key in entry.keys
    )
    document = {"generation": record.generation, "kek_id": record.kek_id, "authenticated": False}
    show_keys(rows, "not authenticated", document, as_json=as_json)


def show_keys(rows: Iterable[Row], verdict: str, document: dict[str, Any], *, as_json: bool) -> None:
    """A keyring's keys, and what is known of them as a whole."""
    listed = list(rows)
    names = {row.class_id: row.name for row in listed}
    if not as_json:
        show_table(
            _COLUMNS,
            (
                (
                    *row[:3],
                    shown_state(row.state, is_plaintext=row.is_plaintext) + shown_key_of(row.lender, names),
                    format_time(row.created),
                )
                for row in listed
            ),
        )
    text = f"generation {document['generation']}, key-encryption key {document['kek_id']}, {verdict}"
    keys = [
        dict(zip(_COLUMNS, (*row[:3], row.state.value, format_time(row.created)), strict=True))
        | {"plaintext": row.is_plaintext, "key_of": key_of(row.lender, names)}
        for row in listed
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
        Row(key.class_name, *key.ids, key.state, key.created, key.is_plaintext, key.lender)
        for key in found.keys
    ]
    verdict = f"authenticated; {found.usable} of {len(rows)} keys encrypt and decrypt"
    document = {"generation": found.generation, "kek_id": found.kek_id, "authenticated": True}
    show_keys(rows, verdict, document, as_json=as_json)
