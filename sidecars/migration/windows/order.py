"""The order in which the values of a class move: what places and ranges are, whichever form the old one is.

A place is a position (`keys.frontier`), and may be coarser than a value's own: it is then a beginning of it,
and stands before all values that share it. Windows end at places.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import (
    BINARY_HEAD,
    KEY_ID_BYTES,
    OVERHEAD_BYTES,
    SUBTYPE,
    TYPE_OFFSET,
    EnvelopeMode,
    beginning,
    binary,
    context_header,
)
from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, Position, StoredForm
from sealwire.policies.file.schema import Mode, PathNode, PolicySet, covered_fields
from sealwire.sidecars.direct import array, element
from sealwire.sidecars.migration.moves import Move
from sealwire.wire import kinds
from sealwire.wire.raw_bson import enclosed

# -------------------------------------------------------------------- where a deterministic class is stored


@dataclass(frozen=True, slots=True)
class ClassPaths:
    """The covered paths of one class in one collection."""

    namespace: str
    tree: PathNode
    """The policy's tree with these paths only."""
    paths: tuple[str, ...]


def class_paths(policies: PolicySet, namespaces: Iterable[str], class_name: str) -> list[ClassPaths]:
    """Those of a deterministic class in all `namespaces` that have any."""
    found = []
    for namespace in namespaces:
        tree = policies.covered(namespace)
        pruned = None if tree is None else _pruned(tree, class_name)
        if pruned is not None:
            paths = tuple(path for path, _ in covered_fields(pruned))
            found.append(ClassPaths(namespace, pruned, paths))
    return found


def moves_of_paths(found: Iterable[ClassPaths], class_name: str) -> tuple[Move, ...]:
    """The same as a job names them."""
    return tuple(Move(each.namespace, path, class_name) for each in found for path in each.paths)


def _pruned(node: PathNode, class_name: str) -> PathNode | None:
    leaf = node.leaf
    if leaf is not None:
        is_ours = leaf.name == class_name and leaf.mode is Mode.DETERMINISTIC
        return PathNode(node.path, leaf=leaf) if is_ours else None
    below: Mapping[bytes, PathNode | None] = {
        name: _pruned(child, class_name) for name, child in node.children.items()
    }
    children = {name: child for name, child in below.items() if child is not None}
    return PathNode(node.path, children) if children else None


class Range(NamedTuple):
    """Stored values of some types that lie together in an index."""

    types: tuple[int, ...]
    """BSON types that compare with each other. The first one is the class's own."""
    low: StoredForm | None = None
    """The first; None: the first of these types."""
    last: StoredForm | None = None
    """The last one; None: `behind` ends the range."""
    behind: StoredForm | None = None
    """The first one that is not in it any more; None: it ends with these types."""

    @property
    def condition(self) -> bytes:
        """What a search compares the path with, as a BSON document. Cost: O(bytes of the bounds)."""
        parts = []
        if self.low is not None:
            parts.append(element(self.low.kind, b"$gte", self.low.data))
        if self.last is not None:
            parts.append(element(self.last.kind, b"$lte", self.last.data))
        elif self.behind is not None:
            parts.append(element(self.behind.kind, b"$lt", self.behind.data))
        types = ((kinds.INT, kind.to_bytes(4, "little")) for kind in self.types)
        return enclosed(*parts) if parts else enclosed(element(kinds.ARRAY, b"$type", array(types)))


class Reach:
    """How far a search for the next window's end goes: it reads on until it has met enough.

    So it is where nobody knows how old forms are spread.
    """

    def first(self, start: Position) -> Position:
        """Where the first try from `start` ends: behind all that is left."""
        del start
        return AFTER_ALL

    def further(self, begin: Position) -> Position:
        """Where the next one ends, that goes on at `begin`: too little was before it, or the try was cut."""
        return self.first(begin)

    def learn(self, end: Position, places: Sequence[Position]) -> None:
        """Take note of a window's end and of the places that it holds."""


class Order(Protocol):
    """The old forms of one class, as one version of it makes them."""

    def may_be_in(self, raw: bytes) -> bool:
        """Whether a document has to be looked through for old forms; False is certain."""

    def place(self, kind: int, value: bytes) -> Position | None:
        """Where what is stored stands; None for what is no old form."""

    def after(self, place: Position) -> Position:
        """Behind all old forms that share this place."""

    def ranges(self, start: Position, end: Position) -> Iterator[Range]:
        """What holds every old form from `start` to before `end`, in that order, and may hold other values.

        Both are places, or the beginning or end of all.
        """

    def reach(self) -> Reach:
        """For a search that begins now."""


# The order of a class's envelopes, and the ranges by which a server finds what lies between two of them.
#
# A place is coarser than a position (`keys.frontier`): a length, and some bytes behind the class id and the
# version, as a number. So a place stands before all old forms that share it, and can be counted with.
#
# Old forms of one length are spread evenly over it, so the last window's width is a good first try for the
# next one. A try that holds too much is cut; one that holds too little is made longer. Where each context
# has a key they are not: those of one context lie together, by the id of its key. Such a search reads on.

_KEY_BYTES: Final = 9
"""BSON type and half of the SIV: no two values are known to share it, and where two do they move together."""
_LENGTH_BYTES: Final = 4

SHORTEST: Final = OVERHEAD_BYTES[EnvelopeMode.DETERMINISTIC] + 1
LONG: Final = 1 << 20
"""A longer old form has no upper bound in a range: the bound would be as long, in each query."""

_FIRST_SPAN: Final = 64
"""How many lengths a try reaches from the beginning of one."""
_TYPES: Final = (kinds.BIN_DATA,)


class Place(NamedTuple):
    """Compares as the old forms do."""

    length: int
    key: int = 0

    @property
    def after(self) -> "Place":
        """Behind all old forms that share this one."""
        return Place(self.length, self.key + 1)


FIRST: Final = Place(0)
LAST: Final = Place(1 << 31)


@dataclass(frozen=True, slots=True)
class EnvelopeOrder:
    """The envelopes of one class and version, or of all contexts of a class that has a key for each."""

    prefix: bytes
    key_bytes: int = _KEY_BYTES
    """How many bytes behind the prefix a place has."""
    shortest: int = SHORTEST
    is_spread: bool = True
    """Whether those of one length are spread evenly."""

    @classmethod
    def of(cls, old: ValueCipher) -> "EnvelopeOrder":
        """Those that `old` makes."""
        return cls(beginning(*old.named))

    @classmethod
    def of_contexts(cls, class_id: int) -> "EnvelopeOrder":
        """Those of format 2: the id of the context's key stands between the BSON type and the SIV."""
        header = context_header(EnvelopeMode.DETERMINISTIC, class_id, bytes(KEY_ID_BYTES), kinds.STRING)
        return cls(header[:TYPE_OFFSET], _KEY_BYTES + KEY_ID_BYTES, SHORTEST + KEY_ID_BYTES, False)

    @property
    def marker(self) -> bytes:
        """How an old form begins inside a BSON Binary: with the subtype."""
        return bytes((SUBTYPE,)) + self.prefix

    def may_be_in(self, raw: bytes) -> bool:
        return self.marker in raw

    def place(self, kind: int, value: bytes) -> Position | None:
        """As `Order.place`: the beginning of the envelope's position."""
        if kind != kinds.BIN_DATA or not value.startswith(self.marker, _LENGTH_BYTES):
            return None
        content = value[BINARY_HEAD : BINARY_HEAD + self._key_end].ljust(self._key_end, b"\0")
        return (len(value) - BINARY_HEAD).to_bytes(_LENGTH_BYTES, "big") + content

    def after(self, place: Position) -> Position:
        return self.position(self.place_of(place).after)

    def position(self, place: Place) -> Position:
        """As the frontier has it."""
        if place in (FIRST, LAST):
            return BEFORE_ALL if place == FIRST else AFTER_ALL
        return place.length.to_bytes(_LENGTH_BYTES, "big") + self._from(place.key)

    def place_of(self, position: Position) -> Place:
        """The place of a position that `position` or `place` made."""
        if position in (BEFORE_ALL, AFTER_ALL):
            return FIRST if position == BEFORE_ALL else LAST
        key = position[_LENGTH_BYTES + TYPE_OFFSET : _LENGTH_BYTES + self._key_end]
        return Place(int.from_bytes(position[:_LENGTH_BYTES], "big"), int.from_bytes(key, "big"))

    def ranges(self, start: Position, end: Position) -> Iterator[Range]:
        """As `Order.ranges`.

        Each range has one length, or all lengths between its bounds whole. So it is also right where a server
        compares binaries of different lengths by their bytes alone: no old form of the class is missed.
        """
        yield from self._ranges(self.place_of(start), self.place_of(end))

    def reach(self) -> Reach:
        return EnvelopeReach(self) if self.is_spread else Reach()

    def end_of(self, length: int) -> Place:
        """Behind all places of a length that can have a key."""
        return Place(length, 1 << (8 * self.key_bytes))

    @property
    def _key_end(self) -> int:
        return TYPE_OFFSET + self.key_bytes

    def _ranges(self, start: Place, end: Place) -> Iterator[Range]:
        if end <= start:
            return
        length = max(start.length, self.shortest)
        if start.key and start.length >= self.shortest:
            if start.length == end.length:
                yield _range(self._low(start), self._below(end))
                return
            yield _range(self._low(start), self._top(start.length))
            length += 1
        if length < end.length:
            last = end.length - 1
            yield _range(self._low(Place(length)), self._top(last) if last <= LONG else None)
        if end.key and end.length >= length:
            yield _range(self._low(Place(end.length)), self._below(end))

    def _from(self, key: int) -> bytes:
        return self.prefix + key.to_bytes(self.key_bytes, "big")

    def _low(self, place: Place) -> bytes:
        return self._from(place.key).ljust(place.length, b"\0")

    def _below(self, end: Place) -> bytes:
        return self._from(end.key - 1).ljust(end.length, b"\xff")

    def _top(self, length: int) -> bytes:
        return self.prefix.ljust(length, b"\xff")


def _range(low: bytes, high: bytes | None) -> Range:
    if high is None:
        return Range(_TYPES, _stored(low))
    # the next one of its length
    behind = (int.from_bytes(high, "big") + 1).to_bytes(len(high), "big")
    return Range(_TYPES, _stored(low), _stored(high), _stored(behind))


def _stored(envelope: bytes) -> StoredForm:
    return StoredForm(kinds.BIN_DATA, binary(envelope))


class EnvelopeReach(Reach):
    """Tries as wide as the last window was, and wider ones after them."""

    def __init__(self, order: EnvelopeOrder) -> None:
        self._order = order
        self._width = 0
        """How wide the last window was, within one length."""
        self._span = _FIRST_SPAN

    def first(self, start: Position) -> Position:
        self._span = _FIRST_SPAN
        place = self._order.place_of(start)
        end = self._within(place) if place.key and self._width else _further(place, self._span)
        return self._order.position(end)

    def further(self, begin: Position) -> Position:
        place = self._order.place_of(begin)
        if place.key:
            self._width *= 2
            return self._order.position(self._within(place))
        self._span *= 2
        return self._order.position(_further(place, self._span))

    def learn(self, end: Position, places: Sequence[Position]) -> None:
        place = self._order.place_of(end)
        keys = [each.key for each in map(self._order.place_of, places) if each.length == place.length]
        if keys:
            self._width = place.key - min(keys)

    def _within(self, start: Place) -> Place:
        """As wide as the last window, within its length; all of it where there was none."""
        if not self._width:
            return Place(start.length + 1)
        end = Place(start.length, start.key + self._width)
        return end if end < self._order.end_of(start.length) else Place(start.length + 1)


def _further(begin: Place, span: int) -> Place:
    """The beginning of a length, `span` lengths on."""
    length = max(begin.length, SHORTEST) + span
    return LAST if length > LONG else Place(length)
