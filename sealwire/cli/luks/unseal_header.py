"""`sealwire luks unseal-header`: a saved header in clear."""

from pathlib import Path

import click

from sealwire.cli.key_options import KekOptions, kek_options
from sealwire.cli.luks.options import on_this_machine
from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks import headers
from sealwire.sidecars.luks.machine import Machine


@click.command()
@on_this_machine
@click.option("--from", "source", type=PATH, required=True, help="What backup-header wrote.")
@click.option("--to", "target", type=PATH, required=True, help="The file to write, for recovery.sh.")
@kek_options
@dry_run_option
@json_option
def command(
    machine: Machine, source: Path, target: Path, kek: KekOptions, *, dry_run: bool, as_json: bool
) -> None:
    """Decrypt a saved header, for a machine where only cryptsetup is. Destroy the result after use.

    \b
    Examples:
      sealwire luks unseal-header --from mongodb.header --to /dev/shm/header --kek file:kek.json
    """
    opened = kek.open()
    file = target.absolute()
    uuid = headers.unseal(machine, source.absolute(), file, opened, dry_run=dry_run)
    text = f"{target}: {'would hold the ' if dry_run else ''}header of volume {uuid}, in clear"
    answer(text, {"dry_run": dry_run, "file": str(file), "volume": uuid}, as_json=as_json)
