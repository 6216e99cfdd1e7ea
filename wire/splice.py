"""Replace some elements of a message and correct every length above them; all else stays as received."""

import struct
from collections.abc import Sequence
from typing import Final, final

from sealwire.wire.int32 import int32_at

_pack_int32: Final = struct.Struct("<i").pack

# Pieces up to this much are joined at once, which is the fastest way for the messages that nearly all are.
JOINED_BYTES: Final = 1 << 20

LARGE_DATA_BYTES: Final = 64 * 1024


@final
class Edit:
    """Put `data` in place of `buf[start:end]`."""

    __slots__ = ("data", "end", "parents", "start")

    def __init__(self, start: int, end: int, data: bytes, parents: tuple[int, ...]) -> None:
        self.start = start
        self.end = end
        self.data = data
        self.parents = parents
        """Offsets of the int32 lengths that count these bytes, outermost first: the message's own (0), the
        document sequence's, and those of the documents and arrays around the element."""


def resized(buf: bytes, edits: Sequence[Edit]) -> dict[int, int]:
    """New value of each int32 length that the edits change, by its offset.

    Cost: O(edits + documents x depth).
    """
    deltas: dict[int, int] = {}
    parents: tuple[int, ...] = ()
    delta = 0
    for edit in edits:
        if edit.parents is not parents:
            # edits of one document have one tuple of parents: their growth is added up first
            _add(deltas, parents, delta)
            parents, delta = edit.parents, 0
        delta += len(edit.data) - (edit.end - edit.start)
    _add(deltas, parents, delta)
    return {parent: int32_at(buf, parent) + grown for parent, grown in deltas.items()}


def _add(deltas: dict[int, int], parents: tuple[int, ...], delta: int) -> None:
    if delta:
        for parent in parents:
            deltas[parent] = deltas.get(parent, 0) + delta


def splice(buf: bytes, edits: Sequence[Edit], lengths: dict[int, int] | None = None) -> bytes:
    """The bytes of `buf` with `edits` applied and the lengths above them corrected.

    `lengths` is the answer of `resized` for the same edits when the caller has it already. Edits may come in
    any order and must not overlap each other or a length they change: ValueError, a bug of the caller.
    Cost: O(len(buf) + edits log edits), one copy.
    """
    if lengths is None:
        lengths = resized(buf, edits)
    return b"".join(splice_in_pieces(buf, edits, lengths, 0, len(buf)))


def splice_in_pieces(
    buf: bytes, edits: Sequence[Edit], lengths: dict[int, int], start: int, end: int
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


def _in_order(edits: Sequence[Edit]) -> Sequence[Edit]:
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
class _Output:
    """Joins small pieces. A large message is never there as a list of its pieces and once more joined."""

    __slots__ = ("_joined", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._joined: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > JOINED_BYTES:
            self._join()

    def add_large(self, piece: bytes) -> None:
        self._join()
        self._joined.append(piece)

    def _join(self) -> None:
        if self._pieces:
            self._joined.append(b"".join(self._pieces))
            self._pieces.clear()
        self._size = 0

    def taken(self) -> list[bytes]:
        if not self._joined:
            return [b"".join(self._pieces)]
        self._join()
        return self._joined


def _correct(out: _Output, buf: bytes, position: int, offset: int, lengths: dict[int, int]) -> int:
    """Copy up to the length at `offset` and write its new value; returns where the copy goes on."""
    if offset < position:
        raise ValueError("edits overlap")
    out.add(buf[position:offset])
    out.add(_pack_int32(lengths[offset]))
    return offset + 4
