"""`sealwire luks restore-header`: a saved header back on its volume."""

from pathlib import Path

import click

from sealwire.cli.key_options import KekOptions, kek_options
from sealwire.cli.luks.asking import require_typed
from sealwire.cli.luks.options import confirm_option, device_argument, on_this_machine
from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks import headers
from sealwire.sidecars.luks.machine import Machine


@click.command()
@on_this_machine
@device_argument
@click.option("--from", "source", type=PATH, required=True, help="What backup-header wrote.")
@kek_options
@confirm_option
@dry_run_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    machine: Machine,
    device: Path,
    source: Path,
    kek: KekOptions,
    *,
    confirm: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put a saved header back on DEVICE. What the key slots hold now is overwritten.

    Refused when the file belongs to another volume or the volume is open. A header that can still be read is
    kept first, beside the file.

    \b
    Examples:
      sealwire luks restore-header /dev/sdb --from mongodb.header --kek file:kek.json
    """
    opened = kek.open()
    path, source = device.absolute(), source.absolute()
    found = headers.open_backup(machine, path, source, opened)
    slots = len(found.header.key_slots)
    document = {"device": str(path), "file": str(source), "volume": found.header.uuid, "key_slots": slots}
    if dry_run:
        text = f"{source} would be put on {path}: volume {found.header.uuid}, {slots} key slots"
        answer(text, {"dry_run": True, **document}, as_json=as_json)
        return
    require_typed(f"The header of {path} will be replaced.", str(path), confirm)
    kept = None
    if found.replaced is not None:
        kept = headers.free_name(machine, source)
        headers.back_up(machine, path, kept, opened)
        click.echo(f"{kept}: the header that was replaced", err=True)
    headers.restore(machine, path, found)
    text = f"{path} has the header of {source}: volume {found.header.uuid}, {slots} key slots"
    replaced = None if kept is None else str(kept)
    answer(text, {"dry_run": False, **document, "replaced_kept_in": replaced}, as_json=as_json)
