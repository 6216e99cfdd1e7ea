"""The collections that part of a command names beside its own, each with the place where it stands."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from sealwire.policies.errors import Reason, Refusal

Namespace = tuple[str, str]
"""Database and collection."""

_UNKNOWN: Final = "a collection that is not named by a string"


class ForeignNames:
    """What was found between two offsets of a buffer, in rising order of where it stands.

    A pipeline is searched once. Stages inside stages look their own part of it up here: to search each part
    again at every level would cost the square of the nesting.
    """

    __slots__ = ("_end", "_namespaces", "_offsets", "_start")

    def __init__(self, start: int, end: int) -> None:
        self._start = start
        self._end = end
        self._offsets: list[int] = []
        self._namespaces: list[Namespace | None] = []

    def add(self, offset: int, namespace: Namespace | None) -> None:
        """A stage at `offset` names a collection; None where a lax server could read a name."""
        self._offsets.append(offset)
        self._namespaces.append(namespace)

    def spans(self, start: int, end: int) -> bool:
        """Whether all of this part was searched."""
        return self._start <= start and end <= self._end

    def within(self, start: int, end: int) -> Iterator[Namespace]:
        """Those that stand in this part. Raises Refusal(SHAPE) at one that nobody can tell.

        Cost: O(log names) and O(1) for each.
        """
        at = bisect_left(self._offsets, start)
        while at < len(self._offsets) and self._offsets[at] < end:
            namespace = self._namespaces[at]
            if namespace is None:
                raise Refusal(Reason.SHAPE, rule=_UNKNOWN)
            yield namespace
            at += 1
