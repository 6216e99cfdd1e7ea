"""`sealwire luks open`, `close` and `add-key`: for a volume that exists."""

from pathlib import Path

import click

from sealwire.cli.luks.options import (
    SecretOptions,
    absolute,
    device_argument,
    name_option,
    new_secret_options,
    on_this_machine,
    pbkdf_options,
    secret_options,
)
from sealwire.cli.options.common import PATH, settings
from sealwire.cli.output import Manner, manner_options
from sealwire.sidecars.luks import volume
from sealwire.sidecars.luks.journal import Journal
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import Pbkdf, VolumeSettings


def _named(device: Path, name: str) -> VolumeSettings:
    return VolumeSettings(device, name)


@click.command(name="open")
@on_this_machine
@settings("wanted", _named, device_argument, name_option)
@secret_options
@click.option("--mount", "where", type=PATH, callback=absolute, help="Mount it here as well.")
@click.option("--read-only", is_flag=True, help="Nothing on the volume can be changed.")
@manner_options
def open_volume(
    machine: Machine,
    wanted: VolumeSettings,
    secret: SecretOptions,
    where: Path | None,
    manner: Manner,
    *,
    read_only: bool,
) -> None:
    """Open the volume on DEVICE as /dev/mapper/NAME, for instance to copy data out.

    \b
    Examples:
      sealwire luks open /dev/sdb --name rescue --read-only --mount /mnt/rescue
      sealwire luks open /dev/sdb --key-file /etc/cryptsetup-keys.d/mongodb.key
    """
    volume.require_openable(machine, wanted.device, wanted.name)
    given = secret.read(machine)
    if manner.dry_run:
        volume.require_opens(machine, wanted.device, given)
    else:
        volume.open_and_mount(machine, wanted, given, where, read_only=read_only)
    text = f"{wanted.mapper} {'would be' if manner.dry_run else 'is'} open"
    text += "" if where is None else f", mounted at {where}"
    place = {"mapping": str(wanted.mapper), "mounted_at": None if where is None else str(where)}
    manner.answer(text, place | {"read_only": read_only})


@click.command()
@on_this_machine
@name_option
@click.option(
    "--mount", "where", type=PATH, callback=absolute, help="Where it is mounted. Default: as it was set up."
)
@manner_options
def close(machine: Machine, name: str, where: Path | None, manner: Manner) -> None:
    """Close a volume: stop the service that it was set up for, unmount it, take the mapping away.

    \b
    Examples:
      sealwire luks close
      sealwire luks close --name rescue --mount /mnt/rescue
    """
    mapper = VolumeSettings(name=name).mapper
    service = None
    journal = Journal.find(machine, name)
    if journal is not None:
        service, where = journal.record.settings.service, where or journal.record.settings.data_directory
    if manner.dry_run:
        volume.require_open(machine, name)
    else:
        volume.unmount_and_close(machine, name, service, where)
    text = f"{mapper} {'would be' if manner.dry_run else 'is'} closed"
    text += f", after {service} was stopped" if manner.dry_run and service is not None else ""
    manner.answer(text, {"mapping": str(mapper), "service": service})


@click.command()
@on_this_machine
@device_argument
@secret_options
@new_secret_options
@pbkdf_options
@manner_options
def add_key(
    machine: Machine, device: Path, secret: SecretOptions, new: SecretOptions, pbkdf: Pbkdf, manner: Manner
) -> None:
    """Give the volume on DEVICE one more passphrase or key file, for instance for recovery.

    Back up the header again afterwards: older backups do not know the new key.

    \b
    Examples:
      sealwire luks add-key /dev/sdb
      sealwire luks add-key /dev/sdb --key-file boot.key --new-passphrase-from fd:3 3< recovery.txt
    """
    path = VolumeSettings(device).device
    volume.require_luks(machine, path)
    present = secret.read(machine)
    if manner.dry_run:
        volume.require_opens(machine, path, present)
        manner.answer(f"{path} opens with the present key; one more would be added", {"device": str(path)})
        return
    added = new.read(machine, is_new=True)
    count = volume.add_proved_key(machine, path, present, added, pbkdf)
    text = f"{path} has {count} key slots now; back up its header again"
    manner.answer(text, {"device": str(path), "key_slots": count})
