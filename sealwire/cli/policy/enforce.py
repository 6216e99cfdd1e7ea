"""`sealwire policy enforce`: let the server itself reject plaintext in covered fields."""

import sys
from pathlib import Path

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options.common import settings, yes_option
from sealwire.cli.options.policies import policy_argument, read_policy
from sealwire.cli.output import Manner, manner_options, question_console, show_table, with_bar
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import connected
from sealwire.sidecars.enforcement.change import (
    RIGHTS,
    Change,
    Options,
    Outcome,
    carry_out,
    plan_install,
    plan_removal,
)


def _wish(
    remove: bool, create: bool, level: str | None, action: str | None, allow_existing: bool
) -> Options | None:
    """What to install; None: remove what was installed."""
    if not remove:
        return Options(level, action, create, allow_existing)
    if create or allow_existing or level or action:
        raise click.UsageError("--remove takes none of --create, --allow-existing, --level and --action")
    return None


@click.command()
@policy_argument
@click.option(
    "--uri",
    required=True,
    envvar="SEALWIRE_SERVER_URI",
    show_envvar=True,
    help="The server itself, not Sealwire. From the environment no other user of the machine sees it.",
)
@settings(
    "wish",
    _wish,
    click.option(
        "--remove", is_flag=True, help="Take the validators away; what was there before comes back."
    ),
    click.option(
        "--create", is_flag=True, help="Create collections that POLICY names and that do not exist."
    ),
    click.option(
        "--level", type=click.Choice(["strict", "moderate"]), help="validationLevel. Default: see above."
    ),
    click.option(
        "--action", type=click.Choice(["error", "warn"]), help="validationAction. Default: see above."
    ),
    click.option("--allow-existing", is_flag=True, help="Install although documents hold plaintext already."),
)
@yes_option
@manner_options
def enforce(policy: Path, uri: str, wish: Options | None, manner: Manner, *, yes: bool) -> None:
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
    policies = read_policy(policy)
    with connected(uri, RIGHTS) as client:
        found = covered_collections(client, policies)
        changes = with_bar(
            found,
            len(found),
            lambda each: f"looking at {each.namespace}",
            lambda each: plan_removal(each) if wish is None else plan_install(client, each, wish),
        )
        pending = [change for change in changes if change.command is not None]
        if pending and not manner.dry_run:
            if not yes:
                show_table(_columns(will=True), map(_cells, changes), question_console())
                click.confirm(f"Change {len(pending)} collections?", abort=True, err=True)
            changes = with_bar(
                changes,
                len(changes),
                lambda change: f"changing {change.namespace}",
                lambda change: carry_out(client, change),
            )
    rows = [
        {
            "namespace": change.namespace,
            "outcome": change.outcome.value,
            "reason": change.reason,
            "plaintext": dict(change.plaintext),
        }
        for change in changes
    ]
    manner.show_table(_columns(will=manner.dry_run), map(_cells, changes), {"collections": rows})
    sys.exit(EX_NO if any(change.outcome is Outcome.FAILED for change in changes) else 0)


def _columns(*, will: bool) -> tuple[str, ...]:
    return "collection", "would be" if will else "outcome", "documents with plaintext", "reason"


def _cells(change: Change) -> tuple[str, ...]:
    counts = "\n".join(f"{path}: {count}" for path, count in change.plaintext.items())
    return change.namespace, change.outcome.value, counts, change.reason
