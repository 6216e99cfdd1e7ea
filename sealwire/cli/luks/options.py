"""Options that the commands of `sealwire luks` share: the volume, what opens it, what it is to be."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

from sealwire.cli.options import PATH, settings
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.sidecars.luks.machine.linux import LinuxMachine
from sealwire.sidecars.luks.machine.machine import Machine
from sealwire.sidecars.luks.settings import FileSystem, Pbkdf, VolumeSettings
from sealwire.sidecars.luks.volume.cryptsetup import Secret
from sealwire.sidecars.luks.volume.passphrase_source import parse_source, read_passphrase

device_argument = click.argument("device", type=PATH)
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
_PBKDF_OPTIONS = (
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
# What one guess at a passphrase is to cost: gives the command `pbkdf`.
pbkdf_options = settings("pbkdf", Pbkdf, *_PBKDF_OPTIONS)


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """What the options say of a new volume."""

    name: str
    data_directory: Path
    service: str
    key_file: Path | None
    file_system: str
    image_size: int | None
    discard: bool
    memory_kib: int | None
    iterations: int | None
    threads: int | None

    def on(self, device: Path) -> VolumeSettings:
        """The same as settings. Raises LuksSettingError."""
        return VolumeSettings(
            device=device.absolute(),
            name=self.name,
            data_directory=self.data_directory.absolute(),
            service=self.service,
            key_file=None if self.key_file is None else self.key_file.absolute(),
            file_system=FileSystem(self.file_system),
            discard=self.discard,
            image_bytes=None if self.image_size is None else self.image_size << 20,
            pbkdf=Pbkdf(self.memory_kib, self.iterations, self.threads),
        )


# Gives the command `volume: VolumeOptions`.
volume_options = settings(
    "volume",
    VolumeOptions,
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
    *_PBKDF_OPTIONS,
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


@dataclass(frozen=True, slots=True)
class SecretOptions:
    """What opens a volume that exists."""

    key_file: Path | None
    passphrase_from: str

    def read(self, machine: Machine) -> Secret:
        """The key file's path, or the passphrase. Raises as `read_passphrase` does."""
        if self.key_file is not None:
            return self.key_file.absolute()
        return passphrase_reader(self.passphrase_from, machine)()


# Gives the command `secret: SecretOptions`.
secret_options = settings(
    "secret",
    SecretOptions,
    click.option("--key-file", type=PATH, help="Open with this key file, not a passphrase."),
    passphrase_option,
)
