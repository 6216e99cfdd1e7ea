"""`sealwire backup list`: what is in a store, as far as it shows without a key."""

from collections import Counter
from typing import Any

import click
from rich.filesize import decimal
from rich.table import Column

from sealwire.cli.backup.options import store_option
from sealwire.cli.options import json_option
from sealwire.cli.output import print_json, show_table
from sealwire.sidecars.backup.catalog import Entry, read_catalog
from sealwire.sidecars.backup.manifest import format_time
from sealwire.sidecars.backup.open_store import open_store


@click.command()
@store_option
@json_option
def command(store_address: str, as_json: bool) -> None:
    """List the backups of a store, oldest first.

    Needs no key, and so proves nothing: verify does. A backup counts as verified when its sidecar says so.

    \b
    Examples:
      sealwire backup list
      sealwire backup list --store s3://clinic-backups/mongodb --json
    """
    catalog = read_catalog(open_store(store_address))
    rows = [_row(entry) for entry in catalog.entries]
    if as_json:
        orphans = [orphan.key for orphan in catalog.orphans]
        print_json({"authenticated": False, "backups": rows, "orphans": orphans})
        return
    columns = ("name", "created", "size", "documents", "verified", "problem")
    cells = [
        (
            entry.name,
            f"{entry.created:%Y-%m-%d %H:%M}",
            decimal(entry.size),
            row.get("documents", "?"),
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
