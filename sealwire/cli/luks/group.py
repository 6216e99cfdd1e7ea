"""`sealwire luks`: MongoDB's data directory on an encrypted volume."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from sealwire.cli.documented_group import DocumentedGroup
from sealwire.cli.luks import header as luks_header
from sealwire.cli.luks import volume as luks_volume
from sealwire.cli.luks.options import (
    PATH,
    answer,
    confirm_option,
    device_argument,
    display,
    dry_run_option,
    json_option,
    name_option,
    only_writer,
    passphrase_option,
    passphrase_reader,
    require_typed,
    require_yes,
    volume_options,
    volume_settings,
    yes_option,
)
from sealwire.cli.luks.plan import EXIT_NO, show_notes, show_plan, show_state
from sealwire.sidecars.luks import device as devices
from sealwire.sidecars.luks import migration, preflight, status
from sealwire.sidecars.luks.cryptsetup import read_header
from sealwire.sidecars.luks.errors import LuksReason, LuksSettingError
from sealwire.sidecars.luks.journal import Journal, Phase, journal_path
from sealwire.sidecars.luks.linux import LinuxMachine
from sealwire.sidecars.luks.settings import VolumeSettings

EXIT_CODES = {
    EXIT_NO: "`plan`: something stands against it; `status`: something is not encrypted",
    65: "a copy or a header backup is not what it has to be",
    69: "a program, systemd or a privilege is missing, or another command is at work",
    71: "a program of the system failed",
    73: "the device or directory may not be used: not empty, in use, read-only, too small",
    77: "not confirmed, or no key slot opens with this secret",
    78: "an option cannot be used, or the journal says that this is not the moment",
}


@click.group(cls=DocumentedGroup, exit_codes=EXIT_CODES)
def command() -> None:
    """Put MongoDB's data directory on a LUKS volume, watch it, and go back."""


for _subcommand in (*luks_volume.SUBCOMMANDS, *luks_header.SUBCOMMANDS):
    command.add_command(_subcommand)


@command.command()
@device_argument
@volume_options
@click.option("--erase", is_flag=True, help="DEVICE may hold something: it would be overwritten.")
@json_option
def plan(*, device: Path, erase: bool, as_json: bool, **options: Any) -> None:
    """Check whether DEVICE can take the data directory, and list the steps. Changes nothing.

    Exit code 1 when something stands against it.

    \b
    Examples:
      sealwire luks plan /dev/sdb --key-file /etc/cryptsetup-keys.d/mongodb.key
      sealwire luks plan /srv/mongodb.img --image-size 20480 --json
    """
    settings = volume_settings(device=device, **options)
    sys.exit(show_plan(LinuxMachine(), settings, erase=erase, as_json=as_json))


@command.command()
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
    *,
    device: Path | None,
    passphrase_from: str,
    erase: bool,
    resume: bool,
    confirm: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
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
    machine = LinuxMachine()
    name: str = options["name"]
    text = "Passphrase of the volume" if resume else "New passphrase"
    passphrase = passphrase_reader(passphrase_from, machine, text, is_new=not resume)
    if resume:
        if device is not None:
            raise click.UsageError("--resume takes everything from the journal: give no DEVICE")
        journal = Journal.open(machine, journal_path(name))
    else:
        if device is None:
            raise click.UsageError("name a DEVICE, or give --resume")
        settings = volume_settings(device=device, **options)
        if dry_run:
            sys.exit(show_plan(machine, settings, erase=erase, as_json=as_json))
        _confirm_setup(machine, settings, confirm, erase=erase, yes=yes)
        passphrase()  # before the service is stopped
        with only_writer(machine, name):
            journal = migration.begin(machine, settings, erase=erase)
    if dry_run:
        show_state(journal.record, "", undo=False, as_json=as_json)
        return
    with only_writer(machine, name), display() as reporter:
        journal = Journal.open(machine, journal.path)
        migration.go_on(machine, journal, passphrase, reporter)
    _say_what_is_next(journal, as_json=as_json)


def _say_what_is_next(journal: Journal, *, as_json: bool) -> None:
    settings = journal.record.settings
    text = f"{settings.data_directory} is on the encrypted volume {settings.mapper}."
    answer(text, _as_json(journal), as_json=as_json)
    click.echo(
        "Next: sealwire luks backup-header, then try a reboot, then sealwire luks finish --wipe-old:\n"
        f"until then {settings.old_directory} holds the data in plaintext.",
        err=True,
    )


def _as_json(journal: Journal) -> dict[str, object]:
    """What a command that changed the volume leaves."""
    settings = journal.record.settings
    return {
        "dry_run": False,
        "volume": settings.name,
        "device": str(settings.device),
        "data_directory": str(settings.data_directory),
        "plaintext_copy": str(settings.old_directory),
        "phase": journal.record.phase.value,
    }


def _confirm_setup(
    machine: LinuxMachine, settings: VolumeSettings, confirm: str | None, *, erase: bool, yes: bool
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


@command.command(name="status")
@name_option
@click.option("--data-directory", type=PATH, help="Default: what the volume was set up with.")
@click.option("--service", help="Default: what the volume was set up with.")
@json_option
def status_command(*, name: str, data_directory: Path | None, service: str | None, as_json: bool) -> None:
    """Say whether the data directory and all that MongoDB has open in it lie on dm-crypt.

    Asks the kernel about the running process, not the configuration. Exit code 0 when they do, else 1. With
    both --data-directory and --service it needs no volume that was set up by this command.

    \b
    Examples:
      sealwire luks status
      sealwire luks status --data-directory /var/lib/mongo --service mongod.service --json
    """
    machine = LinuxMachine()
    journal = None
    if data_directory is None or service is None or machine.read(journal_path(name)) is not None:
        journal = Journal.open(machine, journal_path(name))
    settings = None if journal is None else journal.record.settings
    directory = data_directory or (settings.data_directory if settings else None)
    unit = service or (settings.service if settings else None)
    if directory is None or unit is None:
        raise LuksSettingError(
            LuksReason.SETTING, "no directory to look at", "give --data-directory and --service"
        )
    found = status.look(machine, directory.absolute(), unit)
    report = {"encrypted": found.encrypted, **asdict(found), **_volume_report(machine, journal)}
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show_report(report)
    sys.exit(0 if found.encrypted else EXIT_NO)


def _volume_report(machine: LinuxMachine, journal: Journal | None) -> dict[str, Any]:
    if journal is None:
        return {}
    settings = journal.record.settings
    header = read_header(machine, settings.device)
    old = settings.old_directory
    return {
        "volume": settings.name,
        "device": str(settings.device),
        "phase": journal.record.phase.value,
        "plaintext_copy": str(old) if machine.status(old) is not None else None,
        "cipher": None if header is None else header.cipher,
        "key_bits": None if header is None else header.key_bits,
        "key_slots": None if header is None else len(header.key_slots),
        "key_derivation": None if header is None else sorted(set(header.key_derivations)),
    }


def _show_report(report: dict[str, Any]) -> None:
    table = Table("what", "found")
    for key, value in report.items():
        shown = ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else value
        table.add_row(key.replace("_", " "), "-" if shown in (None, "") else str(shown))
    Console(markup=False).print(table)


@command.command()
@name_option
@passphrase_option
@click.option(
    "--abandon-volume",
    is_flag=True,
    help="Copy nothing out of it: for a volume that cannot be opened. Loses what was written since set-up.",
)
@confirm_option
@yes_option
@dry_run_option
@json_option
def rollback(  # noqa: PLR0913 - one parameter an option
    *,
    name: str,
    passphrase_from: str,
    abandon_volume: bool,
    confirm: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Go back to plaintext: copy the newest data out of the volume and take every change back.

    Also after `finish`. The volume and its key file are left as they are. After a crash run it again, with
    the same options.

    \b
    Examples:
      sealwire luks rollback --dry-run
      sealwire luks rollback --name mongodb
    """
    machine = LinuxMachine()
    journal = Journal.open(machine, journal_path(name))
    settings = journal.record.settings
    journal.require("roll back", *(phase for phase in Phase if phase is not Phase.ROLLED_BACK))
    if dry_run:
        show_state(journal.record, "undo: ", undo=True, as_json=as_json)
        return
    if abandon_volume:
        migration.require_plaintext_copy(machine, journal)
        require_typed(f"What {settings.service} wrote since the set-up will be lost.", name, confirm)
    else:
        require_yes(f"Stop {settings.service} and move the data back to plaintext?", yes=yes)
    passphrase = passphrase_reader(passphrase_from, machine)
    with only_writer(machine, name), display() as reporter:
        journal = Journal.open(machine, journal.path)
        migration.roll_back(machine, journal, passphrase, reporter, abandon_volume=abandon_volume)
    text = f"{settings.data_directory} is in plaintext again; {settings.device} was left as it is."
    answer(text, _as_json(journal) | {"plaintext_copy": None}, as_json=as_json)


@command.command()
@name_option
@click.option("--wipe-old", is_flag=True, required=True, help="Say that the plaintext copy is to go.")
@confirm_option
@dry_run_option
@json_option
def finish(*, name: str, wipe_old: bool, confirm: str | None, dry_run: bool, as_json: bool) -> None:
    """Overwrite and remove the plaintext copy that `setup` left.

    Only while the service runs on the encrypted volume, and after its directory was typed. On SSDs and on
    copy-on-write file systems overwriting proves nothing: see docs/operations/luks.md.

    \b
    Examples:
      sealwire luks finish --wipe-old --dry-run
      sealwire luks finish --wipe-old
    """
    machine = LinuxMachine()
    journal = Journal.open(machine, journal_path(name))
    old = journal.record.settings.old_directory
    journal.require("wipe the old data", Phase.COMPLETE, Phase.WIPING, Phase.FINISHED)
    if dry_run or not wipe_old:
        document = _as_json(journal) | {"dry_run": True}
        answer(f"{old} would be overwritten and removed", document, as_json=as_json)
        return
    if machine.status(old) is not None:
        require_typed(f"{old} will be overwritten and removed.", str(old), confirm)
    with only_writer(machine, name), display() as reporter:
        journal = Journal.open(machine, journal.path)
        migration.finish(machine, journal, reporter)
    text = f"{old} is gone. The data is on the encrypted volume only: keep its keys and header backup."
    answer(text, _as_json(journal) | {"plaintext_copy": None}, as_json=as_json)
