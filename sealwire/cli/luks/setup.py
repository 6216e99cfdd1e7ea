"""`sealwire luks plan` and `setup`: encrypt a device and move the data directory on to it."""

import sys
from pathlib import Path

import click

from sealwire.cli.luks.asking import display, require_typed, require_yes
from sealwire.cli.luks.options import (
    VolumeOptions,
    confirm_option,
    device_argument,
    on_this_machine,
    passphrase_option,
    passphrase_reader,
    volume_options,
    yes_option,
)
from sealwire.cli.luks.show import change_json, show_notes, show_plan, show_state
from sealwire.cli.options import PATH, dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks.machine import device as devices
from sealwire.sidecars.luks.machine.machine import Machine
from sealwire.sidecars.luks.migration import migration, preflight
from sealwire.sidecars.luks.migration.journal import Journal, journal_path, only_writer
from sealwire.sidecars.luks.settings import VolumeSettings


@click.command()
@on_this_machine
@device_argument
@volume_options
@click.option("--erase", is_flag=True, help="DEVICE may hold something: it would be overwritten.")
@json_option
def plan(machine: Machine, device: Path, volume: VolumeOptions, *, erase: bool, as_json: bool) -> None:
    """Check whether DEVICE can take the data directory, and list the steps. Changes nothing.

    Exit code 1 when something stands against it.

    \b
    Examples:
      sealwire luks plan /dev/sdb --key-file /etc/cryptsetup-keys.d/mongodb.key
      sealwire luks plan /srv/mongodb.img --image-size 20480 --json
    """
    sys.exit(show_plan(machine, volume.on(device), erase=erase, as_json=as_json))


@click.command()
@on_this_machine
@click.argument("device", type=PATH, required=False)
@volume_options
@passphrase_option
@click.option("--erase", is_flag=True, help="Overwrite what DEVICE holds, after a typed confirmation.")
@click.option("--resume", is_flag=True, help="Go on with a set-up that was cut off; give --name only.")
@confirm_option
@yes_option
@dry_run_option
@json_option
def setup(  # noqa: PLR0913 - one parameter an option
    machine: Machine,
    device: Path | None,
    volume: VolumeOptions,
    passphrase_from: str,
    *,
    erase: bool,
    resume: bool,
    confirm: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Encrypt DEVICE, move the data directory on to it, and start the service there.

    The plaintext data is kept as DIRECTORY.plain until `sealwire luks finish --wipe-old`. Every step is
    written to a journal: after a crash or a reboot run it again with --resume, or go back with `rollback`.

    \b
    Examples:
      sealwire luks setup /dev/sdb --key-file /etc/cryptsetup-keys.d/mongodb.key
      sealwire luks setup /dev/sdb --passphrase-from systemd-creds:/etc/credstore.encrypted/mongodb-luks --yes
      sealwire luks setup --resume
    """
    text = "Passphrase of the volume" if resume else "New passphrase"
    passphrase = passphrase_reader(passphrase_from, machine, text, is_new=not resume)
    if resume:
        if device is not None:
            raise click.UsageError("--resume takes everything from the journal: give no DEVICE")
        journal = Journal.open(machine, journal_path(volume.name))
    else:
        if device is None:
            raise click.UsageError("name a DEVICE, or give --resume")
        settings = volume.on(device)
        if dry_run:
            sys.exit(show_plan(machine, settings, erase=erase, as_json=as_json))
        _confirm_setup(machine, settings, confirm, erase=erase, yes=yes)
        passphrase()  # before the service is stopped
        with only_writer(machine, volume.name):
            journal = migration.begin(machine, settings, erase=erase)
    if dry_run:
        show_state(journal.record, "", undo=False, as_json=as_json)
        return
    with only_writer(machine, volume.name), display() as reporter:
        journal = Journal.open(machine, journal.path)
        migration.go_on(machine, journal, passphrase, reporter)
    settings = journal.record.settings
    text = f"{settings.data_directory} is on the encrypted volume {settings.mapper}."
    answer(text, change_json(journal), as_json=as_json)
    click.echo(
        "Next: sealwire luks backup-header, then try a reboot, then sealwire luks finish --wipe-old:\n"
        f"until then {settings.old_directory} holds the data in plaintext.",
        err=True,
    )


def _confirm_setup(
    machine: Machine, settings: VolumeSettings, confirm: str | None, *, erase: bool, yes: bool
) -> None:
    """Ask, once nothing is known to stand against it."""
    migration.require_no_journal(machine, journal_path(settings.name))
    show_notes(preflight.require(machine, settings, erase=erase))
    found = None if settings.image_bytes else devices.look_at(machine, settings.device)
    if found is not None and found.signatures:
        held = ", ".join(found.signatures)
        require_typed(
            f"{settings.device} holds {held}. All of it will be lost.", str(settings.device), confirm
        )
        return
    require_yes(f"Stop {settings.service}, encrypt {settings.device} and move the data there?", yes=yes)
