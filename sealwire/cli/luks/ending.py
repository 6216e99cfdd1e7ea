"""`sealwire luks rollback` and `finish`: the two ends of a move to a volume."""

import click

from sealwire.cli.luks.asking import display, require_typed, require_yes
from sealwire.cli.luks.options import (
    confirm_option,
    name_option,
    on_this_machine,
    passphrase_option,
    passphrase_reader,
    yes_option,
)
from sealwire.cli.luks.show import change_json, show_state
from sealwire.cli.options import dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks.machine.machine import Machine
from sealwire.sidecars.luks.migration import migration
from sealwire.sidecars.luks.migration.journal import Journal, Phase, journal_path, only_writer


@click.command()
@on_this_machine
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
    machine: Machine,
    name: str,
    passphrase_from: str,
    *,
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
    answer(text, change_json(journal) | {"plaintext_copy": None}, as_json=as_json)


@click.command()
@on_this_machine
@name_option
@click.option("--wipe-old", is_flag=True, required=True, help="Say that the plaintext copy is to go.")
@confirm_option
@dry_run_option
@json_option
def finish(
    machine: Machine, name: str, *, wipe_old: bool, confirm: str | None, dry_run: bool, as_json: bool
) -> None:
    """Overwrite and remove the plaintext copy that `setup` left.

    Only while the service runs on the encrypted volume, and after its directory was typed. On SSDs and on
    copy-on-write file systems overwriting proves nothing: see docs/operations/luks.md.

    \b
    Examples:
      sealwire luks finish --wipe-old --dry-run
      sealwire luks finish --wipe-old
    """
    journal = Journal.open(machine, journal_path(name))
    old = journal.record.settings.old_directory
    journal.require("wipe the old data", Phase.COMPLETE, Phase.WIPING, Phase.FINISHED)
    if dry_run or not wipe_old:
        document = change_json(journal) | {"dry_run": True}
        answer(f"{old} would be overwritten and removed", document, as_json=as_json)
        return
    if machine.status(old) is not None:
        require_typed(f"{old} will be overwritten and removed.", str(old), confirm)
    with only_writer(machine, name), display() as reporter:
        journal = Journal.open(machine, journal.path)
        migration.finish(machine, journal, reporter)
    text = f"{old} is gone. The data is on the encrypted volume only: keep its keys and header backup."
    answer(text, change_json(journal) | {"plaintext_copy": None}, as_json=as_json)
