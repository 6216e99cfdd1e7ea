"""`sealwire backup list` and `prune`: what is in a store, and what goes."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click
from rich.filesize import decimal
from rich.table import Column

from sealwire.cli.backup.options import retention_options, store_option
from sealwire.cli.options.common import dry_run_option, json_option
from sealwire.cli.output import print_json, show_table
from sealwire.sidecars.backup.keeping.catalog import Entry, read_catalog
from sealwire.sidecars.backup.keeping.retention import PrunePlan, RetentionPolicy, plan_prune, prune
from sealwire.sidecars.backup.sealed.manifest import format_time
from sealwire.sidecars.backup.stores.store import Store


@click.command(name="list")
@store_option
@json_option
def list_backups(store: Store, as_json: bool) -> None:
    """List the backups of a store, oldest first.

    Needs no key, and so proves nothing: verify does. A backup counts as verified when its sidecar says so.

    \b
    Examples:
      sealwire backup list
      sealwire backup list --store s3://clinic-backups/mongodb --json
    """
    catalog = read_catalog(store)
    rows = [_row(entry) for entry in catalog.entries]
    if as_json:
        orphans = [orphan.key for orphan in catalog.orphans]
        print_json({"authenticated": False, "backups": rows, "orphans": orphans})
        return
    columns = ("name", "created", "size", "documents", "consistency", "verified", "problem")
    cells = [
        (
            entry.name,
            f"{entry.created:%Y-%m-%d %H:%M}",
            decimal(entry.size),
            row.get("documents", "?"),
            row.get("consistency", "?"),
            (row.get("verified") or "no").partition("T")[0],
            row["problem"] or "",
        )
        for entry, row in zip(catalog.entries, rows, strict=True)
    ]
    show_table([Column(name, overflow="fold") for name in columns], cells)
    keys = Counter(key_id for row in rows for key_id in row.get("key_ids", ()))
    for key_id, count in sorted(keys.items()):
        click.echo(f"{key_id} opens {count} of {len(rows)}")
    for orphan in catalog.orphans:
        click.echo(f"{orphan.key} has no backup; prune removes it", err=True)


def _row(entry: Entry) -> dict[str, Any]:
    sidecar = entry.sidecar
    row: dict[str, Any] = {
        "name": entry.name,
        "created": format_time(entry.created),
        "bytes": entry.size,
        "problem": None if entry.problem is None else entry.problem.value,
    }
    if sidecar is None:
        return row
    return row | {
        "documents": sidecar.manifest.documents,
        "namespaces": sidecar.manifest.namespaces,
        "consistency": sidecar.manifest.consistency.value,
        "server_version": sidecar.manifest.server_version,
        "verified": None if sidecar.verified is None else format_time(sidecar.verified),
        "key_ids": [slot.key_id for slot in sidecar.slots],
    }


@click.command(name="prune")
@retention_options
@store_option
@dry_run_option
@json_option
def prune_backups(policy: RetentionPolicy, store: Store, dry_run: bool, as_json: bool) -> None:
    """Remove the backups that no rule keeps, and what writers that died left behind.

    A day, week or month is represented by its newest verified backup, or by its newest one if none is
    verified. Never removed: the newest backup, the newest verified one, and what cannot be read. Days, weeks
    and months without a backup do not count. Needs no key.

    \b
    Examples:
      sealwire backup prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
      sealwire backup prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12
    """
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
