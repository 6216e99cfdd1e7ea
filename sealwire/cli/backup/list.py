"""`sealwire backup list`: what is in a store, as far as it shows without a key."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from sealwire.cli.backup.options import json_option, store_option
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
    _print_table(catalog.entries)
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


def _print_table(entries: Sequence[Entry]) -> None:
    table = Table()
    for column in ("name", "created", "size", "documents", "verified", "problem"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        row = _row(entry)
        verified = (row.get("verified") or "no").partition("T")[0]
        cells = (decimal(entry.size), str(row.get("documents", "?")), verified, row["problem"] or "")
        table.add_row(Text(entry.name), f"{entry.created:%Y-%m-%d %H:%M}", *cells)
    Console().print(table)
    keys = Counter(slot.key_id for entry in entries if entry.sidecar for slot in entry.sidecar.slots)
    for key_id, count in sorted(keys.items()):
        click.echo(f"{key_id} opens {count} of {len(entries)}")
