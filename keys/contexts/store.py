"""What a store of context keys can do. It never sees a context or a key in clear."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol

from sealwire.keys.errors import KekUnavailable, KeySettingError, KeysReason

# -------------------- what a store keeps of the key of one context. The context itself stands nowhere in it

TAG_BYTES = 16

CLASS_TAG = bytes(TAG_BYTES)
"""The tag of a class's own row, whose key makes the tags of all its contexts."""


@dataclass(frozen=True, slots=True)
class ContextRow:
    """The key of one context, wrapped. Shows ids, never material."""

    key_id: bytes
    """16 random bytes. Every envelope of the context has them, and they say nothing about it."""
    class_id: int
    tag: bytes | None = field(repr=False)
    """16 bytes that only a holder of the class's key can make of the context; CLASS_TAG for the class's own
    row; None once another key may take the place of this one, which was destroyed."""
    wrap_version: int
    """The version of the class's key that wraps it."""
    wrapped: bytes | None = field(repr=False)
    """None exactly when destroyed."""
    created: datetime
    """UTC, whole seconds."""
    shred_after: datetime | None = None
    """When it may be destroyed, if that was announced."""
    destroyed: datetime | None = None
    """When it was."""

    @property
    def is_destroyed(self) -> bool:
        """Whether the key is gone."""
        return self.wrapped is None


def parse_moment(text: object) -> datetime:
    """A time as a store has it, in UTC. Raises ValueError for what is none."""
    if not isinstance(text, str):
        raise ValueError("not a time")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:
        raise ValueError("not a time that there is") from None


# The mark of a store of context keys that moves to another place, or that keys are moved into.
#
# Who has a store open does not learn of the move by itself. So the mark stands in the store, and every
# store sees to it: from the moment it is left, no row is made or changed there, and what is not there is
# not said to be nowhere, since the other place may have it. One that is being filled is opened by nobody
# but the mover.


class MarkKind(Enum):
    """How a store takes part in a move; one without a mark is in use."""

    ARRIVING = "arriving"
    """Keys are moved into it, and not all are there."""
    LEAVING = "leaving"
    """Its keys are on their way. It may be taken back."""
    LEFT = "left"
    """All of them are at the other place, which is in use."""


@dataclass(frozen=True, slots=True)
class StoreMark:
    """What a store says of its move."""

    kind: MarkKind
    other: str
    """The other place, as a setting would name it."""
    token: str = ""
    """Which move it is: one that was called off does not end a later one."""

    def names(self, kind: MarkKind, other: str) -> bool:
        """Whether it is one of this kind, for this place."""
        return (self.kind, self.other) == (kind, other)

    @property
    def is_closed(self) -> bool:
        """Whether no row may be made or changed any more."""
        return self.kind is not MarkKind.ARRIVING


def require_usable(place: str, mark: StoreMark | None) -> None:
    """For whoever opens a store to use it. Raises KekUnavailable CONTEXTS, KeySettingError CONTEXTS."""
    if mark is None or mark.kind is MarkKind.LEAVING:
        return
    if mark.kind is MarkKind.ARRIVING:
        raise KekUnavailable(
            KeysReason.CONTEXTS,
            f"{place}: keys are being moved here from {mark.other}, and not all have arrived",
            f"go on: sealwire keys move-contexts --contexts {mark.other} --to {place}",
        )
    raise KeySettingError(
        KeysReason.CONTEXTS,
        f"{place}: its keys were moved to {mark.other}",
        f"set keys.contexts to {mark.other}",
    )


def closed(place: str, mark: StoreMark) -> KekUnavailable:
    """What is said where a marked store does not have, or may not keep, what was asked of it."""
    if not mark.is_closed:
        return KekUnavailable(
            KeysReason.CONTEXTS,
            f"{place}: keys are being moved here from {mark.other}",
            "wait for the end of the move",
        )
    return KekUnavailable(
        KeysReason.CONTEXTS,
        f"{place}: its keys move to {mark.other}, and none is made or changed here any more",
        f"when the move is over, set keys.contexts to {mark.other} and restart",
    )


@dataclass(frozen=True, slots=True)
class ContextCount:
    """How many contexts of a class there are."""

    live: int
    announced: int
    """Among the live ones: those whose destruction was announced."""
    destroyed: int
    wrapped_by: dict[int, int]
    """How many keys each version of the class's key wraps, the class's own row among them."""


class ContextStore(Protocol):
    """Keeps rows. Safe to share between threads. `str` names it in messages.

    Every method raises KekUnavailable CONTEXTS where the store does not answer, DamagedFile where it is not
    what Sealwire wrote. What `create` returned is on disk. A store that moves to another place (`mark`)
    raises KekUnavailable CONTEXTS for what is to be made or changed, or is not there; not to the mover.
    """

    def find(self, class_id: int, tags: Sequence[bytes]) -> list[ContextRow]:
        """The rows of a class with these tags, as far as there are any, in any order."""

    def find_ids(self, key_ids: Sequence[bytes]) -> list[ContextRow]:
        """The rows of these keys, as far as there are any, in any order."""

    def create(self, rows: Sequence[ContextRow]) -> list[ContextRow]:
        """Keep each row unless its class has one with its tag; the rows that then stand, in any order."""

    def replace(self, old: ContextRow, new: ContextRow) -> bool:
        """Put `new` where exactly `old` stands, with the same key id; False where something else does.

        A row that is destroyed by this is overwritten, and `destroyed_after` tells of it.
        """

    def destroyed_after(self, mark: int) -> tuple[int, list[bytes]]:
        """The ids of the keys destroyed since `mark`, which an earlier call gave, and the next mark.

        With a mark below zero no ids, and the mark of now.
        """

    def classes(self) -> list[int]:
        """The ids of the classes that have rows, in rising order."""

    def size(self) -> int:
        """How many rows there are, or a few more, for a bar. Cost: O(rows), without reading them."""

    def adopt(self, rows: Sequence[ContextRow]) -> list[ContextRow]:
        """Keep rows of another store as they are: destroyed ones, told of by `destroyed_after`, too.

        May be repeated. Gives the rows that stand in the way, in any order: different ones of the same id
        or context.
        """

    def mark(self) -> StoreMark | None:
        """What the store says of its move."""

    def set_mark(self, old: StoreMark | None, new: StoreMark | None) -> bool:
        """Put a mark where exactly `old` stands; False where something else does.

        Others heed a closing mark `closing_s` later at the latest: what they make until then stands.
        """

    @property
    def closing_s(self) -> float:
        """See `set_mark`. Seconds."""

    def count(self, class_id: int) -> ContextCount:
        """How many there are. Cost: O(rows of the class)."""

    def rows(self, class_id: int, after: bytes, limit: int) -> list[ContextRow]:
        """At most so many rows of a class whose key ids are above `after`, in rising order."""

    def has_bytes(self, wrapped: bytes) -> bool | None:
        """Whether these bytes of a wrapped key lie where the store lies; None where nobody can look."""

    def close(self) -> None:
        """Let go of it."""


def every_row(store: ContextStore, class_id: int, batch: int = 1000) -> Iterator[ContextRow]:
    """All rows of a class. Memory: one batch."""
    after = b""
    while found := store.rows(class_id, after, batch):
        yield from found
        after = found[-1].key_id
