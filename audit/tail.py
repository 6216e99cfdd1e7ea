"""Where a log ends: what the next line has to follow on.

The first line of every file has the event `file` and, in `peaks`, the tree of all lines before it. So each
file can be gone on with, and verified, without those before it, which may have been archived.
"""

from typing import Final, final

from sealwire.audit.line import FIRST_PREVIOUS, HASH_BYTES, Fields, NotALine, leaf_hash, read_line, write_line
from sealwire.audit.tree import Tree

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
