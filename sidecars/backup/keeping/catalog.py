"""What is in a store, as far as it shows without a key, and which backups to keep. Look and prune by it.

Kept is one of each day, week and month, and the last good one whatever happens. A verified backup stands for
its day, week or month in preference to a newer one that nobody has verified. Weeks and months count when they
are over: the running one is kept beside them, so that "24 months" are 24 calendar months and not 23 and some
days. The others are pruned, and with them what dead writers left behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum

from sealwire.sidecars.backup.sealed.manifest import Manifest
from sealwire.sidecars.backup.sealed.payload import read_sidecar
from sealwire.sidecars.backup.sealed.sidecar import Sidecar
from sealwire.sidecars.backup.stores.store import (
    PAYLOAD_SUFFIX,
    SIDECAR_SUFFIX,
    Store,
    StoredObject,
    payload_key,
    sidecar_key,
)
from sealwire.sidecars.errors import BackupReason, Denied, Missing, Unsound, Unusable


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One backup."""

    name: str
    size: int
    """Bytes of the sealed file."""
    created: datetime
    """When the dump began; when the file was written, where no sidecar says more."""
    sidecar: Sidecar | None
    """Not authenticated. None when it is missing or damaged."""
    problem: Enum | None
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

    entries: tuple[CatalogEntry, ...]
    """Oldest first."""
    orphans: tuple[StoredObject, ...]
    """Sidecars without a backup: what a writer left that died just before its end."""

    def find(self, name: str) -> CatalogEntry:
        """Raises Missing."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        text = f"{payload_key(name)} does not exist"
        raise Missing(BackupReason.MISSING, text, "sealwire backup list shows what there is")


def read_catalog(store: Store) -> Catalog:
    """List `store`, reading every sidecar. Raises Unavailable."""
    objects = store.objects()
    payloads = [item for item in objects if item.key.endswith(PAYLOAD_SUFFIX)]
    names = {item.key.removesuffix(PAYLOAD_SUFFIX) for item in payloads}
    sidecars = (item for item in objects if item.key.endswith(SIDECAR_SUFFIX))
    orphans = tuple(item for item in sidecars if item.key.removesuffix(SIDECAR_SUFFIX) not in names)
    entries = [_entry(store, item) for item in payloads]
    return Catalog(tuple(sorted(entries, key=lambda entry: (entry.created, entry.name))), orphans)


def choose(catalog: Catalog, names: Sequence[str]) -> tuple[CatalogEntry, ...]:
    """The entries with these names, in this order; all of them for none.

    Raises Missing, also for a store without any: a check that runs every night must not praise nothing.
    """
    if not names and not catalog.entries:
        raise Missing(BackupReason.MISSING, "there is no backup in the store", "sealwire backup create")
    return tuple(catalog.find(name) for name in names) if names else catalog.entries


def _entry(store: Store, payload: StoredObject) -> CatalogEntry:
    name = payload.key.removesuffix(PAYLOAD_SUFFIX)
    try:
        raw = read_sidecar(store, name)
        problem: Enum = BackupReason.SIDECAR_MISSING
    except Unsound as error:
        raw, problem = None, error.reason
    if raw is None:
        return CatalogEntry(name, payload.size, payload.modified, None, problem)
    whole = payload.size == raw.sidecar.payload_bytes
    created = raw.sidecar.manifest.created
    return CatalogEntry(name, payload.size, created, raw.sidecar, None if whole else BackupReason.TRUNCATED)


# A backup that is still being written is younger; a longer one is protected by its lock in a directory.
LEFTOVER_AGE = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How many of each kind to keep; days, weeks (ISO) and months are those of UTC."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    """Full weeks, beside the newest week that has a backup."""
    monthly: int = 0
    """Full months, beside the newest month that has a backup."""

    def __post_init__(self) -> None:
        """Raises Unusable RETENTION: a policy that keeps nothing is a mistake."""
        numbers = [getattr(self, field.name) for field in fields(self)]
        if min(numbers) < 0 or max(numbers) == 0:
            hint = "say how many to keep: --keep-last, --keep-daily, --keep-weekly, --keep-monthly"
            raise Unusable(BackupReason.RETENTION, "the policy keeps no backup", hint)


def kept_until(created: datetime, policy: RetentionPolicy) -> datetime:
    """Until when such a policy keeps a backup at the latest, where one is made each day and is verified.

    The rules count backups, not days: where fewer are made, it stays for longer.
    """
    ends = [created + timedelta(days=max(policy.last, policy.daily))]
    midnight = created.replace(hour=0, minute=0, second=0, microsecond=0)
    # a day more: it goes when the first backup of the next week or month is there
    if policy.weekly:
        monday = midnight - timedelta(days=created.weekday())
        ends.append(monday + timedelta(weeks=policy.weekly + 1, days=1))
    if policy.monthly:
        years, month = divmod(created.month - 1 + policy.monthly + 1, 12)
        ends.append(midnight.replace(created.year + years, month + 1, 2))
    return max(ends)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one backup."""

    entry: CatalogEntry
    reasons: tuple[str, ...]
    """Why it is kept; none means that it is removed."""

    @property
    def kept(self) -> bool:
        return bool(self.reasons)


def decide(entries: Sequence[CatalogEntry], policy: RetentionPolicy) -> tuple[Decision, ...]:
    """A decision for each entry, oldest first.

    Kept whatever the policy says: the newest backup, for nobody may have had time to verify it; the newest
    that was verified; and every backup whose sidecar cannot be read, for nothing is known of it.
    """
    known = [entry for entry in entries if entry.sidecar is not None and entry.problem is None]
    newest_first = sorted(known, key=lambda entry: (entry.created, entry.name), reverse=True)
    reasons: dict[str, list[str]] = {entry.name: [] for entry in entries}
    for entry in entries:
        if entry not in known:
            reasons[entry.name].append("not readable")
    for entry in newest_first[: policy.last]:
        reasons[entry.name].append("last")
    # entries of one period have the same time as it writes it; `%G-%V` is the ISO week
    for label, count, period in (
        ("daily", policy.daily, "%Y-%m-%d"),
        ("weekly", policy.weekly and policy.weekly + 1, "%G-%V"),
        ("monthly", policy.monthly and policy.monthly + 1, "%Y-%m"),
    ):
        best: dict[str, CatalogEntry] = {}
        for entry in newest_first:
            found = best.setdefault(entry.created.strftime(period), entry)
            if _is_verified(entry) and not _is_verified(found):
                best[entry.created.strftime(period)] = entry
        for entry in list(best.values())[:count]:
            reasons[entry.name].append(label)
    last = last_good(known)
    if last is not None:
        reasons[last.entry.name] += last.reasons
        if not reasons[newest_first[0].name]:
            reasons[newest_first[0].name].append("newest")
    oldest_first = sorted(entries, key=lambda entry: (entry.created, entry.name))
    return tuple(Decision(entry, tuple(reasons[entry.name])) for entry in oldest_first)


def _is_verified(entry: CatalogEntry) -> bool:
    return entry.sidecar is not None and entry.sidecar.verified is not None


def last_good(entries: Sequence[CatalogEntry]) -> Decision | None:
    """The backup that would be restored today, and why it is that one: the newest that was verified, or the
    newest of all while none was. None where none can be read.
    """
    known = [entry for entry in entries if entry.sidecar is not None and entry.problem is None]
    newest_first = sorted(known, key=lambda entry: (entry.created, entry.name), reverse=True)
    for entry in newest_first:
        if _is_verified(entry):
            return Decision(entry, ("last verified",))
    return Decision(newest_first[0], ("newest, none is verified",)) if newest_first else None


def choose_to_delete(store: Store, names: Sequence[str], *, even_last: bool) -> tuple[CatalogEntry, ...]:
    """The backups with these names, which may go. Changes nothing.

    Raises Missing; Denied where one of them is the last good one, unless `even_last`;
    Unusable NAME; Unavailable.
    """
    catalog = read_catalog(store)
    for name in names:
        payload_key(name)
    chosen = choose(catalog, tuple(dict.fromkeys(names)))
    last = last_good(catalog.entries)
    if last is not None and last.entry in chosen and not even_last:
        raise Denied(
            BackupReason.LAST_GOOD,
            f"{last.entry.name} is what would be restored today ({last.reasons[0]})",
            "make and verify another one first, or give --even-last",
        )
    return chosen


def delete(store: Store, name: str) -> None:
    """Remove a backup; stopped anywhere, what is left is whole. Raises Missing, Unavailable."""
    # The payload first: a sidecar alone is an orphan, which prune removes.
    store.delete(payload_key(name))
    if store.exists(sidecar_key(name)):
        store.delete(sidecar_key(name))


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
    """Look, and change nothing. Raises Unavailable."""
    catalog = read_catalog(store)
    before = now - LEFTOVER_AGE
    orphans = tuple(orphan.key for orphan in catalog.orphans if orphan.modified < before)
    return PrunePlan(decide(catalog.entries, policy), orphans, tuple(store.leftovers(before)))


def prune(store: Store, plan: PrunePlan) -> None:
    """Do what the plan says. Stopped at any point, what is left is whole. Raises Unavailable."""
    for name in plan.removed:
        delete(store, name)
    for orphan in plan.orphans:
        store.delete(orphan)
    for leftover in plan.leftovers:
        store.remove_leftover(leftover)
