"""The order of a class's values in clear, and the ranges by which a server finds what lies between two.

Values stand as MongoDB sorts those of their type (`keys.frontier.frontier.position_of_plaintext`). A search
for the next window simply reads on: nobody knows how values in clear are spread.

A place is cut to _CUT_BYTES of a string or of binary data: longer values that share so much move together,
and no query is long.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, Position, StoredForm, position_of_plaintext
from sealwire.policies.file.ranges import RangeDomain
from sealwire.policies.file.schema import ValueType
from sealwire.sidecars.migration.forms import class_value
from sealwire.sidecars.migration.windows.order import Range, Reach
from sealwire.wire import kinds

_CUT_BYTES: Final = 512
_CHARACTER_BYTES: Final = 4
"""The most that one takes in UTF-8."""
_FIRST_BYTE: Final = b"\1"
"""With which positions of plaintext begin."""
_LENGTH_BYTES: Final = 4
_HEAD_BYTES: Final = 1 + _LENGTH_BYTES
"""A position of binary data begins with its length."""
_LAST_SUBTYPE: Final = 255
_LONGEST: Final = 1 << 31
LONG: Final = 1 << 20
"""Longer binary data has no bound in a range: the bound would be as long, in each query."""

_SIGNED_BIT: Final = 1 << 63
_ALL_BITS: Final = (1 << 64) - 1
_SURROGATES: Final = range(0xD800, 0xE000)
_LAST_CHARACTER: Final = 0x10FFFF

_GREATEST: Final[Mapping[ValueType, int]] = {ValueType.BOOL: 1, ValueType.DOUBLE: 0xFFF0 << 48}
"""The last position, true and infinity, as a number; of other types it is all ones."""

_NUMBERS: Final = (kinds.INT, kinds.LONG, kinds.DOUBLE, kinds.DECIMAL)
_COMPARED: Final[Mapping[int, tuple[int, ...]]] = {
    kinds.STRING: (kinds.STRING, kinds.SYMBOL),
    kinds.INT: _NUMBERS,
    kinds.LONG: _NUMBERS,
    kinds.DOUBLE: _NUMBERS,
}
"""The types that a server sorts among those of a class, where they are several."""


@dataclass(frozen=True, slots=True)
class PlaintextOrder:
    """The values of one class in clear."""

    value_type: ValueType
    domain: RangeDomain | None = None
    """The grid on which all values lie, where the class has one."""

    def may_be_in(self, raw: bytes) -> bool:
        return bool(raw)

    def place(self, kind: int, value: bytes) -> Position | None:
        found = class_value(kind, value, self.value_type, self.domain)
        if found is None:
            return None
        position = position_of_plaintext(self.value_type.kind, found)
        if self.value_type is ValueType.STRING:
            return _FIRST_BYTE + _cut(position[1:])
        return position[: _HEAD_BYTES + 1 + _CUT_BYTES]

    def after(self, place: Position) -> Position:
        if self.value_type is not ValueType.STRING:
            return self._next(place)
        text = place[1:]
        if len(text) <= _CUT_BYTES - _CHARACTER_BYTES:
            return place + b"\0"
        following = _following(text)
        return AFTER_ALL if following is None else _FIRST_BYTE + following

    def _next(self, place: Position) -> Position:
        """The next position of as many bytes; of binary data, of its length where there is one."""
        head = _HEAD_BYTES if self.value_type is ValueType.BIN_DATA else 1
        rest = place[head:]
        number = int.from_bytes(rest, "big") + 1
        if number <= _GREATEST.get(self.value_type, (1 << (8 * len(rest))) - 1):
            return place[:head] + number.to_bytes(len(rest), "big")
        return AFTER_ALL if head == 1 else _Point(_length(place) + 1).position

    def ranges(self, start: Position, end: Position) -> Iterator[Range]:
        if end <= start:
            return
        if self.value_type is ValueType.BIN_DATA:
            yield from _binary_ranges(_Point.at(start), _Point.at(end))
            return
        kind = self.value_type.kind
        low = None if start == BEFORE_ALL else _value_at(kind, start)
        behind = None if end == AFTER_ALL else _value_at(kind, end)
        yield Range(_COMPARED.get(kind, (kind,)), low, behind=behind)

    def reach(self) -> Reach:
        return Reach()


# ---------------------------------------------------------------------------------------------------- strings


def _cut(text: bytes) -> bytes:
    """A beginning of `text` that ends with a whole character."""
    if len(text) <= _CUT_BYTES:
        return text
    end = _CUT_BYTES
    while end > _CUT_BYTES - _CHARACTER_BYTES and text[end] & 0xC0 == 0x80:
        end -= 1
    return text[:end]


def _following(text: bytes) -> bytes | None:
    """The first string behind all that begin with `text`; None where there is none, or `text` is no UTF-8."""
    try:
        characters = text.decode()
    except UnicodeDecodeError:
        return None
    kept = characters.rstrip(chr(_LAST_CHARACTER))
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    if following in _SURROGATES:
        following = _SURROGATES.stop
    return (kept[:-1] + chr(following)).encode()


# ---------------------------------------------------------------------------------------- values of positions


def _value_at(kind: int, position: Position) -> StoredForm:
    made_as, make = _VALUES[kind]
    return StoredForm(made_as, make(position[1:]))


def _string(rest: bytes) -> bytes:
    return (len(rest) + 1).to_bytes(4, "little") + rest + b"\0"


def _long(rest: bytes) -> bytes:
    return (int.from_bytes(rest, "big") - _SIGNED_BIT).to_bytes(8, "little", signed=True)


def _double(rest: bytes) -> bytes:
    bits = int.from_bytes(rest, "big")
    return (bits ^ _SIGNED_BIT if bits & _SIGNED_BIT else bits ^ _ALL_BITS).to_bytes(8, "little")


def _as_it_is(rest: bytes) -> bytes:
    return rest


_VALUES: Final[Mapping[int, tuple[int, Callable[[bytes], bytes]]]] = {
    kinds.STRING: (kinds.STRING, _string),
    kinds.INT: (kinds.LONG, _long),  # the one behind the largest is no int, and they compare
    kinds.LONG: (kinds.LONG, _long),
    kinds.DATE: (kinds.DATE, _long),
    kinds.DOUBLE: (kinds.DOUBLE, _double),
    kinds.OBJECT_ID: (kinds.OBJECT_ID, _as_it_is),
    kinds.BOOL: (kinds.BOOL, _as_it_is),
}
"""By the class's type, as which type a bound is written, and how."""


# ------------------------------------------------------------------------------------------------ binary data


class _Point(NamedTuple):
    """A place of binary data, in the order of MongoDB."""

    length: int
    subtype: int = 0
    content: bytes = b""
    """How it begins; zeros follow."""

    @classmethod
    def at(cls, place: Position) -> "_Point":
        """Also the beginning and the end of all."""
        if place in (BEFORE_ALL, AFTER_ALL):
            return cls(0 if place == BEFORE_ALL else _LONGEST)
        rest = place[_HEAD_BYTES:]
        return cls(_length(place), int.from_bytes(rest[:1], "big"), rest[1:])

    @property
    def position(self) -> Position:
        """As the frontier has it."""
        length = self.length.to_bytes(_LENGTH_BYTES, "big")
        return _FIRST_BYTE + length + bytes((self.subtype,)) + self.content

    @property
    def value(self) -> StoredForm:
        """As a server compares it."""
        head = self.length.to_bytes(4, "little") + bytes((self.subtype,))
        return StoredForm(kinds.BIN_DATA, head + self.content.ljust(self.length, b"\0"))


def _length(place: Position) -> int:
    return int.from_bytes(place[1:_HEAD_BYTES], "big")


def _binary_ranges(start: _Point, end: _Point) -> Iterator[Range]:
    """Each has one length and subtype, or all subtypes that it touches whole, or all lengths.

    So it is also right where a server compares by length and bytes, or by the bytes alone.
    """
    if start.length > LONG:
        yield _binary_range(_Point(LONG + 1), None)
        return
    if start[:2] == end[:2]:
        yield Range((kinds.BIN_DATA,), start.value, behind=end.value)
        return
    length = start.length
    if start.subtype or start.content:
        yield _binary_range(start, _top(length, start.subtype))
        last_subtype = end.subtype - 1 if end.length == length else _LAST_SUBTYPE
        yield from _subtypes(length, start.subtype + 1, last_subtype)
        length += 1
    if length < end.length:
        last = end.length - 1
        yield _binary_range(_Point(length), _top(last, _LAST_SUBTYPE) if last <= LONG else None)
        if last > LONG:
            return
    if end.length > start.length or not (start.subtype or start.content):
        yield from _subtypes(end.length, 0, end.subtype - 1)
    if end.content:
        yield Range((kinds.BIN_DATA,), _Point(end.length, end.subtype).value, behind=end.value)


def _subtypes(length: int, first: int, last: int) -> Iterator[Range]:
    if first <= last:
        yield _binary_range(_Point(length, first), _top(length, last))


def _top(length: int, subtype: int) -> _Point:
    return _Point(length, subtype, b"\xff" * length)


def _binary_range(low: _Point, last: _Point | None) -> Range:
    if last is None:
        return Range((kinds.BIN_DATA,), low.value)
    is_last = last.subtype == _LAST_SUBTYPE
    behind = _Point(last.length + 1) if is_last else _Point(last.length, last.subtype + 1)
    return Range((kinds.BIN_DATA,), low.value, last.value, behind.value)
