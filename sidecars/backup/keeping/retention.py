"""Which backups to keep: the newest of each day, week and month, and the last good one whatever happens."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from sealwire.sidecars.backup.errors import BackupReason, BackupSettingError
from sealwire.sidecars.backup.keeping.catalog import Entry


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How many of each kind to keep; days, weeks (ISO) and months are those of UTC."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    def __post_init__(self) -> None:
        """Raises BackupSettingError RETENTION: a policy that keeps nothing is a mistake."""
        numbers = [getattr(self, field.name) for field in fields(self)]
        if min(numbers) < 0 or max(numbers) == 0:
            raise BackupSettingError(
                BackupReason.RETENTION,
                "the policy keeps no backup",
                "say how many to keep: --keep-last, --keep-daily, --keep-weekly, --keep-monthly",
            )


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one backup."""

    entry: Entry
    reasons: tuple[str, ...]
    """Why it is kept; none means that it is removed."""

    @property
    def kept(self) -> bool:
        return bool(self.reasons)


def decide(entries: Sequence[Entry], policy: RetentionPolicy) -> tuple[Decision, ...]:
    """A decision for each entry, oldest first.

    Kept whatever the policy says: the newest backup that was verified; the newest of all while none was; and
    every backup whose sidecar cannot be read, for nothing is known of it.
    """
    known = [entry for entry in entries if entry.sidecar is not None and entry.problem is None]
    newest_first = sorted(known, key=lambda entry: (entry.created, entry.name), reverse=True)
    reasons: dict[str, list[str]] = {entry.name: [] for entry in entries}
    for entry in entries:
        if entry not in known:
            reasons[entry.name].append("not readable")
    for entry in newest_first[: policy.last]:
        reasons[entry.name].append("last")
    for label, count, period in (
        ("daily", policy.daily, "%Y-%m-%d"),
        ("weekly", policy.weekly, "%G-%V"),
        ("monthly", policy.monthly, "%Y-%m"),
    ):
        for entry in _newest_of_each(newest_first, period)[:count]:
            reasons[entry.name].append(label)
    good = [
        entry for entry in newest_first if entry.sidecar is not None and entry.sidecar.verified is not None
    ]
    if good:
        reasons[good[0].name].append("last verified")
    elif newest_first:
        reasons[newest_first[0].name].append("newest, none is verified")
    oldest_first = sorted(entries, key=lambda entry: (entry.created, entry.name))
    return tuple(Decision(entry, tuple(reasons[entry.name])) for entry in oldest_first)


def _newest_of_each(newest_first: Sequence[Entry], period: str) -> list[Entry]:
    """Entries of one period have the same time as `period` writes it; `%G-%V` is the ISO week."""
    newest: dict[str, Entry] = {}
    for entry in newest_first:
        newest.setdefault(entry.created.strftime(period), entry)
    return list(newest.values())
