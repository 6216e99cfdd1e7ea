"""Options that say where the keyring and its key-encryption key are, and how a passphrase is asked for."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealwire.cli.options import PATH, Decorator, settings, variable_option
from sealwire.keys.keyring.file import load_keyring, read_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import KeyringRecord
from sealwire.keys.keyring.store import KeyringStore, parse_place
from sealwire.keys.providers import (
    DEFAULT_PROVIDER,
    KEK_FORMS,
    ProviderKind,
    Providers,
    find_passphrase,
    parse_provider,
)

if TYPE_CHECKING:
    from sealwire.keys.contexts.store import ContextStore
    from sealwire.keys.kek.kek import KeyEncryptionKey


def _keyring_option(*, required: bool) -> Decorator:
    return variable_option(
        "--keyring",
        metavar="PATH|vault:MOUNT/PATH",
        envvar="SEALWIRE_KEYRING",
        required=required,
        help="The keyring: a file, or a document in Vault (KV version 2).",
    )


keyring_option = _keyring_option(required=True)
optional_keyring_option = _keyring_option(required=False)
passphrase_file_option = variable_option(
    "--passphrase-file",
    type=PATH,
    envvar="SEALWIRE_PASSPHRASE_FILE",
    help="Passphrase of the key file; else $SEALWIRE_PASSPHRASE, else a prompt.",
)


def contexts_option(text: str, *, required: bool = False) -> Decorator:
    """`--contexts`, with this help: where the store of context keys is."""
    return variable_option(
        "--contexts",
        metavar="PATH|vault:MOUNT/PATH",
        envvar="SEALWIRE_KEYS_CONTEXTS",
        required=required,
        help=text,
    )


@dataclass(frozen=True, slots=True)
class KekOptions:
    """The options that name a key-encryption key, which `open` opens."""

    kek_setting: str
    passphrase_file: Path | None

    def open(self, providers: Providers | None = None) -> "KeyEncryptionKey":
        return open_kek(self.kek_setting, self.passphrase_file, providers)


kek_options = settings(
    "kek",
    KekOptions,
    variable_option(
        "--kek",
        "kek_setting",
        metavar="KEK",
        envvar="SEALWIRE_KEK_PROVIDER",
        default=DEFAULT_PROVIDER,
        show_default=True,
        help=f"Where the key-encryption key is: {KEK_FORMS}. Never the key itself.",
    ),
    passphrase_file_option,
)


@dataclass(frozen=True, slots=True)
class KeyringOptions:
    """The options that name a keyring and what opens it, and are opened when it is asked for."""

    keyring: str
    kek: KekOptions
    providers: Providers = field(init=False, default_factory=Providers)

    def store(self) -> KeyringStore:
        """Where the keyring is; nothing is read yet. Raises KeySettingError."""
        return self.providers.store(parse_place(self.keyring))

    def open_kek(self) -> "KeyEncryptionKey":
        """The key-encryption key of the keyring. Raises as `Providers.kek`."""
        return self.kek.open(self.providers)

    def load(self) -> Keyring:
        """All keys. Raises as `load_keyring`."""
        return load_keyring(self.store(), self.open_kek())

    def context_store(self, place: str) -> "ContextStore":
        """The store of the keys of contexts at `place`. Raises as `Providers.context_store`."""
        return self.providers.context_store(parse_place(place), create=False)


# Gives the command `keys: KeyringOptions`.
keys_options = settings("keys", KeyringOptions, keyring_option, kek_options)


def stored_record(keyring: str) -> KeyringRecord:
    """What --keyring names, not authenticated. Raises as `read_record`."""
    return read_record(Providers().store(parse_place(keyring)))


def open_kek(
    setting: str, passphrase_file: Path | None, providers: Providers | None = None
) -> "KeyEncryptionKey":
    """The KEK that an option names; asks for a passphrase only on a terminal. Raises as `Providers.kek`.

    `providers` is given where a keyring is opened as well, so that both share one connection to Vault.
    """
    provider = parse_provider(setting, passphrase_file)
    if provider.kind is not ProviderKind.KEY_FILE:
        return (providers or Providers()).kek(provider)
    from rich.console import Console  # noqa: PLC0415 - 30 ms

    from sealwire.keys.kek.passphrase import KeyFileKek  # noqa: PLC0415 - 15 ms

    # Asked for before the spinner starts, which would draw over the prompt.
    passphrase = ask_passphrase(passphrase_file)
    with Console(stderr=True).status("deriving the key from the passphrase"):
        return KeyFileKek(Path(provider.location), passphrase)


def ask_passphrase(passphrase_file: Path | None) -> str:
    """A passphrase that exists; asked for only on a terminal. Raises as `find_passphrase` does."""
    return find_passphrase(passphrase_file, prompt=_prompt())


def ask_new_passphrase(passphrase_file: Path | None) -> str:
    """A passphrase for a new key file; typed twice if it is typed. Raises KeySettingError if weak."""
    from sealwire.keys.kek.passphrase import check_strength  # noqa: PLC0415 - 15 ms

    passphrase = find_passphrase(passphrase_file, prompt=_prompt(confirm=True))
    check_strength(passphrase)
    return passphrase


def _prompt(*, confirm: bool = False) -> Callable[[], str] | None:
    """Asks on the terminal; None where there is no terminal to ask on, so that services fail at once."""
    if not sys.stdin.isatty():
        return None
    return lambda: str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))
