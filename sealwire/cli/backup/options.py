"""Options of the backup commands: where backups are, who may open them, what opens them, how many to keep."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console

from sealwire.audit.files import load_signing_key, load_verification_key
from sealwire.audit.signing import SigningKey, VerificationKey
from sealwire.cli.exit_codes import exit_code, show_error
from sealwire.cli.options.common import PATH, settings
from sealwire.cli.options.keys import ask_passphrase, open_kek, passphrase_file_option
from sealwire.keys.errors import KeysError
from sealwire.keys.kek.key_pair import load_private_key, load_public_key
from sealwire.keys.providers import Providers
from sealwire.sidecars.backup.errors import BackupError, BackupReason, BackupSettingError
from sealwire.sidecars.backup.keeping.retention import RetentionPolicy
from sealwire.sidecars.backup.sealed.key_slots import Identity, Recipient
from sealwire.sidecars.backup.stores.open_store import open_new_store, open_store

DEFAULT_DIRECTORY = "/var/backups/mongodb"

_address_option = click.option(
    "--store",
    "address",
    metavar="DIRECTORY|s3://BUCKET/PREFIX",
    envvar="SEALWIRE_BACKUP_STORE",
    show_envvar=True,
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where the backups are.",
)
# Each gives the command `store: Store`; the second makes the directory, if only that is missing.
store_option = settings("store", open_store, _address_option)
new_store_option = settings("store", open_new_store, _address_option)
names_argument = click.argument("names", metavar="[NAME]...", nargs=-1)
_recipient_option = click.option(
    "--recipient",
    "recipient_settings",
    metavar="public:PATH|vault:MOUNT/NAME|env:VARIABLE|file:PATH",
    envvar="SEALWIRE_BACKUP_RECIPIENTS",
    show_envvar=True,
    required=True,
    multiple=True,
    help="Who can open the backup: a public key, or a key-encryption key of any provider. May be repeated.",
)
_key_option = click.option(
    "--key",
    "key_settings",
    metavar="private:PATH|vault:MOUNT/NAME|env:VARIABLE|file:PATH",
    envvar="SEALWIRE_BACKUP_KEYS",
    show_envvar=True,
    required=True,
    multiple=True,
    help="What opens the backups: a private key, or a key-encryption key of any provider. May be repeated.",
)
_sign_option = click.option(
    "--sign-with",
    type=PATH,
    envvar="SEALWIRE_BACKUP_SIGN_WITH",
    show_envvar=True,
    help="Sign what is written with this key of `sealwire audit create-key`.",
)
_signed_by_option = click.option(
    "--signed-by",
    type=PATH,
    envvar="SEALWIRE_BACKUP_SIGNED_BY",
    show_envvar=True,
    multiple=True,
    help="Refuse what is not signed by this public key. May be repeated: one of them has to have signed.",
)


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What the options say about keys; nothing is opened before it is asked for."""

    recipient_settings: Sequence[str] = ()
    key_settings: Sequence[str] = ()
    passphrase_file: Path | None = None
    sign_with: Path | None = None
    signed_by: Sequence[Path] = ()
    providers: Providers = field(default_factory=Providers)
    """One for both, so that they share one connection to Vault."""

    def recipients(self) -> list[Recipient]:
        """What `--recipient` names. Raises as `load_public_key` and `Providers.kek` do."""
        return [self._recipient(setting) for setting in self.recipient_settings]

    def identities(self) -> list[Identity]:
        """What `--key` names; asks for passphrases on a terminal.

        Raises as `load_private_key` and `Providers.kek` do.
        """
        return [self._identity(setting) for setting in self.key_settings]

    def signing_key(self) -> SigningKey | None:
        """What `--sign-with` names. Raises as `load_signing_key` does."""
        return None if self.sign_with is None else load_signing_key(self.sign_with)

    def signers(self) -> list[VerificationKey]:
        """What `--signed-by` names. Raises as `load_verification_key` does."""
        return [load_verification_key(path) for path in self.signed_by]

    def _recipient(self, setting: str) -> Recipient:
        kind, _, path = setting.partition(":")
        if kind == "private":
            text, hint = "a recipient is the public half of a key pair", "write public:PATH.pub"
            raise BackupSettingError(BackupReason.RECIPIENT, text, hint)
        if kind == "public":
            return load_public_key(Path(path))
        return open_kek(setting, self.passphrase_file, self.providers)

    def _identity(self, setting: str) -> Identity:
        kind, _, path = setting.partition(":")
        if kind == "public":
            text, hint = "a public key opens nothing", "write private:PATH, where the other half is"
            raise BackupSettingError(BackupReason.RECIPIENT, text, hint)
        if kind != "private":
            return open_kek(setting, self.passphrase_file, self.providers)
        # Asked for before the spinner starts, which would draw over the prompt.
        passphrase = ask_passphrase(self.passphrase_file)
        with Console(stderr=True).status("deriving the key from the passphrase"):
            return load_private_key(Path(path), passphrase)


# Each gives the command `keys: KeyOptions`.
writing_options = settings("keys", KeyOptions, _recipient_option, passphrase_file_option, _sign_option)
reading_options = settings("keys", KeyOptions, _key_option, passphrase_file_option, _signed_by_option)
rekeying_options = settings(
    "keys",
    KeyOptions,
    _key_option,
    _recipient_option,
    passphrase_file_option,
    _signed_by_option,
    _sign_option,
)

keep_options = tuple(
    click.option(f"--keep-{name}", name, metavar="N", type=click.IntRange(min=0), default=0, help=what)
    for name, what in (
        ("last", "The newest N."),
        ("daily", "One of each of N days."),
        ("weekly", "One of each of N full weeks, and of the newest week."),
        ("monthly", "One of each of N full months, and of the newest month."),
    )
)
# Gives the command `policy: RetentionPolicy`; BackupSettingError where nothing would be kept.
retention_options = settings("policy", RetentionPolicy, *keep_options)


class Failures:
    """Errors of single backups, which do not keep the others from being done."""

    def __init__(self) -> None:
        self._first: Exception | None = None

    @contextmanager
    def collect(self, name: str) -> Iterator[None]:
        """Print an error of this backup at once, and go on."""
        try:
            yield
        except (BackupError, KeysError) as error:
            show_error(error, "" if str(error).startswith(name) else f"{name}: ")
            self._first = self._first or error

    def exit(self) -> None:
        """End the process with the exit code of the first error, if there was one."""
        if self._first is not None:
            sys.exit(exit_code(self._first))
