"""`sealwire backup prune`: remove backups that no rule keeps."""

from datetime import UTC, datetime

import click

from sealwire.cli.backup.options import retention_options, store_option
from sealwire.cli.options import dry_run_option, json_option
from sealwire.cli.output import print_json, show_table
from sealwire.sidecars.backup.manifest import format_time
from sealwire.sidecars.backup.open_store import open_store
from sealwire.sidecars.backup.prune import PrunePlan, plan_prune, prune
from sealwire.sidecars.backup.retention import RetentionPolicy


@click.command()
@retention_options
@store_option
@dry_run_option
@json_option
def command(policy: RetentionPolicy, store_address: str, dry_run: bool, as_json: bool) -> None:
    """Remove the backups that no rule keeps, and what writers that died left behind.

    Never removed: the newest verified backup, the newest of all while none is verified, and what cannot be
    read. Days, weeks and months without a backup do not count. Needs no key.

    \b
    Examples:
      sealwire backup prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
      sealwire backup prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12
    """
    store = open_store(store_address)
    plan = plan_prune(store, policy, datetime.now(UTC))
    if not dry_run:
        prune(store, plan)
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "kept": {item.entry.name: item.reasons for item in plan.decisions if item.kept},
                "removed": plan.removed,
                "orphans": plan.orphans,
                "leftovers": plan.leftovers,
            }
        )
    else:
        _show(plan, "would be removed" if dry_run else "removed")


def _show(plan: PrunePlan, gone: str) -> None:
    rows = (
        (
            decision.entry.name,
            format_time(decision.entry.created),
            f"kept: {', '.join(decision.reasons)}" if decision.kept else gone,
        )
        for decision in plan.decisions
    )
    show_table(("name", "created", "decision"), rows)
    for key in (*plan.orphans, *plan.leftovers):
        click.echo(f"{key}: {gone}")
