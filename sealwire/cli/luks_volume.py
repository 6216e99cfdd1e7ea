"""The subcommands of `sealwire luks` for a volume that exists: open, close, keys, header."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sealwire.cli.key_options import kek_option, open_kek_from_options, passphrase_file_option
from sealwire.cli.luks_options import (
    PATH,
    confirm_option,
    device_argument,
    dry_run_option,
    name_option,
    passphrase_option,
    passphrase_reader,
    pbkdf_options,
    require_typed,
)
from sealwire.sidecars.luks import cryptsetup, volume
from sealwire.sidecars.luks.cryptsetup import Secret
from sealwire.sidecars.luks.journal import Journal, journal_path
from sealwire.sidecars.luks.linux import LinuxMachine
from sealwire.sidecars.luks.settings import Pbkdf, VolumeSettings

_key_file_option = click.option("--key-file", type=PATH, help="Open with this key file, not a passphrase.")


@click.command(name="open")
@device_argument
@name_option
@_key_file_option
@passphrase_option
@click.option("--mount", "where", type=PATH, help="Mount it here as well.")
@click.option("--read-only", is_flag=True, help="Nothing on the volume can be changed.")
def open_command(
    *,
    device: Path,
    name: str,
    key_file: Path | None,
    passphrase_from: str,
    where: Path | None,
    read_only: bool,
) -> None:
    """Open the volume on DEVICE as /dev/mapper/NAME, for instance to copy data out.

    \b
    Examples:
      sealwire luks open /dev/sdb --name rescue --read-only --mount /mnt/rescue
      sealwire luks open /dev/sdb --key-file /etc/cryptsetup-keys.d/mongodb.key
    """
    machine = LinuxMachine()
    checked = VolumeSettings(device.absolute(), name)
    volume.require_luks(machine, checked.device)
    secret = _secret(machine, key_file, passphrase_from)
    mounted = None if where is None else where.absolute()
    volume.open_and_mount(machine, checked.device, name, secret, mounted, read_only=read_only)
    click.echo(f"/dev/mapper/{name} is open" + ("" if mounted is None else f", mounted at {mounted}"))


@click.command()
@name_option
@click.option("--mount", "where", type=PATH, help="Where it is mounted. Default: as it was set up.")
def close(*, name: str, where: Path | None) -> None:
    """Close a volume: stop the service that it was set up for, unmount it, take the mapping away.

    \b
    Examples:
      sealwire luks close
      sealwire luks close --name rescue --mount /mnt/rescue
    """
    machine = LinuxMachine()
    checked = VolumeSettings(Path("/dev/null"), name)
    service = None
    if machine.read(journal_path(checked.name)) is not None:
        settings = Journal.open(machine, journal_path(name)).record.settings
        service, where = settings.service, where or settings.data_directory
    volume.unmount_and_close(machine, name, service, None if where is None else where.absolute())
    click.echo(f"/dev/mapper/{name} is closed")


@click.command(name="add-key")
@device_argument
@_key_file_option
@passphrase_option
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
def add_key(
    *,
    device: Path,
    key_file: Path | None,
    passphrase_from: str,
    new_key_file: Path | None,
    new_passphrase_from: str,
    dry_run: bool,
    **costs: Any,
) -> None:
    """Give the volume on DEVICE one more passphrase or key file, for instance for recovery.

    Back up the header again afterwards: older backups do not know the new key.

    \b
    Examples:
      sealwire luks add-key /dev/sdb
      sealwire luks add-key /dev/sdb --key-file boot.key --new-passphrase-from fd:3 3< recovery.txt
    """
    machine = LinuxMachine()
    path = VolumeSettings(device.absolute()).device
    pbkdf = Pbkdf(costs["pbkdf_memory"], costs["pbkdf_iterations"], costs["pbkdf_threads"])
    volume.require_luks(machine, path)
    present = _secret(machine, key_file, passphrase_from)
    if dry_run:
        if not cryptsetup.opens(machine, path, present):
            raise cryptsetup.denied(path)
        click.echo(f"{path} opens with the present key; one more would be added")
        return
    new: Secret = (
        new_key_file.absolute()
        if new_key_file is not None
        else passphrase_reader(new_passphrase_from, machine, "New passphrase", is_new=True)()
    )
    count = volume.add_key(machine, path, present, new, pbkdf)
    click.echo(f"{path} has {count} key slots now; back up its header again")


@click.command(name="backup-header")
@device_argument
@click.option("--to", "target", type=PATH, required=True, help="The file to write.")
@kek_option
@passphrase_file_option
def backup_header(*, device: Path, target: Path, kek_setting: str, passphrase_file: Path | None) -> None:
    """Write the header of the volume on DEVICE to an encrypted file.

    Without its header a volume is lost, whoever has the passphrase. The file is encrypted under a
    key-encryption key as backups are: with it and an old passphrase the volume opens, even after that
    passphrase was taken away. Keep it apart from the volume.

    \b
    Examples:
      sealwire luks backup-header /dev/sdb --to mongodb.header --kek file:kek.json
    """
    from sealwire.sidecars.luks import headers  # noqa: PLC0415 - cryptography is needed by this only

    kek = open_kek_from_options(kek_setting, passphrase_file)
    header = headers.back_up(LinuxMachine(), device.absolute(), target.absolute(), kek)
    click.echo(f"{target}: header of volume {header.uuid}, {len(header.key_slots)} key slots, under {kek.id}")


@click.command(name="restore-header")
@device_argument
@click.option("--from", "source", type=PATH, required=True, help="What backup-header wrote.")
@kek_option
@passphrase_file_option
@confirm_option
@dry_run_option
def restore_header(
    *,
    device: Path,
    source: Path,
    kek_setting: str,
    passphrase_file: Path | None,
    confirm: str | None,
    dry_run: bool,
) -> None:
    """Put a saved header back on DEVICE. What the key slots hold now is overwritten.

    Refused when the file belongs to another volume or the volume is open. A header that can still be read is
    kept first, beside the file.

    \b
    Examples:
      sealwire luks restore-header /dev/sdb --from mongodb.header --kek file:kek.json
    """
    from sealwire.sidecars.luks import headers  # noqa: PLC0415 - cryptography is needed by this only

    machine = LinuxMachine()
    kek = open_kek_from_options(kek_setting, passphrase_file)
    path, source = device.absolute(), source.absolute()
    found = headers.open_backup(machine, path, source, kek)
    slots = len(found.header.key_slots)
    if dry_run:
        click.echo(f"{source} would be put on {path}: volume {found.header.uuid}, {slots} key slots")
        return
    require_typed(f"The header of {path} will be replaced.", str(path), confirm)
    if found.replaced is not None:
        kept = headers.free_name(machine, source)
        headers.back_up(machine, path, kept, kek)
        click.echo(f"{kept}: the header that was replaced", err=True)
    headers.restore(machine, path, found)
    click.echo(f"{path} has the header of {source}: volume {found.header.uuid}, {slots} key slots")


@click.command(name="unseal-header")
@click.option("--from", "source", type=PATH, required=True, help="What backup-header wrote.")
@click.option("--to", "target", type=PATH, required=True, help="The file to write, for recovery.sh.")
@kek_option
@passphrase_file_option
def unseal_header(*, source: Path, target: Path, kek_setting: str, passphrase_file: Path | None) -> None:
    """Decrypt a saved header, for a machine where only cryptsetup is. Destroy the result after use.

    \b
    Examples:
      sealwire luks unseal-header --from mongodb.header --to /dev/shm/header --kek file:kek.json
    """
    from sealwire.sidecars.luks import headers  # noqa: PLC0415 - cryptography is needed by this only

    kek = open_kek_from_options(kek_setting, passphrase_file)
    uuid = headers.unseal(LinuxMachine(), source.absolute(), target.absolute(), kek)
    click.echo(f"{target}: header of volume {uuid}, in clear")


def _secret(machine: LinuxMachine, key_file: Path | None, passphrase_from: str) -> Secret:
    if key_file is not None:
        return key_file.absolute()
    read: Callable[[], bytes] = passphrase_reader(passphrase_from, machine)
    return read()


SUBCOMMANDS = (open_command, close, add_key, backup_header, restore_header, unseal_header)
