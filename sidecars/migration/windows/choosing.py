"""Finds where the next window ends, so that it holds about as many documents as are wanted.

Old forms of one length are spread evenly over it, so the last window's width is a good first try for the next
one. A try that holds too much is cut; one that holds too little is made longer. What is read on the way is
what the window moves first. That a window holds just so many is for speed only: it moves whatever is in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.migration.patches import identity_of
from sealwire.sidecars.migration.windows.paths import LENGTH_BYTES, ClassPaths
from sealwire.sidecars.migration.windows.places import LAST, LONG, SHORTEST, Order, Place
from sealwire.sidecars.migration.windows.server import BATCH_BYTES, Values
from sealwire.wire import kinds

_FIRST_SPAN: Final = 64
"""How many lengths a try reaches from the beginning of one."""

Key = tuple[str, bytes]
"""Namespace and the element `_id` of a document."""


class Chosen(NamedTuple):
    """The next window's end, and documents that it holds, by namespace: not all of them where it is large."""

    end: Place
    documents: Mapping[str, Sequence[bytes]]


class _Met(NamedTuple):
    place: Place
    """Where its first old form in the range stands."""
    raw: bytes


@dataclass(slots=True)
class _Found:
    """What a try has read."""

    met: dict[Key, _Met] = field(default_factory=dict)
    cut: Place | None = None
    """The try held more than was wanted; up to here it holds as many, and everything there was read."""
    middle: Place | None = None
    """As `cut`, but the server did not answer in order: this is only somewhere in the middle."""


class Chooser:
    """Chooses one window after the other."""

    def __init__(self, values: Values, order: Order) -> None:
        self._values = values
        self._order = order
        self._width = 0
        """How wide the last window was, within one length."""

    def choose(self, places: Sequence[ClassPaths], start: Place, wanted: int) -> Chosen:
        """The end of a window from `start`. Cost: about `wanted` documents a path, read and kept."""
        met: dict[Key, _Met] = {}
        begin, end, span = start, self._first_end(start), _FIRST_SPAN
        while True:
            found = self._read(places, begin, end, wanted)
            shorter = min((each for each in (found.cut, found.middle) if each is not None), default=end)
            is_cut = found.cut is not None or found.middle is not None
            if shorter < end:
                end = shorter
                if found.middle is not None:
                    continue
            met |= {key: each for key, each in found.met.items() if each.place < end}
            if is_cut or len(met) * 2 >= wanted or end == LAST:
                break
            begin = end
            if begin.key:
                self._width *= 2
                end = self._within(begin)
            else:
                span *= 2
                end = _further(begin, span)
        self._learn(end, [each.place for each in met.values()])
        documents: dict[str, list[bytes]] = {}
        for (namespace, _), each in met.items():
            documents.setdefault(namespace, []).append(each.raw)
        return Chosen(end, documents)

    def _first_end(self, start: Place) -> Place:
        return self._within(start) if start.key and self._width else _further(start, _FIRST_SPAN)

    def _within(self, start: Place) -> Place:
        """As wide as the last window, within its length; all of it where there was none."""
        if not self._width:
            return Place(start.length + 1)
        end = Place(start.length, start.key + self._width)
        return end if end < self._order.end_of(start.length) else Place(start.length + 1)

    def _learn(self, end: Place, places: list[Place]) -> None:
        keys = [each.key for each in places if each.length == end.length]
        if keys:
            self._width = end.key - min(keys)

    def _read(self, places: Sequence[ClassPaths], start: Place, end: Place, wanted: int) -> _Found:
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

    def _cut(self, found: _Found, places: list[Place]) -> None:
        if all(one <= other for one, other in pairwise(places)):
            # the last place may go on in documents that were not read; the one before it does not
            last = places[-1] if places[-1] > places[0] else places[-1].after
            found.cut = last if found.cut is None else min(found.cut, last)
        else:
            middle = sorted(places)[len(places) // 2].after
            found.middle = middle if found.middle is None else min(found.middle, middle)

    def _read_path(
        self, where: ClassPaths, path: str, bounds: tuple[Place, Place], wanted: int
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


def old_places(raw: bytes, where: ClassPaths, order: Order, path: str | None = None) -> Iterator[Place]:
    """Where the old forms of a document stand; those at one path, or all. Raises BsonError."""
    walk = StoredValues(raw, where.tree)
    while walk.next_value():
        is_old = walk.kind == kinds.BIN_DATA and raw.startswith(order.marker, walk.value + LENGTH_BYTES)
        if is_old and path in (None, walk.node.path):
            yield order.place(raw[walk.value + LENGTH_BYTES + 1 : walk.end])


def _further(begin: Place, span: int) -> Place:
    """The beginning of a length, `span` lengths on."""
    length = max(begin.length, SHORTEST) + span
    return LAST if length > LONG else Place(length)


def has_form(raw: bytes, where: ClassPaths, order: Order) -> bool:
    """Whether a document has any form of this order at the class's paths. Raises BsonError."""
    return order.marker in raw and next(old_places(raw, where, order), None) is not None
