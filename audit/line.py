"""One line of the log: a JSON object in the canonical form of RFC 8785, and a newline.

Every line has its number `n`, from 0 on, and `prev`, the leaf hash of the line before it in hex (64 zeros in
line 0). So each line fixes all that come before it. Everything else is its caller's.

The tail is what the next line has to follow on. The first line of every file has the event `file` and, in
`peaks`, the tree of all lines before it. So each file can be gone on with, and verified, without those before
it, which may have been archived.

A Merkle tree stands over all lines; only its right edge is kept. Source: RFC 9162 section 2.1. Its root says
in 32 bytes what every line is, so a signed root is worth a signature of all of them.

RFC 8785 has the one form of JSON that can be hashed and signed. For objects whose names are ASCII and whose
values are strings, booleans, null, small integers, and lists and objects of these, Python's own encoder
writes that form. tests/audit hold it against the library rfc8785, which takes 5 times longer. Everything else
is refused.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, final

MOST: Final = 2**53
"""RFC 8785 knows the integers that a double holds exactly: those below this."""

encode: Final = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
).encode
"""The text of a value that has a canonical form; it is not checked. Raises RecursionError."""


def canonical(value: Any) -> str:
    """The text of a value. Raises ValueError where it has no canonical form, RecursionError."""
    _check(value)
    return encode(value)


def _check(value: Any) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str) or not name.isascii():
                raise ValueError("a name that is not ASCII text")
            _check(inner)
    elif isinstance(value, list):
        for inner in value:
            _check(inner)
    elif isinstance(value, str):
        value.encode()  # half of a surrogate pair is no text
    elif isinstance(value, float) or (type(value) is int and abs(value) >= MOST):
        raise ValueError("a number that is no small integer")
    elif value is not None and not isinstance(value, bool | int):
        raise ValueError("a type that JSON does not have")


HASH_BYTES: Final = 32
MAX_LINE_BYTES: Final = 65_536
"""With its newline. Commands name paths and users, no documents."""

NUMBER: Final = "n"
PREVIOUS: Final = "prev"
FIRST_PREVIOUS: Final = bytes(HASH_BYTES)

Scalar = str | int | bool
Fields = Mapping[str, Scalar | list[str] | dict[str, int]]


@dataclass(frozen=True, slots=True)
class Line:
    """What a line says."""

    number: int
    previous: bytes
    fields: Mapping[str, object]
    """All of them, `n` and `prev` included."""


class NotALine(Exception):
    """Bytes are no line in canonical form."""


def write_line(number: int, previous: bytes, fields: Fields) -> bytes:
    """The bytes of a line, with its newline; `fields` is without `n` and `prev`.

    What UTF-8 cannot write is replaced. Raises ValueError for an integer of 2^53 or more, a name that is not
    ASCII, in an object inside too, and a line longer than MAX_LINE_BYTES. Cost: some 3 us.
    """
    for name, value in fields.items():
        if not _is_canonical(name, value) or (
            type(value) is dict and not all(_is_canonical(*inner) for inner in value.items())
        ):
            raise ValueError(f"{name} has no canonical form")
    text = encode({**fields, NUMBER: number, PREVIOUS: previous.hex()})
    data = text.encode("utf-8", "replace") + b"\n"
    if len(data) > MAX_LINE_BYTES:
        raise ValueError(f"a line of {len(data)} bytes")
    return data


def _is_canonical(name: str, value: object) -> bool:
    return name.isascii() and (not isinstance(value, int) or abs(value) < MOST)


def read_line(data: bytes) -> Line:
    """What the bytes of a line say; `data` ends with the newline. Raises NotALine."""
    if not data.endswith(b"\n") or len(data) > MAX_LINE_BYTES:
        raise NotALine
    try:
        fields = json.loads(data)
        canonical = isinstance(fields, dict) and encode(fields).encode() + b"\n" == data
    except (ValueError, RecursionError):
        raise NotALine from None
    if not canonical:
        raise NotALine
    number, previous = fields.get(NUMBER), fields.get(PREVIOUS)
    if type(number) is not int or number < 0 or not isinstance(previous, str):
        raise NotALine
    try:
        previous_hash = bytes.fromhex(previous)
    except ValueError:
        raise NotALine from None
    if len(previous_hash) != HASH_BYTES or previous_hash.hex() != previous:
        raise NotALine
    return Line(number, previous_hash, fields)


def leaf_hash(data: bytes) -> bytes:
    """The hash of a line with its newline, as a leaf of the tree. Source: RFC 9162 section 2.1.1."""
    return sha256(b"\0" + data).digest()


MAX_PEAKS: Final = 64


@final
class Tree:
    """The roots of the perfect subtrees that the leaves fill, largest first: a leaf more is a hash or two."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        """A tree of `size` leaves. Raises ValueError where that many do not have these peaks."""
        self.size = size
        self._peaks = list(peaks)
        fits = len(self._peaks) == size.bit_count() <= MAX_PEAKS
        if size < 0 or not fits or any(len(peak) != HASH_BYTES for peak in self._peaks):
            raise ValueError("these are not the peaks of a tree")

    def __repr__(self) -> str:
        return f"Tree(size={self.size})"

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The hashes from which a tree of this size grows."""
        return tuple(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add the hash of one more line. Cost: two hashes in the mean."""
        rest = self.size
        while rest & 1:
            leaf = _node(self._peaks.pop(), leaf)
            rest >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The hash of the whole tree; of an empty one, that of nothing. Cost: O(log size)."""
        if not self._peaks:
            return sha256(b"").digest()
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = _node(peak, root)
        return root

    def copy(self) -> "Tree":
        """Another one, as this is now."""
        return Tree(self.size, self._peaks)


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


FILE_EVENT: Final = "file"
PEAKS: Final = "peaks"


class NotNext(Exception):
    """A line does not follow on the one before it."""


@final
class Tail:
    """The tree over all lines so far, and the hash of the last one."""

    __slots__ = ("previous", "tree")

    def __init__(self, tree: Tree | None = None, previous: bytes = FIRST_PREVIOUS) -> None:
        self.tree = Tree() if tree is None else tree
        self.previous = previous

    def __repr__(self) -> str:
        return f"Tail(size={self.size})"

    @property
    def size(self) -> int:
        """How many lines there are, and so the number of the next."""
        return self.tree.size

    def written(self, fields: Fields) -> bytes:
        """The next line; the tail is then behind it. Raises ValueError as `write_line`: it stays as it is."""
        data = write_line(self.size, self.previous, fields)
        self._pass(data)
        return data

    def opening(self, fields: Fields) -> bytes:
        """The first line of a file. Raises ValueError."""
        peaks = " ".join(peak.hex() for peak in self.tree.peaks)
        return self.written({**fields, "event": FILE_EVENT, PEAKS: peaks})

    def follow(self, data: bytes) -> None:
        """A line that is there, with its newline. Raises NotALine, NotNext: the tail stays as it is."""
        line = read_line(data)
        if (line.number, line.previous) != (self.size, self.previous):
            raise NotNext
        self._pass(data)

    def copy(self) -> "Tail":
        """Another one, as this is now."""
        return Tail(self.tree.copy(), self.previous)

    def is_at(self, other: "Tail") -> bool:
        """Whether both are behind the same lines."""
        ours, theirs = self.tree, other.tree
        return (ours.size, ours.peaks, self.previous) == (theirs.size, theirs.peaks, other.previous)

    def _pass(self, data: bytes) -> None:
        self.previous = leaf_hash(data)
        self.tree.append(self.previous)


def before(opening: bytes) -> Tail:
    """The tail that a file's first line goes on from, as that line has it. Raises NotALine."""
    line = read_line(opening)
    peaks = line.fields.get(PEAKS)
    if line.fields.get("event") != FILE_EVENT or not isinstance(peaks, str):
        raise NotALine
    try:
        tree = Tree(line.number, map(bytes.fromhex, peaks.split()))
    except ValueError:
        raise NotALine from None
    if (line.number == 0) != (line.previous == bytes(HASH_BYTES)):
        raise NotALine
    return Tail(tree, line.previous)
