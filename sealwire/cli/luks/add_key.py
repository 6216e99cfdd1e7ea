"""`sealwire luks add-key`: one more passphrase or key file for a volume."""

from pathlib import Path

import click

from sealwire.cli.luks.options import (
    SecretOptions,
    device_argument,
    on_this_machine,
    passphrase_reader,
    pbkdf_options,
    secret_options,
)
from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks import cryptsetup, volume
from sealwire.sidecars.luks.cryptsetup import Secret
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import Pbkdf, VolumeSettings


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
def command(  # noqa: PLR0913 - one parameter an option
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
