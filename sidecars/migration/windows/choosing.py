"""Finds where the next window ends, so that it holds about as many documents as are wanted.

What is read on the way is what the window moves first. That a window holds just so many is for speed only: it
moves whatever is in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from sealwire.keys.frontier.frontier import AFTER_ALL, Position
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.migration.server import BATCH_BYTES
from sealwire.sidecars.migration.windows.order import ClassPaths, Order
from sealwire.sidecars.migration.windows.server import Values
from sealwire.sidecars.raw_documents import identity_of

Key = tuple[str, bytes]
"""Namespace and the element `_id` of a document."""


class Chosen(NamedTuple):
    """The next window's end, and documents that it holds, by namespace: not all of them where it is large."""

    end: Position
    documents: Mapping[str, Sequence[bytes]]


class _Met(NamedTuple):
    place: Position
    """Where its first old form in the range stands."""
    raw: bytes


@dataclass(slots=True)
class _Found:
    """What a try has read."""

    met: dict[Key, _Met] = field(default_factory=dict)
    cut: Position | None = None
    """The try held more than was wanted; up to here it holds as many, and everything there was read."""
    middle: Position | None = None
    """As `cut`, but the server did not answer in order: this is only somewhere in the middle."""


class Chooser:
    """Chooses one window after the other."""

    def __init__(self, values: Values, order: Order) -> None:
        self._values = values
        self._order = order
        self._reach = order.reach()

    def choose(self, places: Sequence[ClassPaths], start: Position, wanted: int) -> Chosen:
        """The end of a window from `start`. Cost: about `wanted` documents a path, read and kept."""
        met: dict[Key, _Met] = {}
        begin, end = start, self._reach.first(start)
        while True:
            found = self._read(places, begin, end, wanted)
            shorter = min((each for each in (found.cut, found.middle) if each is not None), default=end)
            is_cut = found.cut is not None or found.middle is not None
            if shorter < end:
                end = shorter
                if found.middle is not None:
                    continue
            met |= {key: each for key, each in found.met.items() if each.place < end}
            if is_cut or len(met) * 2 >= wanted or end == AFTER_ALL:
                break
            begin, end = end, self._reach.further(end)
        if len(met) > wanted:
            # each path gave as many as are wanted of all together, and so did each try
            in_order = sorted(each.place for each in met.values())
            end = min(end, self._end_behind(in_order[: wanted + 1]))
            met = {key: each for key, each in met.items() if each.place < end}
        self._reach.learn(end, [each.place for each in met.values()])
        documents: dict[str, list[bytes]] = {}
        for (namespace, _), each in met.items():
            documents.setdefault(namespace, []).append(each.raw)
        return Chosen(end, documents)

    def _read(self, places: Sequence[ClassPaths], start: Position, end: Position, wanted: int) -> _Found:
        found = _Found()
        for each in places:
            for path in each.paths:
                met, is_whole = self._read_path(each, path, (start, end), wanted)
                for one in met:
                    key = each.namespace, identity_of(one.raw)
                    before = found.met.get(key)
                    found.met[key] = one if before is None or one.place < before.place else before
                if not is_whole:
                    self._cut(found, [one.place for one in met])
        return found

    def _cut(self, found: _Found, places: list[Position]) -> None:
        if all(one <= other for one, other in pairwise(places)):
            # the last place may go on in documents that were not read; the one before it does not
            last = self._end_behind(places)
            found.cut = last if found.cut is None else min(found.cut, last)
        else:
            middle = self._order.after(sorted(places)[len(places) // 2])
            found.middle = middle if found.middle is None else min(found.middle, middle)

    def _end_behind(self, places: list[Position]) -> Position:
        """Where the last of these begins, which are in order; behind it where all are one."""
        return places[-1] if places[-1] > places[0] else self._order.after(places[-1])

    def _read_path(
        self, where: ClassPaths, path: str, bounds: tuple[Position, Position], wanted: int
    ) -> tuple[list[_Met], bool]:
        """Documents with an old form at this path, and whether they are all."""
        met: list[_Met] = []
        size = 0
        for within in self._order.ranges(*bounds):
            for raw in self._values.between(where.namespace, path, within):
                places = old_places(raw, where, self._order, path)
                mine = [each for each in places if bounds[0] <= each < bounds[1]]
                if not mine:
                    continue
                if len(met) >= wanted or size >= BATCH_BYTES:
                    return met, False
                met.append(_Met(min(mine), raw))
                size += len(raw)
        return met, True


def old_places(raw: bytes, where: ClassPaths, order: Order, path: str) -> Iterator[Position]:
    """Where the old forms that a document has at a path stand. Raises BsonError."""
    walk = StoredValues(raw, where.tree)
    while walk.next_value():
        if path == walk.node.path:
            place = order.place(walk.kind, raw[walk.value : walk.end])
            if place is not None:
                yield place
