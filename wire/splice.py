"""Replace some elements of a message and correct every length above them; all else stays as received."""

from typing import Final, final

from librt.strings import BytesWriter, write_i32_le
from mypy_extensions import mypyc_attr

from sealwire.wire import kinds
from sealwire.wire.raw_bson import int32_at

# Pieces up to this much are joined at once, which is the fastest way for the messages that nearly all are.
JOINED_BYTES: Final = 1 << 20

LARGE_DATA_BYTES: Final = 64 * 1024

_BINARY_HEAD: Final = 5  # the int32 length of a binary, and its subtype


@final
@mypyc_attr(acyclic=True)  # see raw_bson.Element
class Edit:
    """Put `data` in place of `buf[start:end]`, or let the element there hold a binary with this content."""

    __slots__ = ("data", "end", "parents", "start", "subtype", "value")

    def __init__(
        self, start: int, end: int, data: bytes, parents: tuple[int, ...], value: int = 0, subtype: int = 0
    ) -> None:
        self.start = start
        self.end = end
        self.data = data
        self.parents = parents
        """Offsets of the int32 lengths that count these bytes, outermost first: the message's own (0), the
        document sequence's, and those of the documents and arrays around the element."""
        self.value = value
        """Where the value of the element is that becomes a binary, and keeps its name; 0: it is none. To put
        its bytes together first took 350 of 8,900 instructions more for each value of an insert."""
        self.subtype = subtype

    def size(self) -> int:
        """How many bytes it puts there."""
        return len(self.data) + (self.value - self.start + _BINARY_HEAD if self.value else 0)


def resized(buf: bytes, edits: list[Edit]) -> dict[int, int]:
    """New value of each int32 length that the edits change, by its offset.

    Cost: O(edits + documents x depth).
    """
    lengths: dict[int, int] = {}
    parents: tuple[int, ...] = ()
    growth = around = 0
    for edit in edits:
        if edit.parents is not parents:
            # edits of one document have one tuple of parents: their growth is added up first
            around = _grow(lengths, buf, parents, growth, around, edit.parents)
            parents, growth = edit.parents, 0
        growth += edit.size() - (edit.end - edit.start)
    _grow(lengths, buf, parents, growth, around, ())
    return lengths


def _grow(
    lengths: dict[int, int],
    buf: bytes,
    parents: tuple[int, ...],
    growth: int,
    around: int,
    following: tuple[int, ...],
) -> int:
    """Add the growth of one document to its length, and to those around it with `around`, that of others.

    If the next edits lie beside it, all of this growth is returned instead, to be added with theirs. For each
    value of an insert that saves 280 of 8,400 instructions.
    """
    last = len(parents) - 1
    if last < 0:
        return 0
    around += growth
    _add(lengths, buf, parents[last], growth)
    if len(following) - 1 == last and all(parents[level] == following[level] for level in range(last)):
        return around
    for level in range(last):
        _add(lengths, buf, parents[level], around)
    return 0


def _add(lengths: dict[int, int], buf: bytes, parent: int, growth: int) -> None:
    if growth:
        length = lengths.get(parent)
        lengths[parent] = growth + (int32_at(buf, parent) if length is None else length)


def splice(buf: bytes, edits: list[Edit], lengths: dict[int, int] | None = None) -> bytes:
    """The bytes of `buf` with `edits` applied and the lengths above them corrected.

    `lengths` is the answer of `resized` for the same edits when the caller has it already. Edits may come in
    any order and must not overlap each other or a length they change: ValueError, a bug of the caller.
    Cost: O(len(buf) + edits log edits), one copy.
    """
    if lengths is None:
        lengths = resized(buf, edits)
    return b"".join(splice_in_pieces(buf, edits, lengths, 0, len(buf)))


def splice_in_pieces(
    buf: bytes, edits: list[Edit], lengths: dict[int, int], start: int, end: int
) -> list[bytes]:
    """As `splice`, of `buf[start:end]` alone, in which all edits and lengths must lie.

    One piece, unless the result is larger than JOINED_BYTES: then it is nowhere as a whole, and an edit's
    data of LARGE_DATA_BYTES or more is a piece of its own without a copy.
    """
    large_data = LARGE_DATA_BYTES if end - start > JOINED_BYTES else JOINED_BYTES
    out = _Output()
    position = start
    offsets = sorted(lengths)
    corrected = 0
    for edit in _in_order(edits):
        while corrected < len(offsets) and offsets[corrected] < edit.start:
            position = _correct(out, buf, position, offsets[corrected], lengths)
            corrected += 1
        if edit.start < position:
            raise ValueError("edits overlap")
        out.add(buf[position : edit.start])
        if edit.value:
            out.add_binary_head(buf[edit.start + 1 : edit.value], edit)
        if len(edit.data) < large_data:
            out.add(edit.data)
        else:
            out.add_large(edit.data)
        position = edit.end
    while corrected < len(offsets):
        position = _correct(out, buf, position, offsets[corrected], lengths)
        corrected += 1
    if position > end:
        raise ValueError("an edit outside of what is spliced")
    out.add(buf[position:end])
    return out.taken()


def _in_order(edits: list[Edit]) -> list[Edit]:
    """The edits by where they start; nearly always they are in that order already."""
    start = end = 0
    for edit in edits:
        if edit.start < start or (edit.start == start and edit.end < end):
            return sorted(edits, key=_order)
        start, end = edit.start, edit.end
    return edits


def _order(edit: Edit) -> tuple[int, int]:
    return edit.start, edit.end


@final
@mypyc_attr(acyclic=True, free_list_len=1)  # see raw_bson.Cursor
class _Output:
    """Joins small pieces. A large message is never there as a list of its pieces and once more joined."""

    __slots__ = ("_joined", "_pieces")

    def __init__(self) -> None:
        self._joined = BytesWriter()
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        if len(piece) > JOINED_BYTES:
            self.add_large(piece)
            return
        self._joined.write(piece)
        if len(self._joined) > JOINED_BYTES:
            self._flush()

    def add_binary_head(self, name: bytes, edit: Edit) -> None:
        """What comes before the content of a binary: its type, the name with its NUL, length and subtype."""
        joined = self._joined
        joined.append(kinds.BIN_DATA)
        joined.write(name)
        write_i32_le(joined, len(edit.data))
        joined.append(edit.subtype)

    def add_int32(self, value: int) -> None:
        write_i32_le(self._joined, value)

    def add_large(self, piece: bytes) -> None:
        self._flush()
        self._pieces.append(piece)

    def _flush(self) -> None:
        if len(self._joined):
            self._pieces.append(self._joined.getvalue())
            self._joined = BytesWriter()

    def taken(self) -> list[bytes]:
        if not self._pieces:
            return [self._joined.getvalue()]
        self._flush()
        return self._pieces


def _correct(out: _Output, buf: bytes, position: int, offset: int, lengths: dict[int, int]) -> int:
    """Copy up to the length at `offset` and write its new value; returns where the copy goes on."""
    if offset < position:
        raise ValueError("edits overlap")
    out.add(buf[position:offset])
    out.add_int32(lengths[offset])
    return offset + 4
