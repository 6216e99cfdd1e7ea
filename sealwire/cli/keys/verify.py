"""`sealwire keys verify`: prove that a keyring works."""

import click

from sealwire.cli.key_options import KekOptions, kek_options, keyring_option, open_keyring_store
from sealwire.cli.keys.list import show_keys
from sealwire.cli.options import json_option
from sealwire.keys.providers import Providers
from sealwire.keys.verification import verify_keyring


@click.command()
@keyring_option
@kek_options
@json_option
def command(keyring: str, kek: KekOptions, as_json: bool) -> None:
    """Authenticate the keyring, unwrap every key, and encrypt and decrypt a sample with each.

    \b
    Examples:
      sealwire keys verify --keyring keyring.json
      sealwire keys verify --keyring keyring.json --kek file:kek.json --json
    """
    providers = Providers()
    opened = kek.open(providers)
    found = verify_keyring(open_keyring_store(keyring, providers), opened)
    rows = [(key.class_name, key.class_id, key.version, key.state, key.created) for key in found.keys]
    verdict = f"authenticated; {found.usable} of {len(rows)} keys encrypt and decrypt"
    document = {"generation": found.generation, "kek_id": found.kek_id, "authenticated": True}
    show_keys(rows, verdict, document, as_json=as_json)
