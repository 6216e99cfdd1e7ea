"""Remove backups that no rule keeps, and what writers that died left behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sealwire.sidecars.backup.keeping.catalog import read_catalog
from sealwire.sidecars.backup.keeping.retention import Decision, RetentionPolicy, decide
from sealwire.sidecars.backup.stores.store import Store, payload_key, sidecar_key

# A backup that is still being written is younger; a longer one is protected by its lock in a directory.
LEFTOVER_AGE = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What would be removed, and why the rest stays."""

    decisions: tuple[Decision, ...]
    """Oldest first."""
    orphans: tuple[str, ...]
    """Keys of sidecars without a backup."""
    leftovers: tuple[str, ...]
    """Uploads that nobody ends."""

    @property
    def removed(self) -> Sequence[str]:
        """Names of the backups to remove, oldest first."""
        return [decision.entry.name for decision in self.decisions if not decision.kept]


def plan_prune(store: Store, policy: RetentionPolicy, now: datetime) -> PrunePlan:
    """Look, and change nothing. Raises StoreUnavailable."""
    catalog = read_catalog(store)
    before = now - LEFTOVER_AGE
    orphans = tuple(orphan.key for orphan in catalog.orphans if orphan.modified < before)
    return PrunePlan(decide(catalog.entries, policy), orphans, tuple(store.leftovers(before)))


def prune(store: Store, plan: PrunePlan) -> None:
    """Do what the plan says. Stopped at any point, what is left is whole. Raises StoreUnavailable."""
    for name in plan.removed:
        # The payload first: a sidecar alone is an orphan, which the next run removes.
        store.delete(payload_key(name))
        store.delete(sidecar_key(name))
    for orphan in plan.orphans:
        store.delete(orphan)
    for leftover in plan.leftovers:
        store.remove_leftover(leftover)
