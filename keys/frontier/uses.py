"""What one proxy has under way that relies on where a class's values are, and what it may say to the job.

A use is a command, with the cursor that it leaves open; or a transaction, with all its commands. It names
the values that it looks for or writes, or any (None): a `$group`, a copy inside the server. While it lasts,
no window that it meets may move. So:

- `begin` turns a use away that meets the open window; it comes again when a later frontier is known.
- `acknowledged` is the generation of the newest frontier, once nothing is under way that meets its window.

What meets a window waits from the moment it is known, so the job is not starved; and a window is short. Where
a use does not end because its client waits for the window, the job withdraws it.
"""

from collections.abc import Iterable
from typing import NewType, final

from sealwire.keys.frontier.frontier import Frontier, Position

UseId = NewType("UseId", int)


class WindowMet(Exception):
    """A command uses values that move at this moment: it waits for the window to close."""


class LeaseAwaited(WindowMet):
    """A command relies on where values are, and nobody knows right now whether a class moves: it waits."""


class FrontierLost(Exception):
    """A class moves, and how far is not known: nobody can say which form of a value is valid."""


class TransactionLost(FrontierLost):
    """The same, of what a transaction has done: it cannot be committed."""


class SnapshotOutdated(Exception):
    """A value has moved since a transaction began, which still reads the form of before."""


class CursorOutdated(Exception):
    """A cursor was opened before values moved: it cannot be read on and answer rightly."""


@final
class Uses:
    """The uses of one class by one proxy. All methods are for one thread."""

    def __init__(self, frontier: Frontier) -> None:
        self._frontier = frontier
        self._under_way: dict[UseId, frozenset[Position] | None] = {}
        self._last = 0

    @property
    def frontier(self) -> Frontier:
        """The newest that is known."""
        return self._frontier

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._under_way

    def observe(self, frontier: Frontier) -> None:
        """Take a frontier that was read. An older one than is known changes nothing."""
        if frontier.generation > self._frontier.generation:
            self._frontier = frontier

    def begin(self, positions: Iterable[Position] | None) -> UseId | None:
        """A use of the values at these positions, None for any; it lasts until `end`. None: wait.

        Cost: O(positions).
        """
        held = None if positions is None else frozenset(positions)
        if self._frontier.window.meets(held):
            return None
        self._last += 1
        use = UseId(self._last)
        self._under_way[use] = held
        return use

    def adopt(self) -> UseId:
        """A use of any value that began before the class was followed, so that nobody asked for it."""
        self._last += 1
        use = UseId(self._last)
        self._under_way[use] = None
        return use

    def end(self, use: UseId) -> None:
        """The use is over: its last reply was read, or the server can no longer be at work on it."""
        self._under_way.pop(use, None)

    def met(self) -> tuple[UseId, ...]:
        """What is under way and meets the open window: what the job waits for. Cost: O(all positions)."""
        window = self._frontier.window
        return tuple(use for use, held in self._under_way.items() if window.meets(held))

    def acknowledged(self) -> int | None:
        """The generation whose window may move for all this proxy does; None while something meets it."""
        return None if self.met() else self._frontier.generation
