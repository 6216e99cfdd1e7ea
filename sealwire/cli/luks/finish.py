"""`sealwire luks finish`: the plaintext copy wiped."""

import click

from sealwire.cli.luks.asking import display, require_typed
from sealwire.cli.luks.options import confirm_option, name_option, on_this_machine
from sealwire.cli.luks.show import change_json
from sealwire.cli.options import dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.sidecars.luks import migration
from sealwire.sidecars.luks.journal import Journal, Phase, journal_path, only_writer
from sealwire.sidecars.luks.machine import Machine


@click.command()
@on_this_machine
@name_option
@click.option("--wipe-old", is_flag=True, required=True, help="Say that the plaintext copy is to go.")
@confirm_option
@dry_run_option
@json_option
def command(
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
