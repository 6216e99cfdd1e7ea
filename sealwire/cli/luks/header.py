"""`sealwire luks backup-header`, `restore-header` and `unseal-header`: the header of a volume, kept safe."""

from pathlib import Path

import click

from sealwire.cli.key_options import KekOptions, kek_options
from sealwire.cli.luks.asking import require_typed
from sealwire.cli.luks.options import confirm_option, device_argument, on_this_machine
from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks.machine.machine import Machine
from sealwire.sidecars.luks.volume import headers


@click.command()
@on_this_machine
@device_argument
@click.option("--to", "target", type=PATH, required=True, help="The file to write.")
@kek_options
@dry_run_option
@json_option
def backup_header(
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


@click.command()
@on_this_machine
@device_argument
@click.option("--from", "source", type=PATH, required=True, help="What backup-header wrote.")
@kek_options
@confirm_option
@dry_run_option
@json_option
def restore_header(  # noqa: PLR0913 - one parameter an option
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


@click.command()
@on_this_machine
@click.option("--from", "source", type=PATH, required=True, help="What backup-header wrote.")
@click.option("--to", "target", type=PATH, required=True, help="The file to write, for recovery.sh.")
@kek_options
@dry_run_option
@json_option
def unseal_header(
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
