"""The Merkle tree over all lines, of which only the right edge is kept. Source: RFC 9162 section 2.1.

Its root says in 32 bytes what every line is, so a signed root is worth a signature of all of them.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, final

from sealwire.audit.line import HASH_BYTES

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
        """What a tree of this size goes on from."""
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
