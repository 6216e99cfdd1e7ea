"""Places in the order of a class's old forms, and the ranges by which a server finds what lies between two.

A place is coarser than a position (`keys.frontier`): a length, and the nine bytes behind the class id and the
version, as a number. So a place stands before all old forms that share it, and can be counted with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import OVERHEAD_BYTES, SUBTYPE, EnvelopeHeader, EnvelopeMode, serialize_header
from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, Position
from sealwire.wire import kinds

_PREFIX_BYTES: Final = 12
"""Magic, format, mode, class id and key version: what the old forms of a class have in common."""
_KEY_BYTES: Final = 9
"""BSON type and half of the SIV: no two values are known to share it, and where two do they move together."""
_KEY_END: Final = _PREFIX_BYTES + _KEY_BYTES
_LENGTH_BYTES: Final = 4

SHORTEST: Final = OVERHEAD_BYTES[EnvelopeMode.DETERMINISTIC] + 1
LONG: Final = 1 << 20
"""A longer old form has no upper bound in a range: the bound would be as long, in each query."""


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


class Range(NamedTuple):
    """Binaries from `low` to `high`, both among them; None: all that the server sorts behind `low`."""

    low: bytes
    high: bytes | None


@dataclass(frozen=True, slots=True)
class Order:
    """The old forms of one class."""

    prefix: bytes

    @classmethod
    def of(cls, old: ValueCipher) -> "Order":
        """Those that `old` makes."""
        header = EnvelopeHeader(EnvelopeMode.DETERMINISTIC, old.class_id, old.key_version, kinds.STRING)
        return cls(serialize_header(header)[:_PREFIX_BYTES])

    @property
    def marker(self) -> bytes:
        """How an old form begins inside a BSON Binary: with the subtype."""
        return bytes((SUBTYPE,)) + self.prefix

    def place(self, envelope: bytes) -> Place:
        """Where an old form stands."""
        return Place(len(envelope), int.from_bytes(envelope[_PREFIX_BYTES:_KEY_END], "big"))

    def position(self, place: Place) -> Position:
        """As the frontier has it."""
        if place in (FIRST, LAST):
            return BEFORE_ALL if place == FIRST else AFTER_ALL
        return place.length.to_bytes(_LENGTH_BYTES, "big") + self._from(place.key)

    def place_of(self, position: Position) -> Place:
        """The place of a position that `position` made."""
        if position in (BEFORE_ALL, AFTER_ALL):
            return FIRST if position == BEFORE_ALL else LAST
        return self.place(position[_LENGTH_BYTES:])._replace(
            length=int.from_bytes(position[:_LENGTH_BYTES], "big")
        )

    def ranges(self, start: Place, end: Place) -> Iterator[Range]:
        """What holds every old form from `start` to before `end`, in that order, and may hold other values.

        Each range has one length, or all lengths between its bounds whole. So it is also right where a server
        compares binaries of different lengths by their bytes alone: no old form of the class is missed.
        """
        if end <= start:
            return
        length = max(start.length, SHORTEST)
        if start.key and start.length >= SHORTEST:
            if start.length == end.length:
                yield Range(self._low(start), self._below(end))
                return
            yield Range(self._low(start), self._top(start.length))
            length += 1
        if length < end.length:
            last = end.length - 1
            yield Range(self._low(Place(length)), self._top(last) if last <= LONG else None)
        if end.key and end.length >= length:
            yield Range(self._low(Place(end.length)), self._below(end))

    def end_of(self, length: int) -> Place:
        """Behind all places of a length that can have a key."""
        return Place(length, 1 << (8 * _KEY_BYTES))

    def _from(self, key: int) -> bytes:
        return self.prefix + key.to_bytes(_KEY_BYTES, "big")

    def _low(self, place: Place) -> bytes:
        return self._from(place.key).ljust(place.length, b"\0")

    def _below(self, end: Place) -> bytes:
        return self._from(end.key - 1).ljust(end.length, b"\xff")

    def _top(self, length: int) -> bytes:
        return self.prefix.ljust(length, b"\xff")
