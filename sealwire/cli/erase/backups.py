"""Which backups still hold what was erased, and until when."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sealwire.keys.keyring.record import format_time
from sealwire.sidecars.backup.keeping.catalog import Entry, read_catalog
from sealwire.sidecars.backup.keeping.retention import RetentionPolicy, kept_until
from sealwire.sidecars.backup.stores.open_store import open_store


def backups_with(
    address: str, namespaces: Collection[str], retention: RetentionPolicy | None, before: datetime
) -> list[dict[str, Any]]:
    """The backups of a store that were made before a time and hold, or may hold, one of these collections.

    Raises BackupSettingError, StoreUnavailable. Cost: reads each sidecar of the store.
    """
    return [
        _row(entry, retention)
        for entry in read_catalog(open_store(address)).entries
        if entry.created <= before
        and (entry.manifest is None or not set(namespaces).isdisjoint(entry.manifest.namespaces))
    ]


def _row(entry: Entry, retention: RetentionPolicy | None) -> dict[str, Any]:
    row = {
        "name": entry.name,
        "created": format_time(entry.created),
        "holds": "unknown" if entry.manifest is None else "ciphertext",
    }
    if retention is not None:
        row["until"] = format_time(kept_until(entry.created, retention))
    return row
