"""Options that the subcommands of `sealwire luks` share, and how they ask, confirm and show progress."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.private_file import writer_lock
from sealwire.sidecars.luks.errors import LuksReason, NotConfirmed
from sealwire.sidecars.luks.journal import journal_path
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.passphrase_source import parse_source, read_passphrase
from sealwire.sidecars.luks.settings import FileSystem, Pbkdf, VolumeSettings

F = TypeVar("F", bound=Callable[..., object])

PATH = click.Path(path_type=Path)
DEFAULT_NAME = "mongodb"

device_argument = click.argument("device", type=PATH)
name_option = click.option(
    "--name", default=DEFAULT_NAME, show_default=True, help="Name of the volume: /dev/mapper/NAME."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask before beginning.")
confirm_option = click.option(
    "--confirm",
    metavar="TEXT",
    help="The answer to the question that has to be typed, for scripts.",
)
passphrase_option = click.option(
    "--passphrase-from",
    "passphrase_from",
    metavar="SOURCE",
    default="prompt",
    show_default=True,
    help="prompt, fd:NUMBER, file:PATH, systemd-creds:PATH or vault:MOUNT/PATH#FIELD. Never the passphrase.",
)
_PBKDF_OPTIONS = (
    click.option("--pbkdf-memory", type=int, metavar="KIB", help="Argon2id memory; default: measured."),
    click.option("--pbkdf-iterations", type=int, metavar="N", help="Argon2id passes; default: measured."),
    click.option("--pbkdf-threads", type=int, metavar="N", help="Argon2id threads; default: measured."),
)
_VOLUME_OPTIONS = (
    name_option,
    click.option(
        "--data-directory",
        type=PATH,
        default="/var/lib/mongodb",
        show_default=True,
        help="MongoDB's dbPath, which moves on to the volume.",
    ),
    click.option(
        "--service", default="mongod.service", show_default=True, help="The unit that runs MongoDB."
    ),
    click.option(
        "--key-file",
        type=PATH,
        help="Opens the volume at boot; on another disk than DEVICE; made when it is not there.",
    ),
    click.option(
        "--file-system",
        type=click.Choice([kind.value for kind in FileSystem]),
        default=FileSystem.XFS.value,
        show_default=True,
    ),
    click.option(
        "--image-size", type=int, metavar="MIB", help="Make the file image DEVICE of this size instead."
    ),
    click.option("--discard", is_flag=True, help="Pass discards to the disk: see docs/operations/luks.md."),
)


def pbkdf_options(function: F) -> F:
    """What one guess at a passphrase is to cost."""
    for option in reversed(_PBKDF_OPTIONS):
        function = option(function)
    return function


def volume_options(function: F) -> F:
    """Everything that describes a new volume."""
    function = pbkdf_options(function)
    for option in reversed(_VOLUME_OPTIONS):
        function = option(function)
    return function


def volume_settings(  # noqa: PLR0913 - one parameter an option
    *,
    device: Path,
    name: str,
    data_directory: Path,
    service: str,
    key_file: Path | None,
    file_system: str,
    image_size: int | None,
    discard: bool,
    pbkdf_memory: int | None,
    pbkdf_iterations: int | None,
    pbkdf_threads: int | None,
) -> VolumeSettings:
    """The options of `volume_options` as settings. Raises LuksSettingError."""
    return VolumeSettings(
        device=device.absolute(),
        name=name,
        data_directory=data_directory.absolute(),
        service=service,
        key_file=None if key_file is None else key_file.absolute(),
        file_system=FileSystem(file_system),
        discard=discard,
        image_bytes=None if image_size is None else image_size << 20,
        pbkdf=Pbkdf(pbkdf_memory, pbkdf_iterations, pbkdf_threads),
    )


def passphrase_reader(
    setting: str, machine: Machine, text: str = "Passphrase of the volume", *, is_new: bool = False
) -> Callable[[], bytes]:
    """Reads it when it is first needed, and once; a new one is typed twice and has to be strong."""
    source = parse_source(setting)

    def ask() -> str:
        if not sys.stdin.isatty():
            raise KeySettingError(
                KeysReason.PASSPHRASE_MISSING,
                "a passphrase is needed and there is no terminal to ask on",
                "give --passphrase-from fd:NUMBER, file:PATH, systemd-creds:PATH or vault:MOUNT/PATH#FIELD",
            )
        return str(click.prompt(text, hide_input=True, confirmation_prompt=is_new, err=True))

    return cache(lambda: read_passphrase(source, machine, ask, is_new=is_new))


def answer(text: str, document: Mapping[str, object], *, as_json: bool) -> None:
    """The last word of a command on standard output, for people or for programs."""
    click.echo(json.dumps(document, indent=2) if as_json else text)


def require_typed(question: str, wanted: str, given: str | None) -> None:
    """Ask for `wanted`, to be typed in full; `given` is a script's answer. Raises NotConfirmed."""
    if given is None and sys.stdin.isatty():
        given = click.prompt(f"{question}\nType {wanted} to go on", err=True, default="", show_default=False)
    if given != wanted:
        raise NotConfirmed(
            LuksReason.CONFIRMATION,
            "not confirmed: nothing was changed",
            f"type {wanted}, or --confirm {wanted}",
        )


def require_yes(question: str, *, yes: bool) -> None:
    """Ask yes or no. Raises NotConfirmed."""
    if yes or (sys.stdin.isatty() and click.confirm(question, err=True)):
        return
    raise NotConfirmed(
        LuksReason.CONFIRMATION, "not confirmed: nothing was changed", "answer yes, or give --yes"
    )


@contextmanager
def only_writer(machine: Machine, name: str) -> Iterator[None]:
    """One command at a time may change a volume. Raises KeyringBusy, MachineUnfit by the caller's checks."""
    path = journal_path(name)
    machine.make_directory(path.parent, 0o700)
    with writer_lock(path):
        yield


class Display:
    """Shows the steps line by line and a bar for what takes long, on standard error."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, title: str) -> None:
        self._clear()
        self._progress.console.print(f"luks: {title}", markup=False, highlight=False)

    def expect(self, what: str, total_bytes: int) -> None:
        self._clear()
        self._task = self._progress.add_task(what, total=total_bytes)

    def advance(self, count_bytes: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, count_bytes)

    def _clear(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


@contextmanager
def display() -> Iterator[Display]:
    """A display for one command; the bar is drawn on a terminal only, the lines always."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Display(progress)
