"""Replace some elements of a message and correct every length above them; all else stays as received."""

import struct
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

from sealwire.wire.raw_bson import int32_at

_pack_int32 = struct.Struct("<i").pack


class Edit(NamedTuple):
    """Put `data` in place of `buf[start:end]`."""

    start: int
    end: int
    data: bytes
    parents: tuple[int, ...]
    """Offsets of the int32 lengths that count these bytes: the message's own (0), the document sequence's,
    and those of the documents and arrays around the element, outermost first."""


def resized(buf: bytes, edits: Sequence[Edit]) -> dict[int, int]:
    """New value of each int32 length that the edits change, by its offset. Cost: O(edits x depth)."""
    deltas: dict[int, int] = {}
    for edit in edits:
        delta = len(edit.data) - (edit.end - edit.start)
        if delta:
            for parent in edit.parents:
                deltas[parent] = deltas.get(parent, 0) + delta
    return {parent: int32_at(buf, parent) + delta for parent, delta in deltas.items()}


def splice(buf: bytes, edits: Sequence[Edit], lengths: dict[int, int] | None = None) -> bytes:
    """The bytes of `buf` with `edits` applied and the lengths above them corrected.

    `lengths` is the answer of `resized` for the same edits when the caller has it already. Edits may come in
    any order and must not overlap each other or a length they change: ValueError, a bug of the caller.
    Cost: O(len(buf) + edits log edits), one copy.
    """
    if lengths is None:
        lengths = resized(buf, edits)
    pieces: list[tuple[int, int, bytes]] = [(edit.start, edit.end, edit.data) for edit in edits]
    pieces.extend((offset, offset + 4, _pack_int32(length)) for offset, length in lengths.items())
    pieces.sort(key=lambda piece: piece[:2])
    # Not a list to be joined: for as long as that takes, all of the message would be there once more.
    out = BytesIO()
    position = 0
    for start, end, data in pieces:
        if start < position:
            raise ValueError("edits overlap")
        out.write(buf[position:start])
        out.write(data)
        position = end
    out.write(buf[position:])
    return out.getvalue()
