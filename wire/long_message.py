"""A message of a megabyte or more, in parts: whoever reads it can let go of what it has read.

A message in one buffer is there until its last byte was used, and what is made from it lies beside it. Of one
in parts, each part can go as soon as its content has been written elsewhere.
"""

from collections import deque
from typing import Final, final

LONG_BYTES: Final = 1 << 20
"""Messages longer than this are worth the trouble."""

PART_BYTES: Final = 128 * 1024
"""What a part has at least, but for the last. A chunk from a socket that is as large is a part as it came."""

HEAD_BYTES: Final = 25
"""The header, the flags, the kind of the first section, and a document's length."""

SMALL_BYTES: Final = 4 * 1024
"""Pieces that are smaller are worth a copy."""


@final
class LongMessage:
    """One message as it arrives. Whoever takes from `parts` owns it."""

    __slots__ = ("arrived", "head", "parts", "size")

    def __init__(self, parts: deque[bytes], size: int) -> None:
        self.head = parts[0][:HEAD_BYTES]
        self.parts = parts
        """At least one, none empty."""
        self.size = size
        """Bytes of the whole message."""
        self.arrived = sum(map(len, parts))
        """How many of them were put into `parts` so far."""

    def __repr__(self) -> str:
        return f"LongMessage(size={self.size}, parts={len(self.parts)})"

    @property
    def complete(self) -> bool:
        """Whether nothing more of it will come."""
        return self.arrived == self.size

    def add(self, part: bytes) -> None:
        """The next part has come."""
        self.parts.append(part)
        self.arrived += len(part)

    def joined(self) -> bytes:
        """All of it in one piece, from now on. Cost: once more its size, for the moment."""
        if len(self.parts) > 1:
            whole = b"".join(self.parts)
            self.parts.clear()
            self.parts.append(whole)
        return self.parts[0]

    def holds(self, wanted: bytes) -> bool:
        """Whether `wanted`, some bytes shorter than a part, lie in it anywhere. Cost: O(bytes)."""
        end = b""
        for part in self.parts:
            if wanted in part or wanted in end + part[: len(wanted)]:
                return True
            end = part[-len(wanted) :]
        return False


def regrouped(pieces: list[bytes]) -> list[bytes]:
    """The same bytes in pieces of SMALL_BYTES or more, but for the last; empties `pieces`.

    A piece that is large enough already stays as it is, unless small ones lie before it. Cost: O(bytes), one
    copy of what is joined, and never of all at the same time.
    """
    pieces.reverse()
    grouped: list[bytes] = []
    group: list[bytes] = []
    size = 0
    while pieces:
        piece = pieces.pop()
        group.append(piece)
        size += len(piece)
        if size >= SMALL_BYTES:
            grouped.append(b"".join(group))
            group.clear()
            size = 0
    if size:
        grouped.append(b"".join(group))
    return grouped
