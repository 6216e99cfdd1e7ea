"""Options that say where the keyring and its key-encryption key are, and how a passphrase is asked for."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from sealwire.cli.options.common import PATH, Decorator, settings
from sealwire.keys.kek.kek import KeyEncryptionKey
from sealwire.keys.kek.passphrase import KeyFileKek, check_strength
from sealwire.keys.keyring.store import KeyringStore, parse_place
from sealwire.keys.providers import (
    DEFAULT_PROVIDER,
    KEK_FORMS,
    ProviderKind,
    Providers,
    find_passphrase,
    parse_provider,
)


def _keyring_option(*, required: bool) -> Decorator:
    return click.option(
        "--keyring",
        metavar="PATH|vault:MOUNT/PATH",
        envvar="SEALWIRE_KEYRING",
        show_envvar=True,
        required=required,
        help="The keyring: a file, or a document in Vault (KV version 2).",
    )


keyring_option = _keyring_option(required=True)
optional_keyring_option = _keyring_option(required=False)
passphrase_file_option = click.option(
    "--passphrase-file",
    type=PATH,
    envvar="SEALWIRE_PASSPHRASE_FILE",
    show_envvar=True,
    help="Passphrase of the key file; else $SEALWIRE_PASSPHRASE, else a prompt.",
)


def contexts_option(text: str, *, required: bool = False) -> Decorator:
    """`--contexts`, with this help: where the store of context keys is."""
    return click.option(
        "--contexts",
        metavar="PATH|vault:MOUNT/PATH",
        envvar="SEALWIRE_KEYS_CONTEXTS",
        show_envvar=True,
        required=required,
        help=text,
    )


@dataclass(frozen=True, slots=True)
class KekOptions:
    """What the options say of a key-encryption key; it is opened when it is asked for."""

    kek_setting: str
    passphrase_file: Path | None

    def open(self, providers: Providers | None = None) -> KeyEncryptionKey:
        return open_kek(self.kek_setting, self.passphrase_file, providers)


kek_options = settings(
    "kek",
    KekOptions,
    click.option(
        "--kek",
        "kek_setting",
        metavar=KEK_FORMS,
        envvar="SEALWIRE_KEK_PROVIDER",
        show_envvar=True,
        default=DEFAULT_PROVIDER,
        show_default=True,
        help="Where the key-encryption key is. Never the key itself.",
    ),
    passphrase_file_option,
)


def open_keyring_store(keyring: str, providers: Providers) -> KeyringStore:
    """The store that --keyring names. Raises KeySettingError."""
    return providers.store(parse_place(keyring))


def open_kek(
    setting: str, passphrase_file: Path | None, providers: Providers | None = None
) -> KeyEncryptionKey:
    """The KEK that an option names; asks for a passphrase only on a terminal. Raises as `Providers.kek`.

    `providers` is given where a keyring is opened as well, so that both share one connection to Vault.
    """
    provider = parse_provider(setting, passphrase_file)
    if provider.kind is not ProviderKind.KEY_FILE:
        return (providers or Providers()).kek(provider)
    # Asked for before the spinner starts, which would draw over the prompt.
    passphrase = ask_passphrase(passphrase_file)
    with Console(stderr=True).status("deriving the key from the passphrase"):
        return KeyFileKek(Path(provider.location), passphrase)


def ask_passphrase(passphrase_file: Path | None) -> str:
    """A passphrase that exists; asked for only on a terminal. Raises as `find_passphrase` does."""
    return find_passphrase(passphrase_file, prompt=_prompt())


def ask_new_passphrase(passphrase_file: Path | None) -> str:
    """A passphrase for a new key file; typed twice if it is typed. Raises KeySettingError if weak."""
    passphrase = find_passphrase(passphrase_file, prompt=_prompt(confirm=True))
    check_strength(passphrase)
    return passphrase


def _prompt(*, confirm: bool = False) -> Callable[[], str] | None:
    """Asks on the terminal; None where there is no terminal to ask on, so that services fail at once."""
    if not sys.stdin.isatty():
        return None
    return lambda: str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))
