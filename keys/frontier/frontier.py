"""Where the move of a class stands: which form of a value is the valid one, and which values move right now.

Values move in the order of their old form, in windows. Everything before the window has its new form only,
everything behind it its old one only. A value in the window has either; nobody may ask for it or write it.

A window is opened, then moves, then is closed. Until it moves all its values have their old form, and it may
be withdrawn: when what is under way does not end, because it waits for something that the window holds up.

A version of a class says what becomes of a value, and where that stands in this order. A version is a key, or
plaintext: the class is stored in clear then, and its key material serves frontiers only. So taking a class
in, changing its key and giving it back are one move, from one version to the next.

The uses of a proxy are what it has under way that relies on where a class's values are. A use is a command,
with the cursor that it leaves open; or a transaction, with all its commands. It names the values that it
looks for or writes, or any (None): a `$group`, a copy inside the server. While it lasts, no window that it
meets may move. So:

- `begin` turns a use away that meets the open window; it comes again when a later frontier is known.
- `acknowledged` is the generation of the newest frontier, once nothing is under way that meets its window.

What meets a window waits from the moment it is known, so the job is not starved; and a window is short. Where
a use does not end because its client waits for the window, the job withdraws it.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple, NewType, final

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import MAX_ID, binary
from sealwire.keys.keyring.keyring import Keyring
from sealwire.wire import kinds

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


_PLAINTEXT: Final = b"\1"
"""Positions of plaintext begin with it, so that each lies between BEFORE_ALL and AFTER_ALL."""

_SIGNED_BIT: Final = 1 << 63
_ALL_BITS: Final = (1 << 64) - 1
_ORDERED: Final = struct.Struct(">Q")


def has_moved(keyring: Keyring, class_name: str, *, is_keyed: bool) -> bool:
    """Whether data of a deterministic class has moved to another version once, by this copy of the keyring.

    A cancelled version was never active. The key of a class with a key for each context (`is_keyed`) turns
    without a move, so only plaintext tells of one. Raises nothing. Cost: O(keys)
    """
    if class_name not in keyring.active_classes or keyring.cipher_for(class_name).key_version == 1:
        return False
    return not is_keyed or any(key.is_plaintext for key in keyring.listed if key.class_name == class_name)


class StoredForm(NamedTuple):
    """A value as it stands in a document."""

    kind: int
    """BSON type."""
    data: bytes
    """The value's bytes in BSON."""


class ClassVersion(NamedTuple):
    """One version of one deterministic class."""

    cipher: ValueCipher
    is_plaintext: bool = False

    def placed(self, kind: int, value: bytes) -> tuple[Position, StoredForm]:
        """Where the value stands in the order of this version's forms, and how it is stored.

        `kind` and `value` are coerced to the class's type. Raises UnsupportedValue. Cost: one AES-SIV call,
        or nothing.
        """
        if self.is_plaintext:
            return position_of_plaintext(kind, value), StoredForm(kind, value)
        envelope = self.cipher.encrypt_deterministically(kind, value)
        return position_of(envelope), StoredForm(kinds.BIN_DATA, binary(envelope))

    def stored(self, kind: int, value: bytes) -> StoredForm:
        """How the value is stored. As `placed`, but plaintext stores a value of any type."""
        if self.is_plaintext:
            return StoredForm(kind, value)
        return self.placed(kind, value)[1]

    def position(self, kind: int, value: bytes) -> Position:
        """Where the value stands. As `placed`."""
        return self.placed(kind, value)[0]


def position_of_plaintext(kind: int, value: bytes) -> Position:
    """Where a value in clear stands among those of its type, as MongoDB sorts them without a collation.

    `kind` is one that a deterministic class may declare: string, int, long, double, date, objectId, binData,
    bool. No NaN and no -0.0 is among them. Raises KeyError for another type. Cost: O(bytes), two copies.
    Source: MongoDB's manual, "BSON comparison order".
    """
    return _PLAINTEXT + _ORDERS[kind](value)


def _string(value: bytes) -> bytes:
    return value[4:-1]


def _whole(value: bytes) -> bytes:
    """A value of 4 bytes or 8."""
    return _ORDERED.pack(int.from_bytes(value, "little", signed=True) + _SIGNED_BIT)


def _double(value: bytes) -> bytes:
    """IEEE 754: numbers below zero sort backwards by their bits, so these are turned over."""
    bits = int.from_bytes(value, "little")
    return _ORDERED.pack(bits ^ _ALL_BITS if bits & _SIGNED_BIT else bits | _SIGNED_BIT)


def _binary(value: bytes) -> bytes:
    """By length, then subtype, then bytes."""
    return value[3::-1] + value[4:]


def _as_it_is(value: bytes) -> bytes:
    return value


_ORDERS: Final[Mapping[int, Callable[[bytes], bytes]]] = {
    kinds.STRING: _string,
    kinds.INT: _whole,
    kinds.LONG: _whole,
    kinds.DATE: _whole,
    kinds.DOUBLE: _double,
    kinds.OBJECT_ID: _as_it_is,
    kinds.BIN_DATA: _binary,
    kinds.BOOL: _as_it_is,
}


def version_of(keyring: Keyring, class_name: str) -> ClassVersion:
    """The active version of a class. Raises UnknownKey CLASS_UNKNOWN, NO_ACTIVE_KEY."""
    cipher = keyring.cipher_for(class_name)
    return ClassVersion(cipher, keyring.is_plaintext(cipher))


def pending_version_of(keyring: Keyring, class_name: str) -> ClassVersion | None:
    """The version that a class moves to, while it does; else None."""
    cipher = keyring.pending_cipher_for(class_name)
    return None if cipher is None else ClassVersion(cipher, keyring.is_plaintext(cipher))


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
