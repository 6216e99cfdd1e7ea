"""What the calendar asks for: wrap the keyring anew, rotate a class, finish what was begun.

Two intervals. The keyring is wrapped anew every 90 days, which touches no data and cannot go wrong half-way.
Data keys are rotated only where an interval is set, for a class or for all: after a deterministic class got
a new key its data has to be moved, and somebody has to want that. A class in clear has no key to rotate, and
one that borrows a key has none of its own. What has been due for `GRACE` is overdue.

A keyring of the first format does not say when it was wrapped. That was not before its newest key was made.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import Enum

from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.record import ClassRecord, KeyRecord, KeyringRecord
from sealwire.keys.keyring.turning import moving_command

QUARTER = timedelta(days=90)
GRACE = timedelta(days=14)
"""Two runs of a weekly timer."""


class Chore(Enum):
    """What is to be done; the value is what programs read."""

    CREATE = "create"
    """The policy has a class without an active key."""
    REWRAP = "rewrap"
    """The keyring was wrapped too long ago."""
    ROTATE = "rotate"
    """The active key of a class is too old."""
    REENCRYPT = "reencrypt"
    """A new key is pending: the data of its class has to move to it."""
    ENCRYPT = "encrypt"
    """The same, and the data is in clear."""
    DECRYPT = "decrypt"
    """A class is to be in clear again: its data has to move there."""
    DESTROY = "destroy"
    """The waiting period of a retired key is over."""


@dataclass(frozen=True, slots=True)
class KeySchedule:
    """How old things may become; None: as old as they like."""

    rewrap_every: timedelta | None = QUARTER
    rotate_every: timedelta | None = None
    of_classes: Mapping[str, timedelta] = field(default_factory=dict)
    """Classes with an interval of their own, which goes before `rotate_every`."""

    def rotation_due(self, entry: ClassRecord) -> datetime | None:
        """When the active key of a class is too old; None if it never is, or if another is pending already.

        A class in clear has no key, and one that borrows has none of its own.
        """
        active, every = _in_state(entry, KeyState.ACTIVE), self.of_classes.get(entry.name, self.rotate_every)
        if active is None or active.is_plaintext or active.lender or every is None:
            return None
        return None if _in_state(entry, KeyState.PENDING) else active.created + every


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A part of each day, by the clock of this machine; it may end on the next day."""

    begin: time
    end: time

    def has(self, now: datetime) -> bool:
        """Whether `now` lies in it; its end does not."""
        at = now.astimezone().time()
        if self.begin < self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end

    def left(self, now: datetime) -> timedelta:
        """How long it goes on after `now`, which lies in it. A change to or from summer time counts."""
        local = now.astimezone()
        day = local.date() if local.time() < self.end else local.date() + timedelta(days=1)
        return datetime.combine(day, self.end).astimezone() - local


@dataclass(frozen=True, slots=True)
class DueChore:
    """One thing to do."""

    chore: Chore
    since: datetime
    """When it became due."""
    overdue: bool
    class_name: str = ""
    """Empty for the whole keyring."""
    version: int = 0
    """The key that it is about; 0 for none."""

    @property
    def command(self) -> str:
        """What does it."""
        return {
            Chore.CREATE: f"sealwire keys create {self.class_name}",
            Chore.REWRAP: "sealwire keys rewrap",
            Chore.ROTATE: f"sealwire keys rotate {self.class_name}",
            Chore.REENCRYPT: moving_command(self.class_name),
            Chore.ENCRYPT: moving_command(self.class_name, from_plaintext=True),
            Chore.DECRYPT: moving_command(self.class_name, to_plaintext=True),
            Chore.DESTROY: f"sealwire keys destroy {self.class_name} {self.version}",
        }[self.chore]


def due_chores(
    record: KeyringRecord, schedule: KeySchedule, now: datetime, policy_classes: Collection[str] | None = None
) -> tuple[DueChore, ...]:
    """All that is due, what concerns the whole keyring first, then in the order of the classes.

    `policy_classes` are those in use: only they are rotated, and each needs an active key. None: all are in
    use. Nothing of `record` is opened, so it need not be authenticated; who acts on the answer does that.
    """
    wanted = None if policy_classes is None else frozenset(policy_classes)
    usable = {entry.name for entry in record.classes if _in_state(entry, KeyState.ACTIVE)}
    return (
        *(DueChore(Chore.CREATE, now, True, name) for name in policy_classes or () if name not in usable),
        *_after(Chore.REWRAP, wrapped_at(record, now), schedule.rewrap_every, now),
        *(chore for entry in record.classes for chore in _of_class(entry, schedule, now, wanted)),
    )


def wrapped_at(record: KeyringRecord, now: datetime) -> datetime:
    """When the keyring was wrapped; of the first format, the earliest time. `now` if it holds nothing."""
    if record.wrapped_at is not None:
        return record.wrapped_at
    return max((key.created for entry in record.classes for key in entry.keys), default=now)


def _of_class(
    entry: ClassRecord, schedule: KeySchedule, now: datetime, wanted: frozenset[str] | None
) -> Iterator[DueChore]:
    pending, active = _in_state(entry, KeyState.PENDING), _in_state(entry, KeyState.ACTIVE)
    is_clear = active is not None and active.is_plaintext
    if pending is not None:
        chore = Chore.DECRYPT if pending.is_plaintext else Chore.ENCRYPT if is_clear else Chore.REENCRYPT
        yield from _after(chore, pending.created, timedelta(0), now, entry.name, pending.version)
    elif active is not None and (wanted is None or entry.name in wanted):
        due = schedule.rotation_due(entry)
        if due is not None:
            yield from _after(Chore.ROTATE, due, timedelta(0), now, entry.name, active.version)
    for key in entry.keys:
        if key.destroy_after is not None and key.destroy_after <= now:
            # never overdue: that a key is kept harms nobody's data
            yield DueChore(Chore.DESTROY, key.destroy_after, False, entry.name, key.version)


def _after(
    chore: Chore,
    begin: datetime,
    every: timedelta | None,
    now: datetime,
    class_name: str = "",
    version: int = 0,
) -> Iterator[DueChore]:
    if every is not None and now >= begin + every:
        since = begin + every
        yield DueChore(chore, since, now >= since + GRACE, class_name, version)


def _in_state(entry: ClassRecord, state: KeyState) -> KeyRecord | None:
    return next((key for key in entry.keys if key.state is state), None)
