"""`sealwire luks plan` and `setup`: encrypt a device and move the data directory on to it."""

import sys

import click

from sealwire.cli.luks.asking import Consent, at_work, consent_options
from sealwire.cli.luks.options import (
    absolute,
    device_argument,
    on_this_machine,
    passphrase_option,
    passphrase_reader,
    volume_options,
)
from sealwire.cli.luks.show import change_json, show_plan, show_state
from sealwire.cli.options.common import PATH, json_option
from sealwire.cli.output import Manner, manner_options
from sealwire.sidecars.luks import machine as devices
from sealwire.sidecars.luks import migration, preflight
from sealwire.sidecars.luks.journal import Journal, only_writer
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import NO_DEVICE, VolumeSettings


@click.command()
@on_this_machine
@device_argument
@volume_options
@click.option("--erase", is_flag=True, help="DEVICE may hold something: it would be overwritten.")
@json_option
def plan(machine: Machine, volume: VolumeSettings, *, erase: bool, as_json: bool) -> None:
    """Check whether DEVICE can take the data directory, and list the steps. Changes nothing.

    Exit code 1 when something stands against it.

    \b
    Examples:
      sealwire luks plan /dev/sdb --key-file /etc/cryptsetup-keys.d/mongodb.key
      sealwire luks plan /srv/mongodb.img --image-size 20480 --json
    """
    sys.exit(show_plan(machine, volume, erase=erase, as_json=as_json))


@click.command()
@on_this_machine
@click.argument("device", type=PATH, default=NO_DEVICE, callback=absolute)
@volume_options
@passphrase_option
@click.option("--erase", is_flag=True, help="Overwrite what DEVICE holds, after a typed confirmation.")
@click.option("--resume", is_flag=True, help="Go on with a set-up that was cut off; give --name only.")
@consent_options
@manner_options
def setup(  # noqa: PLR0913 - one parameter an option
    machine: Machine,
    volume: VolumeSettings,
    passphrase_from: str,
    consent: Consent,
    manner: Manner,
    *,
    erase: bool,
    resume: bool,
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
    passphrase = passphrase_reader(passphrase_from, machine, is_new=not resume)
    if resume:
        if volume.device != NO_DEVICE:
            raise click.UsageError("--resume takes everything from the journal: give no DEVICE")
        journal = Journal.open(machine, volume.name)
        if manner.dry_run:
            show_state(journal.record, "", manner, undo=False)
            return
    else:
        if volume.device == NO_DEVICE:
            raise click.UsageError("name a DEVICE, or give --resume")
        if manner.dry_run:
            sys.exit(show_plan(machine, volume, erase=erase, as_json=manner.as_json))
        _confirm_setup(machine, volume, consent, erase=erase)
        passphrase()  # before the service is stopped
        with only_writer(machine, volume.name):
            migration.begin(machine, volume, erase=erase)
    with at_work(machine, volume.name) as (journal, reporter):
        migration.go_on(machine, journal, passphrase, reporter)
    settings = journal.record.settings
    text = f"{settings.data_directory} is on the encrypted volume {settings.mapper}."
    manner.answer(text, change_json(journal))
    click.echo(
        "Next: sealwire luks backup-header, then try a reboot, then sealwire luks finish --wipe-old:\n"
        f"until then {settings.old_directory} holds the data in plaintext.",
        err=True,
    )


def _confirm_setup(machine: Machine, volume: VolumeSettings, consent: Consent, *, erase: bool) -> None:
    """Ask, once nothing is known to stand against it."""
    migration.require_no_journal(machine, volume.name)
    for note in preflight.require(machine, volume, erase=erase):
        click.echo(f"note: {note}", err=True)
    found = None if volume.image_bytes else devices.look_at(machine, volume.device)
    if found is not None and found.signatures:
        held = ", ".join(found.signatures)
        question = f"{volume.device} holds {held}. All of it will be lost."
        consent.require_typed(question, str(volume.device))
    else:
        consent.require_yes(f"Stop {volume.service}, encrypt {volume.device} and move the data there?")
