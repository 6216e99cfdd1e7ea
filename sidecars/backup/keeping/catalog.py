"""What is in a store, as far as it shows without a key. Use it to look and to prune, not to conclude."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sealwire.sidecars.backup.errors import BackupDamaged, BackupMissing, BackupReason
from sealwire.sidecars.backup.sealed.manifest import Manifest
from sealwire.sidecars.backup.sealed.reader import read_sidecar
from sealwire.sidecars.backup.sealed.sidecar import Sidecar
from sealwire.sidecars.backup.stores.store import (
    PAYLOAD_SUFFIX,
    SIDECAR_SUFFIX,
    Store,
    StoredObject,
    payload_key,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One backup."""

    name: str
    size: int
    """Bytes of the sealed file."""
    created: datetime
    """When the dump began; when the file was written, where no sidecar says more."""
    sidecar: Sidecar | None
    """Not authenticated. None when it is missing or damaged."""
    problem: BackupReason | None
    """What can be seen without a key: SIDECAR_MISSING, SIDECAR, or TRUNCATED for another length."""

    @property
    def manifest(self) -> Manifest | None:
        """What the sidecar says is inside. Not authenticated."""
        return None if self.sidecar is None else self.sidecar.manifest

    @property
    def dump_size(self) -> int | None:
        """Bytes before compression, for whoever waits; None where no sidecar says it."""
        return None if self.manifest is None else self.manifest.size


@dataclass(frozen=True, slots=True)
class Catalog:
    """A store's content."""

    entries: tuple[Entry, ...]
    """Oldest first."""
    orphans: tuple[StoredObject, ...]
    """Sidecars without a backup: what a writer left that died just before its end."""

    def find(self, name: str) -> Entry:
        """Raises BackupMissing."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        text = f"{payload_key(name)} does not exist"
        raise BackupMissing(BackupReason.MISSING, text, "sealwire backup list shows what there is")


def read_catalog(store: Store) -> Catalog:
    """List `store`, reading every sidecar. Raises StoreUnavailable."""
    objects = store.objects()
    payloads = [item for item in objects if item.key.endswith(PAYLOAD_SUFFIX)]
    names = {item.key.removesuffix(PAYLOAD_SUFFIX) for item in payloads}
    sidecars = (item for item in objects if item.key.endswith(SIDECAR_SUFFIX))
    orphans = tuple(item for item in sidecars if item.key.removesuffix(SIDECAR_SUFFIX) not in names)
    entries = [_entry(store, item) for item in payloads]
    return Catalog(tuple(sorted(entries, key=lambda entry: (entry.created, entry.name))), orphans)


def choose(catalog: Catalog, names: Sequence[str]) -> tuple[Entry, ...]:
    """The entries with these names, in this order; all of them for none.

    Raises BackupMissing, also for a store without any: a check that runs every night must not praise nothing.
    """
    if not names and not catalog.entries:
        raise BackupMissing(BackupReason.MISSING, "there is no backup in the store", "sealwire backup create")
    return tuple(catalog.find(name) for name in names) if names else catalog.entries


def _entry(store: Store, payload: StoredObject) -> Entry:
    name = payload.key.removesuffix(PAYLOAD_SUFFIX)
    try:
        raw = read_sidecar(store, name)
        problem = BackupReason.SIDECAR_MISSING
    except BackupDamaged as error:
        raw, problem = None, error.reason
    if raw is None:
        return Entry(name, payload.size, payload.modified, None, problem)
    whole = payload.size == raw.sidecar.payload_bytes
    created = raw.sidecar.manifest.created
    return Entry(name, payload.size, created, raw.sidecar, None if whole else BackupReason.TRUNCATED)
