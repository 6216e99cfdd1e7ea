"""What `backup restore` and `backup restore-dump` share: options, the question before --drop, the report."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from sealwire.cli.exit_codes import EX_DATAERR
from sealwire.cli.options.common import PATH, dry_run_option, json_option, settings
from sealwire.cli.options.server import required_uri
from sealwire.cli.output import document_bar, print_json, show_table
from sealwire.cli.signals import ended_in_order
from sealwire.sidecars.backup.archive.dump_files import DumpFiles
from sealwire.sidecars.backup.archive.survey import survey
from sealwire.sidecars.backup.restoring.journal import default_path, opened
from sealwire.sidecars.backup.restoring.plan import RestorePlan, parse_rename, plan
from sealwire.sidecars.backup.restoring.restore import Outcome, Restore, RestoreProgress, RestoreReport
from sealwire.sidecars.backup.sealed.manifest import Manifest
from sealwire.sidecars.direct import connected

_STYLES = {Outcome.RESTORED: "green", Outcome.INCOMPLETE: "yellow", Outcome.DIFFERENT: "bold red"}
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
            occupied = [planned.target for planned in restore.occupied()]
            show_plan(chosen, occupied, as_json=choices.as_json, more=origin_of(files))
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
    finish(report, as_json=choices.as_json, more=origin_of(files))


def origin_of(files: DumpFiles) -> dict[str, Any]:
    """Who can have written a sealed backup, for programs; empty for a plain dump."""
    return {} if files.origin is None else files.origin.to_json()


def finish(report: RestoreReport, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Show the report and end the process with its exit code."""
    if as_json:
        results = [asdict(result) for result in report.collections]
        document = {"holds": report.holds, "collections": results, "left_out": _rows(report.left_out)}
        print_json((more or {}) | document | {"remarks": list(report.remarks)})
    else:
        rows = (
            (
                escape(result.source),
                escape(result.target),
                f"{result.documents:,}",
                f"[{_STYLES[result.outcome]}]{result.outcome}[/]",
                escape("\n".join(result.remarks)),
            )
            for result in report.collections
        )
        columns = ("from the backup", "to the server", "documents", "outcome", "remarks")
        show_table(columns, rows, Console(highlight=False))
        _show_left_out(report.left_out)
        for remark in report.remarks:
            click.secho(f"not done: {remark}", fg="yellow")
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


def show_plan(
    chosen: RestorePlan, occupied: list[str], *, as_json: bool, more: dict[str, Any] | None = None
) -> None:
    """What would go where, and what is in the way."""
    rows = [(planned.source, planned.target, planned.part) for planned in chosen.collections]
    if as_json:
        collections = [{"source": source, "target": target, "what": part} for source, target, part in rows]
        document = {"dry_run": True, "collections": collections, "left_out": _rows(chosen.left_out)}
        print_json((more or {}) | document | {"occupied": occupied})
        return
    show_table(("from the backup", "to the server", "what"), rows)
    _show_left_out(chosen.left_out)
    for target in occupied:
        click.secho(f"in the way: {target} is there already", fg="yellow")


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


def _rows(left_out: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"source": source, "reason": reason} for source, reason in left_out]


def _show_left_out(left_out: tuple[tuple[str, str], ...]) -> None:
    for source, reason in left_out:
        click.secho(f"left out: {source}: {reason}", dim=True)
