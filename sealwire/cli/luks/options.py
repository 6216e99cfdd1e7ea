"""Options that the commands of `sealwire luks` share: the volume, what opens it, what it is to be."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

from sealwire.cli.options.common import PATH, settings
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.sidecars.luks.linux import LinuxMachine
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import FileSystem, Pbkdf, VolumeSettings
from sealwire.sidecars.luks.volume import Secret, parse_source, read_passphrase


def absolute(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """For options and arguments: the path from the root."""
    return None if path is None else path.absolute()


device_argument = click.argument("device", type=PATH, callback=absolute)
name_option = click.option(
    "--name", default="mongodb", show_default=True, help="Name of the volume: /dev/mapper/NAME."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask before beginning.")
confirm_option = click.option(
    "--confirm", metavar="TEXT", help="The answer to the question that has to be typed, for scripts."
)
passphrase_option = click.option(
    "--passphrase-from",
    metavar="SOURCE",
    default="prompt",
    show_default=True,
    help="prompt, fd:NUMBER, file:PATH, systemd-creds:PATH or vault:MOUNT/PATH#FIELD. Never the passphrase.",
)
# What one guess at a passphrase is to cost: gives the command `pbkdf: Pbkdf`.
pbkdf_options = settings(
    "pbkdf",
    Pbkdf,
    click.option(
        "--pbkdf-memory", "memory_kib", type=int, metavar="KIB", help="Argon2id memory; default: measured."
    ),
    click.option(
        "--pbkdf-iterations", "iterations", type=int, metavar="N", help="Argon2id passes; default: measured."
    ),
    click.option(
        "--pbkdf-threads", "threads", type=int, metavar="N", help="Argon2id threads; default: measured."
    ),
)


def _this_machine() -> Machine:
    return LinuxMachine()


# Gives the command `machine`, the one that it runs on.
on_this_machine = settings("machine", _this_machine)

# Gives the command `volume: VolumeSettings`; its device is an argument of the command.
volume_options = settings(
    "volume",
    VolumeSettings,
    name_option,
    click.option(
        "--data-directory",
        type=PATH,
        default="/var/lib/mongodb",
        show_default=True,
        callback=absolute,
        help="MongoDB's dbPath, which moves on to the volume.",
    ),
    click.option(
        "--service", default="mongod.service", show_default=True, help="The unit that runs MongoDB."
    ),
    click.option(
        "--key-file",
        type=PATH,
        callback=absolute,
        help="Opens the volume at boot; on another disk than DEVICE; made when it is not there.",
    ),
    click.option(
        "--file-system",
        type=click.Choice([kind.value for kind in FileSystem]),
        default=FileSystem.XFS.value,
        show_default=True,
        callback=lambda _, __, kind: FileSystem(kind),
    ),
    click.option(
        "--image-size",
        "image_bytes",
        type=int,
        metavar="MIB",
        callback=lambda _, __, mib: None if mib is None else mib << 20,
        help="Make the file image DEVICE of this size instead.",
    ),
    click.option("--discard", is_flag=True, help="Pass discards to the disk: see docs/operations/luks.md."),
    pbkdf_options,
)


def passphrase_reader(setting: str, machine: Machine, *, is_new: bool = False) -> Callable[[], bytes]:
    """Reads it when it is first needed, and once; a new one is typed twice and has to be strong."""
    source = parse_source(setting)

    def ask() -> str:
        if not sys.stdin.isatty():
            text = "a passphrase is needed and there is no terminal to ask on"
            hint = "give --passphrase-from fd:NUMBER, file:PATH, systemd-creds:PATH or vault:MOUNT/PATH#FIELD"
            raise KeySettingError(KeysReason.PASSPHRASE_MISSING, text, hint)
        question = "New passphrase" if is_new else "Passphrase of the volume"
        return str(click.prompt(question, hide_input=True, confirmation_prompt=is_new, err=True))

    return cache(lambda: read_passphrase(source, machine, ask, is_new=is_new))


@dataclass(frozen=True, slots=True)
class SecretOptions:
    """What opens a volume."""

    key_file: Path | None
    passphrase_from: str

    def read(self, machine: Machine, *, is_new: bool = False) -> Secret:
        """The key file's path, or the passphrase. Raises as `read_passphrase` does."""
        if self.key_file is not None:
            return self.key_file
        return passphrase_reader(self.passphrase_from, machine, is_new=is_new)()


# Gives the command `secret: SecretOptions`.
secret_options = settings(
    "secret",
    SecretOptions,
    click.option(
        "--key-file", type=PATH, callback=absolute, help="Open with this key file, not a passphrase."
    ),
    passphrase_option,
)


def _new_secret(new_key_file: Path | None, new_passphrase_from: str) -> SecretOptions:
    return SecretOptions(new_key_file, new_passphrase_from)


# The same for what is to open it as well: gives the command `new: SecretOptions`.
new_secret_options = settings(
    "new",
    _new_secret,
    click.option(
        "--new-key-file", type=PATH, callback=absolute, help="Add this key file, which has to exist."
    ),
    click.option(
        "--new-passphrase-from",
        metavar="SOURCE",
        default="prompt",
        show_default=True,
        help="Where the new passphrase is; like --passphrase-from.",
    ),
)
