"""Whose each part of a document is that is about several persons.

An identifier speaks for the sub-document that has it, down to the next one with an identifier. In
`{nhs: B, notes: 1, kin: {nhs: A, phone: 2}}`, `kin` is A's and all else B's. If identifiers of several
persons are in the same sub-document, only the identifiers themselves can be told apart: the rest stays.

A document that is overwritten has nulls in place of its covered values, and all else as it was. A unique
index, or a validator, may refuse nulls. Then a value of a deterministic class is replaced by a random one of
its type, which is nobody's.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from secrets import randbits, token_bytes, token_hex
from typing import Final, NamedTuple

from sealwire.crypto.envelope import binary, is_envelope
from sealwire.keys.errors import KeysError
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, PathNode, ValueType
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.direct import Value, element
from sealwire.sidecars.erasure.stored_forms import key_id_of
from sealwire.wire import kinds
from sealwire.wire.raw_bson import elements, enclosed

NULL: Final[Value] = (kinds.NULL, b"")

Choose = Callable[[FieldClass], Value]
"""From the class of a value that goes to what stands in its place."""


@dataclass(frozen=True, slots=True)
class Emptied:
    """A change of one document. The bytes hold ciphertext, and no value in clear that the filter lacks."""

    conditions: bytes
    """Elements of a filter: what stood there."""
    update: bytes
    """The document `{$set: ...}`; of a deletion in part, `$unset` as well."""


def emptied(raw: bytes, tree: PathNode, choose: Choose) -> Emptied | None:
    """What takes the covered values out of a document; None where it has none. Raises BsonError.

    It names ciphertext only. A value in clear is known by its place and type: the server may log the update,
    and what a person is erased from must not be written anew. What no update can name stays, and the next
    look finds it. Cost: O(bytes)
    """
    conditions: list[bytes] = []
    news: list[bytes] = []
    walk = StoredValues(raw, tree)
    while walk.next_value():
        if not walk.is_addressable():
            continue
        place, value, new = walk.place, raw[walk.value : walk.end], choose(walk.leaf)
        conditions.append(still_there(place, walk.kind, value))
        news.append(element(new[0], place, new[1]))
    if not news:
        return None
    return Emptied(b"".join(conditions), enclosed(element(kinds.OBJECT, b"$set", enclosed(*news))))


def still_there(place: bytes, kind: int, value: bytes, *, is_known: bool = False) -> bytes:
    """An element of a filter: what was read stands at a place.

    A value in clear is known by its type alone, unless the filter names it anyway (`is_known`).
    """
    still = element(kinds.INT, b"$type", kind.to_bytes(4, "little"))
    if is_known or is_envelope(kind, value):
        still = element(kind, b"$eq", value)
    return element(kinds.OBJECT, place, enclosed(still))


def null_of(_field_class: FieldClass) -> Value:
    """The usual choice."""
    return NULL


class Replacements:
    """Random values in place of those that may not become null."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.made: set[Value] = set()

    def __repr__(self) -> str:
        return f"Replacements({len(self.made)})"

    def choose(self, field_class: FieldClass) -> Value:
        """A random value, encrypted as the class encrypts; null where that is not sure to be right.

        That is so for random classes, those with a grid or keys for contexts, and those that move.
        """
        value = _random_value(field_class.value_type)
        name = field_class.name
        is_plain = name in self._keyring.partly_plaintext or name in self._keyring.pending_classes
        if value is None or field_class.domain is not None or field_class.per is not None or is_plain:
            return NULL
        try:
            cipher = self._keyring.cipher_for(name)
        except KeysError:
            return NULL
        made = kinds.BIN_DATA, binary(cipher.encrypt_deterministically(field_class.kind, value))
        self.made.add(made)
        return made


def _random_value(value_type: ValueType | None) -> bytes | None:
    match value_type:
        case ValueType.STRING:
            text = f"erased-{token_hex(16)}".encode() + b"\0"
            return len(text).to_bytes(4, "little") + text
        case ValueType.INT:
            return randbits(31).to_bytes(4, "little")
        case ValueType.LONG:
            return randbits(63).to_bytes(8, "little")
        case ValueType.DATE:
            return randbits(40).to_bytes(8, "little")
        case ValueType.OBJECT_ID:
            return token_bytes(12)
        case ValueType.BIN_DATA:
            return b"\x10\0\0\0\0" + token_bytes(16)
        case ValueType.DOUBLE | ValueType.BOOL | None:
            return None


_NO_LINK_VALUES: Final = frozenset({kinds.NULL, kinds.UNDEFINED, kinds.REGEX, kinds.MIN_KEY, kinds.MAX_KEY})


class RemovedPart(NamedTuple):
    """A part that a deletion takes out."""

    place: bytes
    is_item: bool
    """Whether it is an element of an array: it becomes null, so that the others keep their places."""


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What is the person's in a document that is also about somebody else. Holds stored values."""

    paths: tuple[str, ...]
    """Where the person's values are, as the policy names it."""
    undecided: int
    """Covered values of which nobody can tell whose they are: they stay."""
    leads: bool
    """Whether the document itself is the person's, so that links from it are followed."""
    mine: int
    """Identifiers and link values of the person."""
    others_keys: frozenset[bytes]
    """Ids of keys of contexts that values have which are not the person's."""
    _covered: tuple[tuple[bytes, FieldClass], ...] = field(repr=False)
    _removed: tuple[RemovedPart, ...] = field(repr=False)
    _conditions: bytes = field(repr=False)

    def emptied(self, choose: Choose) -> Emptied | None:
        """The person's covered values replaced; None if an update can name none of them."""
        news = [element(new[0], place, new[1]) for place, leaf in self._covered for new in [choose(leaf)]]
        return self._change(element(kinds.OBJECT, b"$set", enclosed(*news))) if news else None

    def removed(self) -> Emptied | None:
        """The person's parts taken out; None if an update can name none of them."""
        nulls = [element(kinds.NULL, each.place, b"") for each in self._removed if each.is_item]
        gone = [element(kinds.NULL, each.place, b"") for each in self._removed if not each.is_item]
        parts = {b"$set": nulls, b"$unset": gone}
        update = [element(kinds.OBJECT, name, enclosed(*each)) for name, each in parts.items() if each]
        return self._change(*update) if update else None

    def _change(self, *update: bytes) -> Emptied:
        return Emptied(self._conditions, enclosed(*update))


class Ownership:
    """Who is named where in one document."""

    def __init__(
        self, raw: bytes, tree: PathNode, class_name: str, whose: Callable[[Value], bool | None]
    ) -> None:
        """`whose` says of an identifier whether it is the person's; None: nobody's.

        Raises BsonError. Cost: O(elements)
        """
        self._raw = raw
        self._tree = tree
        self._said: dict[int, set[bool]] = {}
        self._at: dict[int, bool] = {}
        self._link_path: str | None = None
        walk = StoredValues(raw, tree)
        while walk.next_value():
            is_own = whose((walk.kind, raw[walk.value : walk.end])) if walk.leaf.name == class_name else None
            if is_own is not None:
                self._say(walk.holder, walk.value, is_own=is_own)

    def _say(self, holder: int, at: int, *, is_own: bool) -> None:
        self._said.setdefault(holder, set()).add(is_own)
        self._at[at] = is_own

    def led_by(self, path: str, whose: Callable[[Value], bool | None]) -> None:
        """The document belongs also to whom the values of a link lead."""
        self._link_path = path
        for at, value in located(self._raw, path):
            is_own = whose(value)
            if is_own is not None:
                self._say(0, at, is_own=is_own)

    @property
    def is_shared(self) -> bool:
        """Whether it is about somebody else as well."""
        return not all(self._at.values())

    def is_mine(self, walk: StoredValues) -> bool | None:
        """Whether the present covered value is the person's; None: the document does not say."""
        if not self.is_shared:
            return True
        if walk.value in self._at:
            return self._at[walk.value]
        for start in reversed(walk.parents):
            said = self._said.get(start)
            if said:
                return None if len(said) > 1 else True in said
        return None

    def parts(self, known: Container[Value]) -> SharedParts:
        """What is the person's; `known` are values that may be named in a filter as they are.

        Raises BsonError. Cost: O(elements)
        """
        covered: list[tuple[bytes, FieldClass]] = []
        conditions: list[bytes] = []
        paths: dict[str, None] = {}
        others_keys: set[bytes | None] = set()
        undecided = 0
        walk = StoredValues(self._raw, self._tree)
        while walk.next_value():
            is_mine, value = self.is_mine(walk), self._raw[walk.value : walk.end]
            if not is_mine:
                undecided += is_mine is None
                others_keys.add(key_id_of(walk.kind, value))
                continue
            paths[walk.node.path] = None
            if walk.is_addressable():
                covered.append((walk.place, walk.leaf))
                is_known = (walk.kind, value) in known
                conditions.append(still_there(walk.place, walk.kind, value, is_known=is_known))
        links = {at for at, _ in located(self._raw, self._link_path)} if self._link_path else set()
        if self._link_path and any(self._at.get(at) for at in links):
            paths[self._link_path] = None
        removing = _Removing(self._raw, self._said, self._at)
        removed = tuple(removing.parts())
        return SharedParts(
            tuple(paths),
            undecided,
            self._said.get(0) == {True},
            sum(self._at.values()),
            frozenset(each for each in others_keys if each is not None),
            tuple(covered),
            removed if removing.can_name_all else (),
            b"".join(conditions),
        )


class _Removing:
    """Finds the outermost parts of a document that are the person's alone."""

    def __init__(self, raw: bytes, said: dict[int, set[bool]], at: dict[int, bool]) -> None:
        self._raw = raw
        self._said = said
        self._mine = sorted(each for each, is_own in at.items() if is_own)
        self._others = sorted(each for each, is_own in at.items() if not is_own)
        self.can_name_all = True

    def parts(self) -> Iterator[RemovedPart]:
        """All of them; the `_id` stays."""
        return self._inside(kinds.OBJECT, 0, b"", is_own=self._said.get(0) == {True})

    def _inside(self, kind: int, start: int, place: bytes, *, is_own: bool) -> Iterator[RemovedPart]:
        is_array = kind == kinds.ARRAY
        items = list(elements(self._raw, start))
        names = Counter(item.name for item in items)
        for index, item in enumerate(items):
            name = b"%d" % index if is_array else item.name
            if not (is_own or _any_within(self._mine, item.value, item.end)) or (
                not place and name == b"_id"
            ):
                continue
            said = self._said.get(item.value) if item.kind == kinds.OBJECT else None
            is_its = said == {True} if said else is_own
            has_others = _any_within(self._others, item.value, item.end)
            is_nested = item.kind in (kinds.OBJECT, kinds.ARRAY)
            if not is_array and (names[name] > 1 or not name or name.startswith(b"$") or b"." in name):
                self.can_name_all = False
            inner = b"%b.%b" % (place, name) if place else name
            if not has_others and (is_its or not is_nested):
                yield RemovedPart(inner, is_array)
            elif is_nested:
                yield from self._inside(item.kind, item.value, inner, is_own=is_its)


def _any_within(positions: Sequence[int], start: int, end: int) -> bool:
    found = bisect_left(positions, start)
    return found < len(positions) and positions[found] < end


def located(raw: bytes, path: str) -> Iterator[tuple[int, Value]]:
    """The values of a document that a link may lead along, and where they begin: no nulls, through arrays.

    Cost: O(elements).
    """
    yield from _located_below(raw, kinds.OBJECT, 0, len(raw), path.encode().split(b"."))


def _located_below(
    raw: bytes, kind: int, start: int, end: int, parts: list[bytes]
) -> Iterator[tuple[int, Value]]:
    if kind == kinds.ARRAY:
        for item in elements(raw, start):
            yield from _located_below(raw, item.kind, item.value, item.end, parts)
    elif not parts:
        if kind not in _NO_LINK_VALUES:
            yield start, (kind, raw[start:end])
    elif kind == kinds.OBJECT:
        for item in elements(raw, start):
            if item.name == parts[0]:
                yield from _located_below(raw, item.kind, item.value, item.end, parts[1:])
