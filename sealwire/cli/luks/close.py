"""`sealwire luks close`: a volume unmounted, and its mapping taken away."""

from pathlib import Path

import click

from sealwire.cli.luks.options import name_option, on_this_machine
from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks import volume
from sealwire.sidecars.luks.journal import Journal, journal_path
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import VolumeSettings


@click.command()
@on_this_machine
@name_option
@click.option("--mount", "where", type=PATH, help="Where it is mounted. Default: as it was set up.")
@dry_run_option
@json_option
def command(machine: Machine, name: str, where: Path | None, *, dry_run: bool, as_json: bool) -> None:
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
