"""`sealwire backup list`: what is in a store, as far as it shows without a key."""

import json
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from sealwire.cli.backup_options import json_option, store_option
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
    if as_json:
        orphans = [orphan.key for orphan in catalog.orphans]
        whole = {
            "authenticated": False,
            "backups": [_row(entry) for entry in catalog.entries],
            "orphans": orphans,
        }
        click.echo(json.dumps(whole, indent=2))
        return
    table = Table("name", "created", "size", "documents", "consistency", "verified", "opens with", "problem")
    for entry in catalog.entries:
        table.add_row(*_cells(_row(entry)))
    Console().print(table)
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


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["name"],
        row["created"],
        decimal(row["bytes"]),
        str(row.get("documents", "?")),
        row.get("consistency", "?"),
        row.get("verified") or "no",
        "\n".join(row.get("key_ids", ("?",))),
        row["problem"] or "",
    ]
