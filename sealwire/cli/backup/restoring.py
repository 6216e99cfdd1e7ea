"""What `backup restore` and `backup restore-dump` share: options, the question before --drop, the report."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sealwire.cli.backup.report import plan_json, report_json, show_plan, show_report
from sealwire.cli.exit_codes import EX_DATAERR
from sealwire.cli.options import PATH, dry_run_option, json_option, settings
from sealwire.cli.output import document_bar, print_json
from sealwire.cli.server_options import required_uri
from sealwire.cli.signals import ended_in_order
from sealwire.sidecars.backup.archive.dump_files import DumpFiles
from sealwire.sidecars.backup.archive.survey import survey
from sealwire.sidecars.backup.restoring.comparison import RestoreReport
from sealwire.sidecars.backup.restoring.journal import default_path, opened
from sealwire.sidecars.backup.restoring.plan import RestorePlan, parse_rename, plan
from sealwire.sidecars.backup.restoring.restore import Restore, RestoreProgress
from sealwire.sidecars.backup.sealed.manifest import Manifest
from sealwire.sidecars.direct import connected

RIGHTS = "log in as a user with the role `restore`"


@dataclass(frozen=True, slots=True)
class RestoreChoices:
    """What the options say."""

    rename: tuple[str, ...]
    only: tuple[str, ...]
    users: bool
    drop: bool
    yes: bool
    journal: Path | None
    dry_run: bool
    as_json: bool


# The command gets `choices: RestoreChoices`.
restoring_options = settings(
    "choices",
    RestoreChoices,
    click.option("--rename", multiple=True, metavar="OLD=NEW", help="DB=DB or DB.COLL=DB.COLL; repeatable."),
    click.option("--only", multiple=True, metavar="DB|DB.COLL", help="Not everything; repeatable."),
    click.option("--users", is_flag=True, help="Users and roles as well: they can then log in."),
    click.option("--drop", is_flag=True, help="Replace collections that are there; asks first."),
    click.option("--yes", is_flag=True, help="Do not ask before --drop."),
    click.option(
        "--journal",
        type=PATH,
        help="Where to note what is done, to go on from. Default: in ~/.local/state/sealwire.",
    ),
    dry_run_option,
    json_option,
)


def restore_into(
    uri: str, files: DumpFiles, choices: RestoreChoices, manifest: Manifest | None = None
) -> None:
    """Plan, ask, restore, show; ends the process with 65 where something is not as in the backup.

    `manifest` only tells whoever waits how much there is.
    """
    renames = [parse_rename(text) for text in choices.rename]
    found = survey(files)
    chosen = plan(list(found.collections.values()), renames, choices.only, logins=choices.users)
    with ended_in_order(), connected(required_uri(uri), RIGHTS) as client:
        restore = Restore(client, files, found, chosen)
        if choices.dry_run:
            _show_plan(restore, chosen, as_json=choices.as_json)
            return
        purpose = restore.purpose()
        path = choices.journal or default_path(purpose)
        with opened(path, purpose) as journal:
            if choices.drop and not journal.resumed:
                _drop(restore, yes=choices.yes)
            if journal.resumed:
                click.echo(f"continuing from {path}", err=True)
            with progress(chosen, manifest) as tell:
                report = restore.run(journal, tell)
            journal.remove()
    finish(report, as_json=choices.as_json)


def finish(report: RestoreReport, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Show the report and end the process with its exit code."""
    if as_json:
        print_json((more or {}) | report_json(report))
    else:
        show_report(Console(highlight=False), report)
    sys.exit(0 if report.holds else EX_DATAERR)


@contextmanager
def progress(chosen: RestorePlan, manifest: Manifest | None) -> Iterator[Callable[[RestoreProgress], None]]:
    """What is being done now, and how much of all documents is in place, if that is known."""
    total = None if manifest is None else manifest.documents_size(chosen.sources())
    with document_bar("restoring") as show:
        size = 0

        def tell(now: RestoreProgress) -> None:
            nonlocal size
            size = max(size, now.size)
            show(f"{now.step}: {now.namespace}", size, total)

        yield tell


def _show_plan(restore: Restore, chosen: RestorePlan, *, as_json: bool) -> None:
    occupied = [planned.target for planned in restore.occupied()]
    if as_json:
        print_json(plan_json(chosen) | {"occupied": occupied})
        return
    console = Console(highlight=False)
    show_plan(console, chosen)
    for target in occupied:
        console.print(f"[yellow]in the way:[/] {target} is there already")


def _drop(restore: Restore, *, yes: bool) -> None:
    """Ask for the names of the databases, which nobody types by accident, and drop what is in the way."""
    occupied = restore.occupied()
    if not occupied:
        return
    databases = " ".join(sorted({planned.database for planned in occupied}))
    if not yes:
        for planned in occupied:
            click.echo(f"to be dropped: {planned.target}", err=True)
        typed = click.prompt(f"Type {databases!r} to drop {len(occupied)} collections", err=True)
        if typed.strip() != databases:
            raise click.Abort
    restore.drop()
