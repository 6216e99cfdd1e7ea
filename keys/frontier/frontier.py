"""Where the move of a class stands: which form of a value is the valid one, and which values move right now.

Values move in the order of their old form, in windows. Everything before the window has its new form only,
everything behind it its old one only. A value in the window has either; nobody may ask for it or write it.

A window is opened, then moves, then is closed. Until it moves all its values have their old form, and it may
be withdrawn: when what is under way does not end, because it waits for something that the window holds up.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from sealwire.crypto.envelope import MAX_ID

_LENGTH_BYTES: Final = 4

Position = bytes
"""A place in the order of old forms. Positions compare as bytes."""

BEFORE_ALL: Final = b""
AFTER_ALL: Final = b"\xff"
"""No old form is long enough to stand there: a length begins with a zero byte."""


FIRST_GENERATION: Final = 1
"""The generation of a move that nothing is written of. A proxy that acknowledges it has the new version."""


def position_of(envelope: bytes) -> Position:
    """Where an old form stands: by length, then by bytes, as MongoDB sorts binary data of one subtype.

    Cost: O(n), one copy. Source: MongoDB's manual, "BSON comparison order", binary data.
    """
    return len(envelope).to_bytes(_LENGTH_BYTES, "big") + envelope


class Form(Enum):
    """In which of its two forms a value is stored."""

    OLD = "old"
    NEW = "new"
    MOVING = "moving"
    """In either: its window is open."""


@dataclass(frozen=True, slots=True)
class Window:
    """The values from `start` up to `end`, which is not one of them. Empty where both are the same."""

    start: Position
    end: Position

    def __post_init__(self) -> None:
        """Raises ValueError for an end before the start."""
        if self.end < self.start:
            raise ValueError("a window that ends before it starts")

    @property
    def is_empty(self) -> bool:
        """Whether no value can lie in it."""
        return self.start == self.end

    def holds(self, position: Position) -> bool:
        """Whether the value at `position` moves with this window."""
        return self.start <= position < self.end

    def meets(self, positions: Iterable[Position] | None) -> bool:
        """Whether one of these values moves with this window; None stands for any value of the class."""
        return not self.is_empty if positions is None else any(map(self.holds, positions))


@dataclass(frozen=True, slots=True)
class Frontier:
    """How far the move of one class has come. A later one has a higher generation."""

    class_id: int
    old_version: int
    new_version: int
    generation: int = FIRST_GENERATION
    window: Window = Window(BEFORE_ALL, BEFORE_ALL)
    is_moving: bool = False
    """Whether values of the window may have their new form already."""
    walked: frozenset[bytes] | None = frozenset()
    """The first fields of the indexes in which a path of the class stands beside others; None: not known.

    A scan of such an index, which a condition or a sort of its first field leads to, may miss a document or
    meet it twice while a value of it moves.
    """

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no frontier has."""
        ids = (self.class_id, self.old_version, self.new_version)
        if not all(0 < number <= MAX_ID for number in ids) or self.generation < FIRST_GENERATION:
            raise ValueError("an id, a version or a generation out of range")
        if self.old_version >= self.new_version:
            raise ValueError("a class moves to a later version")
        if self.is_moving and self.window.is_empty:
            raise ValueError("nothing moves without a window")

    @property
    def has_begun(self) -> bool:
        """Whether a value may have its new form, or may soon."""
        return self.window != Window(BEFORE_ALL, BEFORE_ALL)

    @property
    def is_over(self) -> bool:
        """Whether every value has its new form."""
        return self.window.start == AFTER_ALL

    def form(self, position: Position) -> Form:
        """The form of the value whose old form stands at `position`. Cost: two comparisons."""
        if position < self.window.start:
            return Form.NEW
        return Form.MOVING if self.window.holds(position) else Form.OLD

    def walks_more_than(self, other: "Frontier") -> bool:
        """Whether an index is walked that was not, for all that `other` knew."""
        return other.walked is not None and (self.walked is None or not self.walked <= other.walked)

    def opened(self, end: Position) -> "Frontier":
        """The next one: its window reaches from where the last one closed to `end`.

        Raises ValueError while a window is open, and for an end that is no later than its start.
        """
        if not self.window.is_empty or end <= self.window.start:
            raise ValueError("a window is open already, or would be empty")
        return self._next(Window(self.window.start, end))

    def moving(self) -> "Frontier":
        """The next one, when all proxies have acknowledged the window. Raises ValueError if it moves."""
        if self.is_moving:
            raise ValueError("the window moves already")
        return self._next(self.window, is_moving=True)

    def closed(self) -> "Frontier":
        """The next one, when every value of the window has its new form. Raises ValueError if none moves."""
        if not self.is_moving:
            raise ValueError("no window moves")
        return self._next(Window(self.window.end, self.window.end))

    def withdrawn(self) -> "Frontier":
        """The next one, without the window that has not moved yet. Raises ValueError if there is none."""
        if self.window.is_empty or self.is_moving:
            raise ValueError("no window can be withdrawn")
        return self._next(Window(self.window.start, self.window.start))

    def _next(self, window: Window, *, is_moving: bool = False) -> "Frontier":
        return replace(self, generation=self.generation + 1, window=window, is_moving=is_moving)
