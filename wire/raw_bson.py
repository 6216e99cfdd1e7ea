"""Walk BSON where it lies, and write it again with some elements replaced: nothing is decoded.

Elements are offsets into the message. Every length is checked. `splice` corrects the lengths above what it
replaces, and all other bytes stay as received.

A document is named by the offset of its int32 length. The functions trust `buf` to be bounded (framing did
that) and nothing inside it: each length is checked against the document around it before it is used.
Source: bsonspec.org version 1.1, the deprecated types included.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, final

from librt.strings import BytesWriter, read_i32_le, read_i64_le, write_i32_le
from mypy_extensions import mypyc_attr

from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason

# mongod stops at 200 levels (BSONDepth::kDefaultMaxAllowableDepth); what is deeper cannot be stored anyway.
MAX_DEPTH: Final = 200

# int32 length + terminator
MIN_DOCUMENT_BYTES: Final = 5


_FIXED_BYTES: Final = {
    kinds.DOUBLE: 8,
    kinds.UNDEFINED: 0,
    kinds.OBJECT_ID: 12,
    kinds.BOOL: 1,
    kinds.DATE: 8,
    kinds.NULL: 0,
    kinds.INT: 4,
    kinds.TIMESTAMP: 8,
    kinds.LONG: 8,
    kinds.DECIMAL: 16,
    kinds.MAX_KEY: 0,
    kinds.MIN_KEY: 0,
}
# The same by type byte, which saves 2,400 of the 94,000 instructions of a find-one. VARIABLE: the value's own
# bytes tell its length.
_VARIABLE: Final = 0xFF
_SIZES: Final = bytes(_FIXED_BYTES.get(kind, _VARIABLE) for kind in range(256))


# --------------------- read the little-endian int32 of messages and documents: the one place that knows how
#
# `librt.strings.read_i32_le` is one machine instruction in a compiled core and the fastest call in a
# plain one. There it yields a fixed-width integer, and arithmetic with one wraps around where Python's
# integers grow: after an addition a length of 2147483647 would count as negative. Hence nobody else calls
# it.


def int32_at(buf: bytes, offset: int) -> int:
    """The int32 at `offset`. Raises IndexError where no four bytes are, which callers rule out first."""
    value: int = read_i32_le(buf, offset)
    return value


# ---------------------------------------------------------------------------- find the NUL that ends a name
#
# `bytes.find` is the fastest search in plain Python. In a compiled core a call of it takes 400
# instructions, and names of fields are short: looking at their bytes one by one saves 6,300 of the 94,000
# instructions of a find-one.

if TYPE_CHECKING:
    from mypy_extensions import i64

_IS_COMPILED: Final = not __file__.endswith(".py")
_WORD_BYTES: Final = 8


def find_nul(buf: bytes, start: int, limit: int) -> int:
    """Offset of the first NUL from `start` on and before `limit`; -1 where there is none. Cost: O(distance).

    `start` is no negative number.
    """
    if _IS_COMPILED:
        return _scan(buf, start, limit)  # in one expression with `find`, an object is made of its answer
    return buf.find(0, start, limit)


def _scan(buf: bytes, start: i64, limit: i64) -> i64:  # pragma: no cover - only the compiled core calls it
    at = start
    end = min(limit, len(buf))
    while at < end:
        if not buf[at]:
            return at
        at += 1
    return -1


def is_at(buf: bytes, at: int, head: bytes) -> bool:
    """Whether `head` stands at `at`, where the buffer has as many bytes at least. Cost: O(len(head)).

    A copy to compare takes 190 of 8,400 instructions more for each value of an insert.
    """
    return _is_same(buf, at, head) if _IS_COMPILED else buf.startswith(head, at)


def _is_same(buf: bytes, at: i64, head: bytes) -> bool:  # pragma: no cover - only the compiled core calls it
    done: i64 = 0
    size: i64 = len(head)
    while done + _WORD_BYTES <= size:
        if read_i64_le(buf, at + done) != read_i64_le(head, done):
            return False
        done += _WORD_BYTES
    while done < size:
        if buf[at + done] != head[done]:
            return False
        done += 1
    return True


def enclosed(*parts: bytes) -> bytes:
    """A document or an array of whole elements. Cost: one copy."""
    inside = b"".join(parts)
    return (len(inside) + 5).to_bytes(4, "little") + inside + b"\0"


# The garbage collector does not track it. With `Edit` and the classes of `policies` that are declared
# so, that saves 1,600 of the 95,600 instructions of a find-one, and 5.7 % of an insert of 1,000 documents.
@final
@mypyc_attr(acyclic=True)
class Element:
    """One element of a document, as offsets into the buffer that holds it. Nothing changes it once made."""

    __slots__ = ("end", "kind", "name", "start", "value")

    def __init__(self, kind: int, name: bytes, start: int, value: int, end: int) -> None:
        self.kind = kind
        """Type byte; compare with `kinds`."""
        self.name = name
        """Field name without its NUL, undecoded."""
        self.start = start
        """Offset of the type byte."""
        self.value = value
        """Offset of the value's first byte; for documents and arrays, of their length."""
        self.end = end
        """Offset just past the value."""

    def __repr__(self) -> str:
        return f"Element(kind={self.kind}, start={self.start}, value={self.value}, end={self.end})"


def find_element(buf: bytes, start: int, name: bytes) -> Element | None:
    """The first element of this name in the document at `start`. Raises BsonError. Cost: O(elements)."""
    return next((element for element in elements(buf, start) if element.name == name), None)


def string_bytes(buf: bytes, element: Element) -> bytes:
    """The content of a string in UTF-8, without length and NUL, undecoded; empty where the value is none.

    The one place that cuts it out: a value of another type may be shorter than a string's length, and a slice
    that ends before its start raises SystemError in a compiled core. Cost: one copy.
    """
    if element.kind != kinds.STRING:
        return b""
    return buf[element.value + 4 : element.end - 1]


def document_end(buf: bytes, start: int, limit: int) -> int:
    """Offset just past the document at `start`, which must end at or before `limit`.

    Raises BsonError when the length is impossible or the terminator is missing. Cost: O(1).
    """
    if start + MIN_DOCUMENT_BYTES > limit:
        raise BsonError(WireReason.BSON_LENGTH, start)
    length = int32_at(buf, start)
    end = start + length
    if length < MIN_DOCUMENT_BYTES or end > limit:
        raise BsonError(WireReason.BSON_LENGTH, start)
    if buf[end - 1] != 0:
        raise BsonError(WireReason.BSON_TERMINATOR, end - 1)
    return end


def elements(buf: bytes, start: int) -> Iterator[Element]:
    """The elements of the document at `start`, in order, one level deep.

    The document's own extent must have been checked (`document_end`, or the walk of its parent).
    Raises BsonError at the first element that does not fit. Cost: O(elements), no copies but the names.
    """
    last = start + int32_at(buf, start) - 1
    at = start + 4
    while at < last:
        name_end = find_nul(buf, at + 1, last)
        if name_end < 0:
            raise BsonError(WireReason.BSON_STRING, at)
        end = value_end(buf, buf[at], name_end + 1, last)
        yield Element(buf[at], buf[at + 1 : name_end], at, name_end + 1, end)
        at = end
    if at != last or buf[last] != 0:
        raise BsonError(WireReason.BSON_TERMINATOR, at)


# Kept for the next one: for Cursor, OpMsg and what puts messages together this saves 2,100 of the 94,000
# instructions of a find-one. No cycle can lead through one of them.
@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Cursor:
    """Walks the elements of one document without an object for each; its fields tell of the present one.

    It makes the same checks as `elements`. `start` is the offset of the document, whose own extent must have
    been checked.
    """

    __slots__ = ("_last", "buf", "end", "kind", "start", "value")

    def __init__(self, buf: bytes, start: int) -> None:
        self.buf = buf
        self._last = start + int32_at(buf, start) - 1
        self.kind = 0
        """Type byte."""
        self.start = start
        """Offset of the type byte."""
        self.value = start
        """Offset of the value's first byte."""
        self.end = start + 4
        """Offset just past the value, where the next element starts."""

    def advance(self) -> bool:
        """Go to the next element; False when there is none. Raises BsonError. Cost: O(length of its name)."""
        buf = self.buf
        last = self._last
        at = self.end
        if at >= last:
            if at != last or buf[last] != 0:
                raise BsonError(WireReason.BSON_TERMINATOR, at)
            return False
        name_end = find_nul(buf, at + 1, last)
        if name_end < 0:
            raise BsonError(WireReason.BSON_STRING, at)
        self.kind = kind = buf[at]
        self.start = at
        self.value = value = name_end + 1
        self.end = value_end(buf, kind, value, last)
        return True

    def advance_as(self, head: bytes) -> bool:
        """As `advance`, if the next element begins with these bytes: a type byte, a name and its only NUL.

        False, and nothing changes, if it begins otherwise. Raises BsonError. Cost: O(length of the name).
        """
        at = self.end
        value = at + len(head)
        if value > self._last or not is_at(self.buf, at, head):
            return False
        self.kind = kind = head[0]
        self.start = at
        self.value = value
        self.end = value_end(self.buf, kind, value, self._last)
        return True

    def advance_to(self, offset: int) -> bool:
        """Go to the first element from the next one on that ends behind `offset`. As `advance`."""
        while self.advance():
            if self.end > offset:
                return True
        return False

    def go_back(self) -> None:
        """Let `advance` come to the present element once more."""
        self.end = self.start

    @property
    def name(self) -> bytes:
        """Field name without its NUL, undecoded. Cost: one copy."""
        return self.buf[self.start + 1 : self.value - 1]

    def is_named(self, name: bytes) -> bool:
        """Whether the field has this name. Cost: a copy only where the lengths are the same."""
        first = self.start + 1
        end = self.value - 1
        return end - first == len(name) and self.buf[first:end] == name

    def element(self, name: bytes) -> Element:
        """The present element, whose name is `name`, as an object that stays."""
        return Element(self.kind, name, self.start, self.value, self.end)


def value_end(buf: bytes, kind: int, value: int, limit: int) -> int:
    """Offset just past the value of type `kind` at `value`, which must end at or before `limit`.

    What a value's own bytes say beyond its length is not looked at (`validate_value`). Raises BsonError.
    Cost: O(1), but for the rare types that hold C strings.
    """
    size = _SIZES[kind]
    if size != _VARIABLE:
        end = value + size
        if end > limit:
            raise BsonError(WireReason.BSON_LENGTH, value)
        return end
    if kind in (kinds.STRING, kinds.JAVASCRIPT, kinds.SYMBOL):
        return _string_end(buf, value, limit)
    if kind in (kinds.OBJECT, kinds.ARRAY):
        return document_end(buf, value, limit)
    if kind == kinds.BIN_DATA:
        end = _binary_end(buf, value, limit)
    elif kind == kinds.REGEX:
        end = _cstring_end(buf, _cstring_end(buf, value, limit), limit)
    elif kind == kinds.DB_POINTER:
        end = _string_end(buf, value, limit) + 12
    elif kind == kinds.JAVASCRIPT_WITH_SCOPE:
        end = _code_with_scope_end(buf, value, limit)
    else:
        raise BsonError(WireReason.BSON_TYPE, value)
    if end > limit:
        raise BsonError(WireReason.BSON_LENGTH, value)
    return end


def _binary_end(buf: bytes, value: int, limit: int) -> int:
    if value + 5 > limit:
        raise BsonError(WireReason.BSON_LENGTH, value)
    length = int32_at(buf, value)
    if length < 0:
        raise BsonError(WireReason.BSON_LENGTH, value)
    return value + 5 + length


def _string_end(buf: bytes, value: int, limit: int) -> int:
    if value + 4 > limit:
        raise BsonError(WireReason.BSON_LENGTH, value)
    length = int32_at(buf, value)
    end = value + 4 + length
    if length < 1 or end > limit:
        raise BsonError(WireReason.BSON_LENGTH, value)
    if buf[end - 1] != 0:
        raise BsonError(WireReason.BSON_STRING, value)
    return end


def _cstring_end(buf: bytes, value: int, limit: int) -> int:
    nul = find_nul(buf, value, limit)
    if nul < 0:
        raise BsonError(WireReason.BSON_STRING, value)
    return nul + 1


def _is_sound(buf: bytes, element: Element) -> bool:
    """What a value's own bytes must satisfy beyond its length; servers hold documents that do not."""
    value = element.value
    if element.kind == kinds.BOOL:
        return buf[value] <= 1
    if element.kind == kinds.BIN_DATA and buf[value + 4] == 2:
        # the old binary subtype repeats its length inside (bsonspec.org note on subtype 2)
        length = int32_at(buf, value)
        return length >= 4 and int32_at(buf, value + 5) == length - 4
    return True


def _code_with_scope_end(buf: bytes, value: int, limit: int) -> int:
    """int32 total, string code, document scope; the three lengths must agree."""
    if value + 14 > limit:
        raise BsonError(WireReason.BSON_LENGTH, value)
    end = value + int32_at(buf, value)
    if end < value + 14 or end > limit:
        raise BsonError(WireReason.BSON_LENGTH, value)
    scope = _string_end(buf, value + 4, end)
    if document_end(buf, scope, end) != end:
        raise BsonError(WireReason.BSON_LENGTH, value)
    return end


def scope_document(buf: bytes, value: int, end: int) -> int:
    """Offset of the scope document inside a JavaScript-with-scope value that lies from `value` to `end`."""
    return _string_end(buf, value + 4, end)


def validate(buf: bytes, start: int, limit: int, depth: int = 0) -> int:
    """Check the document at `start` and everything nested in it; return the offset just past it.

    Raises BsonError. Cost: O(bytes); recursion is bounded by MAX_DEPTH.
    """
    if depth > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, start)
    end = document_end(buf, start, limit)
    for element in elements(buf, start):
        validate_value(buf, element, depth)
    return end


def validate_value(buf: bytes, element: Element, depth: int = 0) -> None:
    """Check what is inside one element's value, whose extent the walk has checked. Raises BsonError."""
    if element.kind in (kinds.OBJECT, kinds.ARRAY):
        validate(buf, element.value, element.end, depth + 1)
    elif element.kind == kinds.JAVASCRIPT_WITH_SCOPE:
        validate(buf, scope_document(buf, element.value, element.end), element.end, depth + 1)
    elif not _is_sound(buf, element):
        raise BsonError(WireReason.BSON_VALUE, element.value)


# ------------------------- replace some elements of a message and correct every length above them

# Pieces up to this much are joined at once, which is the fastest way for the messages that nearly all are.
JOINED_BYTES: Final = 1 << 20

LARGE_DATA_BYTES: Final = 64 * 1024

_BINARY_HEAD: Final = 5  # the int32 length of a binary, and its subtype


@final
@mypyc_attr(acyclic=True)
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
            return sorted(edits, key=lambda each: (each.start, each.end))
        start, end = edit.start, edit.end
    return edits


@final
@mypyc_attr(acyclic=True, free_list_len=1)
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
        """The bytes before the content of a binary: its type, the name with its NUL, length and subtype."""
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
