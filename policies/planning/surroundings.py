"""What a pipeline may refer to beside its own documents: other collections, and where it names them."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode

Namespace = tuple[str, str]
"""Database and collection."""


class ForeignNames:
    """What was found between two offsets of a buffer, in rising order of where it stands.

    A pipeline is searched once. Stages inside stages look their own part of it up here: to search each part
    again at every level would cost the square of the nesting.
    """

    __slots__ = ("_end", "_found", "_start")

    def __init__(self, start: int, end: int) -> None:
        self._start = start
        self._end = end
        self._found: list[tuple[int, Namespace | None]] = []

    def add(self, offset: int, namespace: Namespace | None) -> None:
        """A stage at `offset` names a collection; None where a lax server could read a name."""
        self._found.append((offset, namespace))

    def spans(self, start: int, end: int) -> bool:
        """Whether all of this part was searched."""
        return self._start <= start and end <= self._end

    def within(self, start: int, end: int) -> Iterator[Namespace]:
        """Those that stand in this part. Raises Refusal(SHAPE) at one that nobody can tell.

        Cost: O(log names) and O(1) for each.
        """
        for offset, namespace in islice(self._found, bisect_left(self._found, (start,)), None):
            if offset >= end:
                return
            if namespace is None:
                raise Refusal(Reason.SHAPE, rule="a collection that is not named by a string")
            yield namespace


def _nothing(namespace: str) -> PathNode | None:
    del namespace
    return None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The collections and views that a command can name, and the database in which it runs."""

    covered: Callable[[str], PathNode | None]
    """The covered paths of what is read under a name, of a collection or a view; None when nothing is."""
    database: str
    stored: Callable[[str], PathNode | None] = _nothing
    """The same of a collection by the policy alone. What is read under a name is stored as it is there if
    both are the very same tree."""

    def tree(self, namespace: Namespace) -> PathNode:
        """The covered paths of a collection that a stage names; empty when it is not protected."""
        return self.covered(".".join(namespace)) or NOTHING

    def protected_in(self, namespaces: Iterable[Namespace]) -> str | None:
        """The first of some namespaces that is protected."""
        names = (".".join(namespace) for namespace in namespaces)
        return next((name for name in names if self.covered(name) is not None), None)


NO_SURROUNDINGS: Final = Surroundings(_nothing, "")
"""What surrounds a command without a pipeline."""
