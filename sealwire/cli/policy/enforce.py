"""`sealwire policy enforce`: let the server itself reject plaintext in covered fields."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sealwire.cli.policy.enforce_change import Change, Options, Outcome, carry_out, plan_install, plan_removal
from sealwire.cli.policy.enforce_survey import RIGHTS, Target, survey
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet
from sealwire.sidecars.direct import Client, connected

_EXIT_SOME_FAILED = 1
_S = TypeVar("_S", Target, Change)
_T = TypeVar("_T")


@click.command(name="enforce")
@click.argument("policy", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--uri",
    required=True,
    envvar="SEALWIRE_SERVER_URI",
    show_envvar=True,
    help="The server itself, not Sealwire. From the environment no other user of the machine sees it.",
)
@click.option("--remove", is_flag=True, help="Take the validators away; what was there before comes back.")
@click.option("--create", is_flag=True, help="Create collections that POLICY names and that do not exist.")
@click.option(
    "--level", type=click.Choice(["strict", "moderate"]), help="validationLevel. Default: see above."
)
@click.option("--action", type=click.Choice(["error", "warn"]), help="validationAction. Default: see above.")
@click.option("--allow-existing", is_flag=True, help="Install although documents hold plaintext already.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before changing the server.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def enforce(  # noqa: PLR0913 - one parameter an option
    *,
    policy: Path,
    uri: str,
    remove: bool,
    create: bool,
    level: str | None,
    action: str | None,
    allow_existing: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Install validators that reject plaintext in the fields that POLICY covers.

    A client that goes round Sealwire then gets error 121 instead of writing plaintext. Validators that are
    there already are kept and go on counting. Level and action are those that the collection's validator has;
    where it has none, strict and error. Exit code 1 when a collection failed.

    \b
    Examples:
      sealwire policy enforce policy.yaml --uri mongodb://mongo.example:27017/?tls=true --dry-run
      SEALWIRE_SERVER_URI=mongodb://... sealwire policy enforce policy.yaml --yes --json
      sealwire policy enforce policy.yaml --uri mongodb://... --remove
    """
    if remove and (create or allow_existing or level or action):
        raise click.UsageError("--remove takes none of --create, --allow-existing, --level and --action")
    policies = load_policy(policy.read_bytes(), str(policy))
    options = Options(level, action, create, allow_existing)
    with connected(uri, RIGHTS) as client:
        changes = _plan(client, policies, None if remove else options)
        pending = [change for change in changes if change.command is not None]
        if pending and not dry_run:
            if not yes:
                _show(changes, Console(stderr=True, markup=False))
                click.confirm(f"Change {len(pending)} collections?", abort=True, err=True)
            changes = _with_progress("changing", changes, lambda change: carry_out(client, change))
    if as_json:
        click.echo(_as_json(changes, dry_run=dry_run))
    else:
        _show(changes, Console(markup=False), dry_run=dry_run)
    sys.exit(_EXIT_SOME_FAILED if any(change.outcome is Outcome.FAILED for change in changes) else 0)


def _plan(client: Client, policies: PolicySet, options: Options | None) -> list[Change]:
    """What is to be done to each collection; without options, to remove what was installed."""

    def plan(target: Target) -> Change:
        return plan_removal(target) if options is None else plan_install(client, target, options)

    return _with_progress("looking at", survey(client, policies), plan)


def _with_progress(text: str, items: Iterable[_S], step: Callable[[_S], _T]) -> list[_T]:
    """`step` of every item, with a bar over them on standard error where that is a terminal."""
    items = list(items)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    done = []
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(text, total=len(items))
        for item in items:
            progress.update(task, description=f"{text} {item.namespace}")
            done.append(step(item))
            progress.advance(task)
    return done


def _as_json(changes: list[Change], *, dry_run: bool) -> str:
    rows = [
        {
            "namespace": change.namespace,
            "outcome": change.outcome.value,
            "reason": change.reason,
            "plaintext": dict(change.plaintext),
        }
        for change in changes
    ]
    return json.dumps({"dry_run": dry_run, "collections": rows}, indent=2)


def _show(changes: list[Change], console: Console, *, dry_run: bool = True) -> None:
    table = Table("collection", "would be" if dry_run else "outcome", "documents with plaintext", "reason")
    for change in changes:
        counts = "\n".join(f"{path}: {count}" for path, count in change.plaintext.items())
        table.add_row(change.namespace, change.outcome.value, counts, change.reason)
    console.print(table)
