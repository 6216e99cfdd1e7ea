"""`sealwire luks backup-header`: the header of a volume in an encrypted file."""

from pathlib import Path

import click

from sealwire.cli.key_options import KekOptions, kek_options
from sealwire.cli.luks.options import device_argument, on_this_machine
from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks import headers
from sealwire.sidecars.luks.machine import Machine


@click.command()
@on_this_machine
@device_argument
@click.option("--to", "target", type=PATH, required=True, help="The file to write.")
@kek_options
@dry_run_option
@json_option
def command(
    machine: Machine, device: Path, target: Path, kek: KekOptions, *, dry_run: bool, as_json: bool
) -> None:
    """Write the header of the volume on DEVICE to an encrypted file.

    Without its header a volume is lost, whoever has the passphrase. The file is encrypted under a
    key-encryption key as backups are: with it and an old passphrase the volume opens, even after that
    passphrase was taken away. Keep it apart from the volume.

    \b
    Examples:
      sealwire luks backup-header /dev/sdb --to mongodb.header --kek file:kek.json
    """
    opened = kek.open()
    volume, file = device.absolute(), target.absolute()
    header = (
        headers.look(machine, volume, file) if dry_run else headers.back_up(machine, volume, file, opened)
    )
    slots = len(header.key_slots)
    text = (
        f"{target}: {'would hold the ' if dry_run else ''}header of volume {header.uuid}, {slots} key slots"
    )
    document = {"file": str(file), "volume": header.uuid, "key_slots": slots, "kek": opened.id}
    answer(f"{text}, under {opened.id}", {"dry_run": dry_run, **document}, as_json=as_json)
