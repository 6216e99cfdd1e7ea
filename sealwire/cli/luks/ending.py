"""`sealwire luks rollback` and `finish`: the two ends of a move to a volume."""

import click

from sealwire.cli.luks.asking import Consent, at_work, consent_options, typed_consent
from sealwire.cli.luks.options import name_option, on_this_machine, passphrase_option, passphrase_reader
from sealwire.cli.luks.show import change_json, show_state
from sealwire.cli.output import Manner, manner_options
from sealwire.sidecars.luks import migration
from sealwire.sidecars.luks.journal import Journal, Phase
from sealwire.sidecars.luks.machine import Machine


@click.command()
@on_this_machine
@name_option
@passphrase_option
@click.option(
    "--abandon-volume",
    is_flag=True,
    help="Copy nothing out of it: for a volume that cannot be opened. Loses what was written since set-up.",
)
@consent_options
@manner_options
def rollback(
    machine: Machine,
    name: str,
    passphrase_from: str,
    consent: Consent,
    manner: Manner,
    *,
    abandon_volume: bool,
) -> None:
    """Go back to plaintext: copy the newest data out of the volume and take every change back.

    Also after `finish`. The volume and its key file are left as they are. After a crash run it again, with
    the same options.

    \b
    Examples:
      sealwire luks rollback --dry-run
      sealwire luks rollback --name mongodb
    """
    journal = Journal.open(machine, name)
    settings = journal.record.settings
    journal.require("roll back", *(phase for phase in Phase if phase is not Phase.ROLLED_BACK))
    if manner.dry_run:
        show_state(journal.record, "undo: ", manner, undo=True)
        return
    if abandon_volume:
        migration.require_plaintext_copy(machine, journal)
        consent.require_typed(f"What {settings.service} wrote since the set-up will be lost.", name)
    else:
        consent.require_yes(f"Stop {settings.service} and move the data back to plaintext?")
    passphrase = passphrase_reader(passphrase_from, machine)
    with at_work(machine, name) as (journal, reporter):
        migration.roll_back(machine, journal, passphrase, reporter, abandon_volume=abandon_volume)
    text = f"{settings.data_directory} is in plaintext again; {settings.device} was left as it is."
    manner.answer(text, change_json(journal) | {"plaintext_copy": None})


@click.command()
@on_this_machine
@name_option
@click.option("--wipe-old", is_flag=True, required=True, help="Say that the plaintext copy is to go.")
@typed_consent
@manner_options
def finish(machine: Machine, name: str, consent: Consent, manner: Manner, *, wipe_old: bool) -> None:
    """Overwrite and remove the plaintext copy that `setup` left.

    Only while the service runs on the encrypted volume, and after its directory was typed. On SSDs and on
    copy-on-write file systems overwriting proves nothing: see docs/operations/luks.md.

    \b
    Examples:
      sealwire luks finish --wipe-old --dry-run
      sealwire luks finish --wipe-old
    """
    journal = Journal.open(machine, name)
    old = journal.record.settings.old_directory
    journal.require("wipe the old data", Phase.COMPLETE, Phase.WIPING, Phase.FINISHED)
    if manner.dry_run or not wipe_old:
        manner.answer(f"{old} would be overwritten and removed", change_json(journal))
        return
    if machine.status(old) is not None:
        consent.require_typed(f"{old} will be overwritten and removed.", str(old))
    with at_work(machine, name) as (journal, reporter):
        migration.finish(machine, journal, reporter)
    text = f"{old} is gone. The data is on the encrypted volume only: keep its keys and header backup."
    manner.answer(text, change_json(journal) | {"plaintext_copy": None})
