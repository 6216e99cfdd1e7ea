"""The order of a class's envelopes, and the ranges by which a server finds what lies between two of them.

A place is coarser than a position (`keys.frontier`): a length, and some bytes behind the class id and the
version, as a number. So a place stands before all old forms that share it, and can be counted with.

Old forms of one length are spread evenly over it, so the last window's width is a good first try for the next
one. A try that holds too much is cut; one that holds too little is made longer. Where each context has a key
they are not: those of one context lie together, by the id of its key. Such a search reads on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

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
from sealwire.sidecars.migration.windows.order import Range, Reach
from sealwire.wire import kinds

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
        """As `Order.may_be_in`."""
        return self.marker in raw

    def place(self, kind: int, value: bytes) -> Position | None:
        """As `Order.place`: the beginning of the envelope's position."""
        if kind != kinds.BIN_DATA or not value.startswith(self.marker, _LENGTH_BYTES):
            return None
        content = value[BINARY_HEAD : BINARY_HEAD + self._key_end].ljust(self._key_end, b"\0")
        return (len(value) - BINARY_HEAD).to_bytes(_LENGTH_BYTES, "big") + content

    def after(self, place: Position) -> Position:
        """As `Order.after`."""
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
        """As `Order.reach`."""
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
        """As `Reach.first`."""
        self._span = _FIRST_SPAN
        place = self._order.place_of(start)
        end = self._within(place) if place.key and self._width else _further(place, self._span)
        return self._order.position(end)

    def further(self, begin: Position) -> Position:
        """As `Reach.further`."""
        place = self._order.place_of(begin)
        if place.key:
            self._width *= 2
            return self._order.position(self._within(place))
        self._span *= 2
        return self._order.position(_further(place, self._span))

    def learn(self, end: Position, places: Sequence[Position]) -> None:
        """As `Reach.learn`."""
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
