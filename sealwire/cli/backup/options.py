"""Options of the backup commands: where backups are, who may open them, what opens them."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from sealwire.cli.exit_codes import exit_code
from sealwire.cli.key_options import (
    find_passphrase_from_options,
    open_kek_from_options,
    passphrase_file_option,
)
from sealwire.keys.errors import KeysError
from sealwire.keys.key_pair import load_private_key, load_public_key
from sealwire.keys.providers import Providers
from sealwire.sidecars.backup.errors import BackupError, BackupReason, BackupSettingError
from sealwire.sidecars.backup.key_slots import Identity, Recipient
from sealwire.sidecars.backup.retention import RetentionPolicy

PUBLIC_PREFIX = "public:"
PRIVATE_PREFIX = "private:"

store_option = click.option(
    "--store",
    "store_address",
    metavar="DIRECTORY|s3://BUCKET/PREFIX",
    envvar="SEALWIRE_BACKUP_STORE",
    show_envvar=True,
    default="/var/backups/mongodb",
    show_default=True,
    help="Where the backups are.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
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


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What the options say about keys; nothing is opened before it is asked for."""

    recipient_settings: Sequence[str] = ()
    key_settings: Sequence[str] = ()
    passphrase_file: Path | None = None
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

    def _recipient(self, setting: str) -> Recipient:
        if setting.startswith(PRIVATE_PREFIX):
            raise BackupSettingError(
                BackupReason.RECIPIENT,
                "a recipient is the public half of a key pair",
                "write public:PATH.pub",
            )
        if setting.startswith(PUBLIC_PREFIX):
            return load_public_key(Path(setting.removeprefix(PUBLIC_PREFIX)))
        return open_kek_from_options(setting, self.passphrase_file, self.providers)

    def _identity(self, setting: str) -> Identity:
        if setting.startswith(PUBLIC_PREFIX):
            raise BackupSettingError(
                BackupReason.RECIPIENT,
                "a public key opens nothing",
                "write private:PATH, where the other half is",
            )
        if not setting.startswith(PRIVATE_PREFIX):
            return open_kek_from_options(setting, self.passphrase_file, self.providers)
        # Asked for before the spinner starts, which would draw over the prompt.
        passphrase = find_passphrase_from_options(self.passphrase_file)
        with Console(stderr=True).status("deriving the key from the passphrase"):
            return load_private_key(Path(setting.removeprefix(PRIVATE_PREFIX)), passphrase)


def writing_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that makes backups; it gets them as `keys`."""
    return _recipient_option(passphrase_file_option(_collecting(function)))


def reading_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that opens backups; it gets them as `keys`."""
    return _key_option(passphrase_file_option(_collecting(function)))


def rekeying_options(function: Callable[..., None]) -> Callable[..., None]:
    """Both."""
    return _key_option(_recipient_option(passphrase_file_option(_collecting(function))))


def _collecting(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def collected(**options: Any) -> None:
        names = [item.name for item in fields(KeyOptions)]
        given = {name: options.pop(name) for name in names if name in options}
        function(keys=KeyOptions(**given), **options)

    return collected


def retention_options(function: Callable[..., None]) -> Callable[..., None]:
    """How many backups to keep; the command gets them as `policy`. None at all is a BackupSettingError."""

    @wraps(function)
    def collected(**options: Any) -> None:
        numbers = {item.name: options.pop(f"keep_{item.name}") for item in fields(RetentionPolicy)}
        function(policy=RetentionPolicy(**numbers), **options)

    decorated: Callable[..., None] = collected
    # The last one applied stands first in --help.
    for name, what in (
        ("--keep-monthly", "The newest of each of N months."),
        ("--keep-weekly", "The newest of each of N weeks."),
        ("--keep-daily", "The newest of each of N days."),
        ("--keep-last", "The newest N."),
    ):
        option = click.option(name, metavar="N", type=click.IntRange(min=0), default=0, help=what)
        decorated = option(decorated)
    return decorated


@contextmanager
def progress_bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while something long runs; call it with the bytes done since the last call."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=total)
        yield lambda done: progress.update(task, advance=done)


@contextmanager
def document_bar(label: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on standard error; call it with what is at work, the bytes done, and those of all if known."""
    columns = (
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda text, done, total: progress.update(task, description=text, completed=done, total=total)


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
            about = "" if str(error).startswith(name) else f"{name}: "
            click.echo(f"sealwire: error: {about}{error}", err=True)
            if error.hint:
                click.echo(f"sealwire: hint: {error.hint}", err=True)
            self._first = self._first or error

    def exit(self) -> None:
        """End the process with the exit code of the first error, if there was one."""
        if self._first is not None:
            sys.exit(exit_code(self._first))
