"""`sealwire luks plan`: whether a device can take the data directory, and the steps."""

import sys
from pathlib import Path

import click

from sealwire.cli.luks.options import VolumeOptions, device_argument, on_this_machine, volume_options
from sealwire.cli.luks.show import show_plan
from sealwire.cli.options import json_option
from sealwire.sidecars.luks.machine import Machine


@click.command()
@on_this_machine
@device_argument
@volume_options
@click.option("--erase", is_flag=True, help="DEVICE may hold something: it would be overwritten.")
@json_option
def command(machine: Machine, device: Path, volume: VolumeOptions, *, erase: bool, as_json: bool) -> None:
    """Check whether DEVICE can take the data directory, and list the steps. Changes nothing.

    Exit code 1 when something stands against it.

    \b
    Examples:
      sealwire luks plan /dev/sdb --key-file /etc/cryptsetup-keys.d/mongodb.key
      sealwire luks plan /srv/mongodb.img --image-size 20480 --json
    """
    sys.exit(show_plan(machine, volume.on(device), erase=erase, as_json=as_json))
