"""`sealwire luks backup-header`, `restore-header` and `unseal-header`: the header of a volume, kept safe."""

from pathlib import Path

import click

from sealwire.cli.luks.asking import Consent, typed_consent
from sealwire.cli.luks.options import absolute, device_argument, on_this_machine
from sealwire.cli.options.common import PATH
from sealwire.cli.options.keys import KekOptions, kek_options
from sealwire.cli.output import Manner, manner_options
from sealwire.sidecars.luks import headers
from sealwire.sidecars.luks.machine import Machine

source_option = click.option(
    "--from", "source", type=PATH, callback=absolute, required=True, help="What backup-header wrote."
)


@click.command()
@on_this_machine
@device_argument
@click.option("--to", "target", type=PATH, required=True, help="The file to write.")
@kek_options
@manner_options
def backup_header(machine: Machine, device: Path, target: Path, kek: KekOptions, manner: Manner) -> None:
    """Write the header of the volume on DEVICE to an encrypted file.

    Without its header a volume is lost, whoever has the passphrase. The file is encrypted under a
    key-encryption key as backups are: with it and an old passphrase the volume opens, even after that
    passphrase was taken away. Keep it apart from the volume.

    \b
    Examples:
      sealwire luks backup-header /dev/sdb --to mongodb.header --kek file:kek.json
    """
    opened = kek.open()
    file = target.absolute()
    if manner.dry_run:
        done, header = "would hold the header", headers.look(machine, device, file)
    else:
        done, header = "header", headers.back_up(machine, device, file, opened)
    slots = len(header.key_slots)
    document = {"file": str(file), "volume": header.uuid, "key_slots": slots, "kek": opened.id}
    manner.answer(f"{target}: {done} of volume {header.uuid}, {slots} key slots, under {opened.id}", document)


@click.command()
@on_this_machine
@device_argument
@source_option
@kek_options
@typed_consent
@manner_options
def restore_header(
    machine: Machine, device: Path, source: Path, kek: KekOptions, consent: Consent, manner: Manner
) -> None:
    """Put a saved header back on DEVICE. What the key slots hold now is overwritten.

    Refused when the file belongs to another volume or the volume is open. A header that can still be read is
    kept first, beside the file.

    \b
    Examples:
      sealwire luks restore-header /dev/sdb --from mongodb.header --kek file:kek.json
    """
    opened = kek.open()
    found = headers.open_backup(machine, device, source, opened)
    slots = len(found.header.key_slots)
    held = f"volume {found.header.uuid}, {slots} key slots"
    document = {"device": str(device), "file": str(source), "volume": found.header.uuid, "key_slots": slots}
    if manner.dry_run:
        manner.answer(f"{source} would be put on {device}: {held}", document)
        return
    consent.require_typed(f"The header of {device} will be replaced.", str(device))
    kept = None
    if found.replaced is not None:
        kept = headers.free_name(machine, source)
        headers.back_up(machine, device, kept, opened)
        click.echo(f"{kept}: the header that was replaced", err=True)
    headers.restore(machine, device, found)
    replaced = {"replaced_kept_in": None if kept is None else str(kept)}
    manner.answer(f"{device} has the header of {source}: {held}", document | replaced)


@click.command()
@on_this_machine
@source_option
@click.option("--to", "target", type=PATH, required=True, help="The file to write, for recovery.sh.")
@kek_options
@manner_options
def unseal_header(machine: Machine, source: Path, target: Path, kek: KekOptions, manner: Manner) -> None:
    """Decrypt a saved header, for a machine where only cryptsetup is. Destroy the result after use.

    \b
    Examples:
      sealwire luks unseal-header --from mongodb.header --to /dev/shm/header --kek file:kek.json
    """
    file = target.absolute()
    uuid = headers.unseal_to_file(machine, source, file, kek.open(), dry_run=manner.dry_run)
    text = f"{target}: {'would hold the ' if manner.dry_run else ''}header of volume {uuid}, in clear"
    manner.answer(text, {"file": str(file), "volume": uuid})
