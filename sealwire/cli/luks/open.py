"""`sealwire luks open`: a volume as a mapping, and mounted."""

from pathlib import Path

import click

from sealwire.cli.luks.options import (
    SecretOptions,
    device_argument,
    name_option,
    on_this_machine,
    secret_options,
)
from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks import cryptsetup, volume
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import VolumeSettings


@click.command()
@on_this_machine
@device_argument
@name_option
@secret_options
@click.option("--mount", "where", type=PATH, help="Mount it here as well.")
@click.option("--read-only", is_flag=True, help="Nothing on the volume can be changed.")
@dry_run_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
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
