"""What documents that are put together show of others: distinct values by class, and elements of arrays.

Only replies whose documents do not come as the collection has them are looked at, as the server sent them:
equal values of a deterministic class have equal envelopes, so nothing is decrypted for this. Values under
several key versions or contexts, and those of a random class, count as often as they are stored.
"""

from collections.abc import Mapping
from typing import Final, final

from sealwire.crypto.envelope import BINARY_HEAD, class_id_of, is_envelope
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import MAX_DEPTH, Cursor

MAX_DISTINCT: Final = 10_000
"""So many values of a class are told apart in one reply; that number means as many or more."""


@final
class Gathered:
    """What the documents of one reply show of others."""

    __slots__ = ("_met", "_names", "elements")

    def __init__(self, names: Mapping[int, str]) -> None:
        """`names`: of the classes, by their ids."""
        self._names = names
        self._met: dict[int, set[int]] = {}
        """By class id, hashes of envelopes: they hold no value, and are gone with the reply."""
        self.elements = 0
        """How many elements arrays have, at every depth."""

    def look(self, buf: bytes, start: int, *, is_array: bool = False) -> None:
        """Count what the document or array at `start` has, up to what is malformed. Cost: O(elements)."""
        try:
            self._walk(buf, start, is_array, 0)
        except BsonError:
            return

    def run(self, buf: bytes, depth: int) -> None:
        """As `look`, for some elements of a container that lies `depth` levels below a document."""
        try:
            first = Cursor(buf, 0)
            is_array = depth > 0 and first.advance() and first.name.isdigit()
        except BsonError:
            return
        self.look(buf, 0, is_array=is_array)

    def opened(self, read: Mapping[str, int]) -> dict[str, int]:
        """By class, how many distinct values there are among those that were opened, by `read`."""
        found: dict[str, int] = {}
        for class_id, met in self._met.items():
            name = self._names.get(class_id, "")
            if name in read:  # others stay closed
                found[name] = min(read[name], found.get(name, 0) + len(met))
        return found

    def _walk(self, buf: bytes, start: int, is_array: bool, depth: int) -> None:
        if depth > MAX_DEPTH:
            return
        cursor = Cursor(buf, start)
        while cursor.advance():
            if is_array:
                self.elements += 1
            kind, value = cursor.kind, cursor.value
            if kind in (kinds.OBJECT, kinds.ARRAY):
                self._walk(buf, value, kind == kinds.ARRAY, depth + 1)
            elif is_envelope(kind, buf, value):
                self._envelope(buf, value + BINARY_HEAD, cursor.end)

    def _envelope(self, buf: bytes, start: int, end: int) -> None:
        class_id = class_id_of(buf, start)
        if class_id not in self._names:  # a server that lies may send any number of them
            return
        met = self._met.get(class_id)
        if met is None:
            met = self._met[class_id] = set()
        if len(met) < MAX_DISTINCT:
            met.add(hash(buf[start:end]))
