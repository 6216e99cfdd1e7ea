"""`sealwire luks open`, `close` and `add-key`: for a volume that exists."""

from pathlib import Path

import click

from sealwire.cli.luks.options import (
    SecretOptions,
    device_argument,
    name_option,
    on_this_machine,
    passphrase_reader,
    pbkdf_options,
    secret_options,
)
from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks.machine.machine import Machine
from sealwire.sidecars.luks.migration.journal import Journal, journal_path
from sealwire.sidecars.luks.settings import Pbkdf, VolumeSettings
from sealwire.sidecars.luks.volume import cryptsetup, volume
from sealwire.sidecars.luks.volume.cryptsetup import Secret


@click.command(name="open")
@on_this_machine
@device_argument
@name_option
@secret_options
@click.option("--mount", "where", type=PATH, help="Mount it here as well.")
@click.option("--read-only", is_flag=True, help="Nothing on the volume can be changed.")
@dry_run_option
@json_option
def open_volume(  # noqa: PLR0913 - one parameter an option
    machine: Machine,
    device: Path,
    name: str,
    secret: SecretOptions,
    where: Path | None,
    *,
    read_only: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Open the volume on DEVICE as /dev/mapper/NAME, for instance to copy data out.

    \b
    Examples:
      sealwire luks open /dev/sdb --name rescue --read-only --mount /mnt/rescue
      sealwire luks open /dev/sdb --key-file /etc/cryptsetup-keys.d/mongodb.key
    """
    checked = VolumeSettings(device.absolute(), name)
    volume.require_openable(machine, checked.device, name)
    given = secret.read(machine)
    mounted = None if where is None else where.absolute()
    if not dry_run:
        volume.open_and_mount(machine, checked.device, name, given, mounted, read_only=read_only)
    elif not cryptsetup.opens(machine, checked.device, given):
        raise cryptsetup.denied(checked.device)
    text = f"/dev/mapper/{name} {'would be' if dry_run else 'is'} open"
    text += "" if mounted is None else f", mounted at {mounted}"
    where_json = None if mounted is None else str(mounted)
    document = {"mapping": f"/dev/mapper/{name}", "mounted_at": where_json, "read_only": read_only}
    answer(text, {"dry_run": dry_run, **document}, as_json=as_json)


@click.command()
@on_this_machine
@name_option
@click.option("--mount", "where", type=PATH, help="Where it is mounted. Default: as it was set up.")
@dry_run_option
@json_option
def close(machine: Machine, name: str, where: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Close a volume: stop the service that it was set up for, unmount it, take the mapping away.

    \b
    Examples:
      sealwire luks close
      sealwire luks close --name rescue --mount /mnt/rescue
    """
    checked = VolumeSettings(Path("/dev/null"), name)
    service = None
    if machine.read(journal_path(checked.name)) is not None:
        settings = Journal.open(machine, journal_path(name)).record.settings
        service, where = settings.service, where or settings.data_directory
    if dry_run:
        volume.require_open(machine, name)
    else:
        volume.unmount_and_close(machine, name, service, None if where is None else where.absolute())
    text = f"/dev/mapper/{name} {'would be' if dry_run else 'is'} closed"
    text += f", after {service} was stopped" if dry_run and service is not None else ""
    document = {"dry_run": dry_run, "mapping": f"/dev/mapper/{name}", "service": service}
    answer(text, document, as_json=as_json)


@click.command()
@on_this_machine
@device_argument
@secret_options
@click.option("--new-key-file", type=PATH, help="Add this key file, which has to exist.")
@click.option(
    "--new-passphrase-from",
    metavar="SOURCE",
    default="prompt",
    show_default=True,
    help="Where the new passphrase is; like --passphrase-from.",
)
@pbkdf_options
@dry_run_option
@json_option
def add_key(  # noqa: PLR0913 - one parameter an option
    machine: Machine,
    device: Path,
    secret: SecretOptions,
    new_key_file: Path | None,
    new_passphrase_from: str,
    pbkdf: Pbkdf,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Give the volume on DEVICE one more passphrase or key file, for instance for recovery.

    Back up the header again afterwards: older backups do not know the new key.

    \b
    Examples:
      sealwire luks add-key /dev/sdb
      sealwire luks add-key /dev/sdb --key-file boot.key --new-passphrase-from fd:3 3< recovery.txt
    """
    path = VolumeSettings(device.absolute()).device
    volume.require_luks(machine, path)
    present = secret.read(machine)
    if dry_run:
        if not cryptsetup.opens(machine, path, present):
            raise cryptsetup.denied(path)
        text = f"{path} opens with the present key; one more would be added"
        answer(text, {"dry_run": True, "device": str(path)}, as_json=as_json)
        return
    new: Secret = (
        new_key_file.absolute()
        if new_key_file is not None
        else passphrase_reader(new_passphrase_from, machine, "New passphrase", is_new=True)()
    )
    count = volume.add_key(machine, path, present, new, pbkdf)
    text = f"{path} has {count} key slots now; back up its header again"
    answer(text, {"dry_run": False, "device": str(path), "key_slots": count}, as_json=as_json)
