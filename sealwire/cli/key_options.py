"""Options that say where the keyring and its key-encryption key are, and how a passphrase is asked for."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console

from sealwire.keys.kek import KeyEncryptionKey
from sealwire.keys.key_file import KeyFileKek
from sealwire.keys.keyring_store import KeyringStore, parse_place
from sealwire.keys.passphrase import check_strength
from sealwire.keys.providers import (
    DEFAULT_PROVIDER,
    ProviderKind,
    Providers,
    find_passphrase,
    parse_provider,
)

F = TypeVar("F", bound=Callable[..., object])

keyring_option = click.option(
    "--keyring",
    metavar="PATH|vault:MOUNT/PATH",
    envvar="SEALWIRE_KEYRING",
    show_envvar=True,
    required=True,
    help="The keyring: a file, or a document in Vault (KV version 2).",
)
kek_option = click.option(
    "--kek",
    "kek_setting",
    metavar="env:VARIABLE|file:PATH|vault:MOUNT/NAME",
    envvar="SEALWIRE_KEK_PROVIDER",
    show_envvar=True,
    default=DEFAULT_PROVIDER,
    show_default=True,
    help="Where the key-encryption key is. Never the key itself.",
)
passphrase_file_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    envvar="SEALWIRE_PASSPHRASE_FILE",
    show_envvar=True,
    help="Passphrase of the key file; else $SEALWIRE_PASSPHRASE, else a prompt.",
)


def kek_options(function: F) -> F:
    """The three options of every command that opens a keyring."""
    return keyring_option(kek_option(passphrase_file_option(function)))


def open_store_from_option(keyring: str, providers: Providers) -> KeyringStore:
    """The keyring's store that --keyring names. Raises KeySettingError."""
    return providers.store(parse_place(keyring))


def open_kek_from_options(
    kek_setting: str, passphrase_file: Path | None, providers: Providers | None = None
) -> KeyEncryptionKey:
    """The KEK that the options name; asks for a passphrase only on a terminal. Raises as `Providers.kek`.

    `providers` is given where a keyring is opened as well, so that both share one connection to Vault.
    """
    settings = parse_provider(kek_setting, passphrase_file)
    if settings.kind is not ProviderKind.KEY_FILE:
        return (providers or Providers()).kek(settings)
    # Asked for before the spinner starts, which would draw over the prompt.
    passphrase = find_passphrase(passphrase_file, prompt=_prompt())
    with Console(stderr=True).status("deriving the key from the passphrase"):
        return KeyFileKek(Path(settings.location), passphrase)


def find_passphrase_from_options(passphrase_file: Path | None) -> str:
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
