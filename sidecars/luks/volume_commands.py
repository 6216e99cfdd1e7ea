"""`sealwire luks` for a volume that exists: `open`, `close`, `add-key`, and its header, kept safe."""

from pathlib import Path

import click

from sealwire.cli.key_options import KekOptions, kek_options
from sealwire.cli.options import PATH, settings
from sealwire.cli.output import Manner, manner_options
from sealwire.sidecars.luks import headers, volume
from sealwire.sidecars.luks.commands import (
    Consent,
    SecretOptions,
    device_argument,
    name_option,
    new_secret_options,
    on_this_machine,
    path_option,
    pbkdf_options,
    secret_options,
    typed_consent,
)
from sealwire.sidecars.luks.journal import VolumeJournal
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import Pbkdf, VolumeSettings


def _named(device: Path, name: str) -> VolumeSettings:
    return VolumeSettings(device, name)


@click.command(name="open")
@on_this_machine
@settings("wanted", _named, device_argument, name_option)
@secret_options
@path_option("--mount", "where", help="Mount it here as well.")
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
@path_option("--mount", "where", help="Where it is mounted. Default: as it was set up.")
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
    journal = VolumeJournal.find(machine, name)
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


source_option = path_option("--from", "source", required=True, help="What backup-header wrote.")


@click.command()
@on_this_machine
@device_argument
@click.option("--to", "target", type=PATH, required=True, help="The file to write.")
@kek_options
@manner_options
def backup_header(machine: Machine, device: Path, target: Path, kek: KekOptions, manner: Manner) -> None:
    """Write the header of the volume on DEVICE to an encrypted file.

    Without its header a volume is lost, whoever has the passphrase. The file is encrypted under a
    key-encryption key as backups are: with it and an old passphrase the volume opens, even after that
    passphrase was taken away. Keep it apart from the volume.

    \b
    Examples:
      sealwire luks backup-header /dev/sdb --to mongodb.header --kek file:kek.json
    """
    opened = kek.open()
    file = target.absolute()
    if manner.dry_run:
        done, header = "would hold the header", headers.look(machine, device, file)
    else:
        done, header = "header", headers.back_up(machine, device, file, opened)
    slots = len(header.key_slots)
    document = {"file": str(file), "volume": header.uuid, "key_slots": slots, "kek": opened.id}
    manner.answer(f"{target}: {done} of volume {header.uuid}, {slots} key slots, under {opened.id}", document)


@click.command()
@on_this_machine
@device_argument
@source_option
@kek_options
@typed_consent
@manner_options
def restore_header(
    machine: Machine, device: Path, source: Path, kek: KekOptions, consent: Consent, manner: Manner
) -> None:
    """Put a saved header back on DEVICE. What the key slots hold now is overwritten.

    Refused when the file belongs to another volume or the volume is open. A header that can still be read is
    kept first, beside the file.

    \b
    Examples:
      sealwire luks restore-header /dev/sdb --from mongodb.header --kek file:kek.json
    """
    opened = kek.open()
    found = headers.open_backup(machine, device, source, opened)
    slots = len(found.header.key_slots)
    held = f"volume {found.header.uuid}, {slots} key slots"
    document = {"device": str(device), "file": str(source), "volume": found.header.uuid, "key_slots": slots}
    if manner.dry_run:
        manner.answer(f"{source} would be put on {device}: {held}", document)
        return
    consent.require_typed(f"The header of {device} will be replaced.", str(device))
    kept = None
    if found.replaced is not None:
        kept = headers.free_name(machine, source)
        headers.back_up(machine, device, kept, opened)
        click.echo(f"{kept}: the header that was replaced", err=True)
    headers.restore(machine, device, found)
    replaced = {"replaced_kept_in": None if kept is None else str(kept)}
    manner.answer(f"{device} has the header of {source}: {held}", document | replaced)


@click.command()
@on_this_machine
@source_option
@click.option("--to", "target", type=PATH, required=True, help="The file to write, for recovery.sh.")
@kek_options
@manner_options
def unseal_header(machine: Machine, source: Path, target: Path, kek: KekOptions, manner: Manner) -> None:
    """Decrypt a saved header, for a machine where only cryptsetup is. Destroy the result after use.

    \b
    Examples:
      sealwire luks unseal-header --from mongodb.header --to /dev/shm/header --kek file:kek.json
    """
    file = target.absolute()
    uuid = headers.unseal_to_file(machine, source, file, kek.open(), dry_run=manner.dry_run)
    text = f"{target}: {'would hold the ' if manner.dry_run else ''}header of volume {uuid}, in clear"
    manner.answer(text, {"file": str(file), "volume": uuid})
