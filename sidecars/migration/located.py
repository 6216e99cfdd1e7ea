"""Finds the covered values of a stored document, each with the exact path that an update can name."""

from sealwire.policies.file.paths import is_transparent
from sealwire.policies.file.schema import Mode, PathNode
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Cursor, Element, document_end, elements

EMPTY = frozenset({kinds.NULL, kinds.UNDEFINED})
"""Types without value bytes that keep their meaning in clear."""


class Located:
    """One covered value: its node, where it lies in the document, and its path there, as `items.3.secret`."""

    __slots__ = ("element", "is_addressable", "node", "place")

    def __init__(self, node: PathNode, element: Element, place: bytes, *, is_addressable: bool) -> None:
        self.node = node
        self.element = element
        self.place = place
        self.is_addressable = is_addressable
        """Whether an update can name it: not where a field's name begins with $, or stands twice."""


def locate(raw: bytes, tree: PathNode) -> list[Located]:
    """Every covered value of a document; nulls are none, and of a deterministic array each element is one.

    An element of an array is named by its position: the names that an array's bytes hold mean nothing.
    Raises BsonError for what is no document. Cost: O(elements on the way), no values copied.
    """
    document_end(raw, 0, len(raw))
    walk = _Walk(raw)
    walk.document(0, tree, b"", True, 0)
    return walk.found


class _Walk:
    """A walk through one document."""

    __slots__ = ("_raw", "found")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.found: list[Located] = []

    def document(self, start: int, node: PathNode, above: bytes, sound: bool, depth: int) -> None:
        """Go through the fields of the document at `start`; `sound`: an update can name it."""
        below: list[tuple[PathNode, Element]] = []
        names: set[bytes] = set()
        twice: set[bytes] = set()
        cursor = Cursor(self._raw, start)
        while cursor.advance():
            name = cursor.name
            child = node.child(name)
            if child is None:
                if not is_transparent(name):
                    continue
                child = node
            (twice if name in names else names).add(name)
            below.append((child, cursor.element(name)))
        for child, element in below:
            name = element.name
            addressable = sound and not name.startswith(b"$") and name not in twice
            self.value(element, child, above + name, addressable, depth + 1)

    def value(self, element: Element, node: PathNode, place: bytes, sound: bool, depth: int) -> None:
        """Take the value of an element, or go into it."""
        leaf = node.leaf
        if leaf is not None and (leaf.mode is Mode.RANDOM or element.kind != kinds.ARRAY):
            if element.kind not in EMPTY:
                self.found.append(Located(node, element, place, is_addressable=sound))
        elif depth > MAX_DEPTH:
            return
        elif element.kind == kinds.ARRAY:
            for index, item in enumerate(elements(self._raw, element.value)):
                self.value(item, node, b"%b.%d" % (place, index), sound, depth + 1)
        elif element.kind == kinds.OBJECT:
            self.document(element.value, node, place + b".", sound, depth)
