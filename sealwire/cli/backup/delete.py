"""`sealwire backup delete`: backups go by their names, where nothing says that they have to stay."""

from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal

from sealwire.audit.pseudonyms import load_pseudonym_key
from sealwire.cli.backup.options import store_option
from sealwire.cli.options.common import PATH, yes_option
from sealwire.cli.output import Manner, manner_options, question_console, show_table
from sealwire.sidecars.backup.keeping.catalog import Entry
from sealwire.sidecars.backup.keeping.retention import choose_to_delete
from sealwire.sidecars.backup.keeping.retention import delete as remove
from sealwire.sidecars.backup.sealed.manifest import format_time
from sealwire.sidecars.backup.stores.store import Store
from sealwire.sidecars.erasure.holds import load_holds, refuse_any

_COLUMNS = ("name", "created", "size", "documents", "problem")


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@store_option
@click.option("--even-last", is_flag=True, help="Also the one that would be restored today.")
@click.option(
    "--holds",
    type=PATH,
    envvar="SEALWIRE_HOLDS",
    show_envvar=True,
    help="The file of legal holds: while one stands nothing is deleted.",
)
@click.option(
    "--subjects-key",
    type=PATH,
    envvar="SEALWIRE_AUDIT_SUBJECTS_KEY",
    show_envvar=True,
    help="The key of pseudonyms, by which the file of holds is sealed.",
)
@yes_option
@manner_options
def delete(  # noqa: PLR0913 - one parameter an option
    names: tuple[str, ...],
    store: Store,
    holds: Path | None,
    subjects_key: Path | None,
    manner: Manner,
    *,
    even_last: bool,
    yes: bool,
) -> None:
    """Delete the backups NAME, once each is found; nothing is deleted where one of them may not be.

    The newest verified backup stays, and the newest of all while none is verified: see --even-last. With
    --holds nothing goes while a legal hold stands, for nobody can see whose data a backup holds. Damaged
    backups can be deleted. Needs no key of a backup.

    \b
    Examples:
      sealwire backup delete backup-20261101T031500Z --dry-run
      sealwire backup delete clinic-1 clinic-2 --holds holds.json --subjects-key subjects.key --yes
    """
    if holds is not None:
        if subjects_key is None:
            raise click.UsageError("--holds needs --subjects-key: the file is sealed by that key")
        refuse_any(load_holds(holds, load_pseudonym_key(subjects_key)))
    chosen = choose_to_delete(store, names, even_last=even_last)
    rows = [_row(entry) for entry in chosen]
    cells = [tuple("" if value is None else value for value in row.values()) for row in rows]
    if not manner.dry_run:
        if not yes:
            show_table(_COLUMNS, cells, question_console())
            click.confirm(f"Delete {len(rows)} from {store.address} for good?", abort=True, err=True)
        for entry in chosen:
            remove(store, entry.name)
    title = "would be deleted" if manner.dry_run else "deleted"
    manner.show_table(_COLUMNS, cells, {"store": store.address, "deleted": rows}, title)


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "created": format_time(entry.created),
        "size": decimal(entry.size),
        "documents": None if entry.manifest is None else entry.manifest.documents,
        "problem": None if entry.problem is None else entry.problem.value,
    }
