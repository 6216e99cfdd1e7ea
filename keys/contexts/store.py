"""What a store of context keys can do. It never sees a context or a key in clear."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sealwire.keys.contexts.mark import StoreMark
from sealwire.keys.contexts.row import ContextRow


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
        ...

    def find_ids(self, key_ids: Sequence[bytes]) -> list[ContextRow]:
        """The rows of these keys, as far as there are any, in any order."""
        ...

    def create(self, rows: Sequence[ContextRow]) -> list[ContextRow]:
        """Keep each row unless its class has one with its tag; the rows that then stand, in any order."""
        ...

    def replace(self, old: ContextRow, new: ContextRow) -> bool:
        """Put `new` where exactly `old` stands, with the same key id; False where something else does.

        A row that is destroyed by this is overwritten, and `destroyed_after` tells of it.
        """
        ...

    def destroyed_after(self, mark: int) -> tuple[int, list[bytes]]:
        """The ids of the keys destroyed since `mark`, which an earlier call gave, and the next mark.

        With a mark below zero no ids, and the mark of now.
        """
        ...

    def classes(self) -> list[int]:
        """The ids of the classes that have rows, in rising order."""
        ...

    def size(self) -> int:
        """How many rows there are, or a few more, for a bar. Cost: O(rows), without reading them."""
        ...

    def adopt(self, rows: Sequence[ContextRow]) -> list[ContextRow]:
        """Keep rows of another store as they are: destroyed ones, told of by `destroyed_after`, too.

        May be repeated. Gives the rows that stand in the way, in any order: different ones of the same id
        or context.
        """
        ...

    def mark(self) -> StoreMark | None:
        """What the store says of its move."""
        ...

    def set_mark(self, old: StoreMark | None, new: StoreMark | None) -> bool:
        """Put a mark where exactly `old` stands; False where something else does.

        Others heed a closing mark `closing_s` later at the latest: what they make until then stands.
        """
        ...

    @property
    def closing_s(self) -> float:
        """See `set_mark`. Seconds."""
        ...

    def count(self, class_id: int) -> ContextCount:
        """How many there are. Cost: O(rows of the class)."""
        ...

    def rows(self, class_id: int, after: bytes, limit: int) -> list[ContextRow]:
        """At most so many rows of a class whose key ids are above `after`, in rising order."""
        ...

    def has_bytes(self, wrapped: bytes) -> bool | None:
        """Whether these bytes of a wrapped key lie where the store lies; None where nobody can look."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def every_row(store: ContextStore, class_id: int, batch: int = 1000) -> Iterator[ContextRow]:
    """All rows of a class. Memory: one batch."""
    after = b""
    while found := store.rows(class_id, after, batch):
        yield from found
        after = found[-1].key_id
