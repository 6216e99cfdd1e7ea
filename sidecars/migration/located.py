"""Finds the covered values of a stored document, each with the exact path that an update can name."""

from collections.abc import Iterator

from sealwire.policies.file.paths import is_transparent
from sealwire.policies.file.schema import Mode, PathNode
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, document_end, elements

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
    return list(_in_document(raw, 0, tree, b"", True, 0))


def _in_document(
    raw: bytes, start: int, node: PathNode, above: bytes, sound: bool, depth: int
) -> Iterator[Located]:
    found: list[tuple[PathNode, Element]] = []
    names: set[bytes] = set()
    twice: set[bytes] = set()
    for element in elements(raw, start):
        child = node.child(element.name)
        if child is None:
            if not is_transparent(element.name):
                continue
            child = node
        if element.name in names:
            twice.add(element.name)
        names.add(element.name)
        found.append((child, element))
    for child, element in found:
        name = element.name
        addressable = sound and name not in twice and not name.startswith(b"$")
        yield from _in_value(raw, element, child, above + name, addressable, depth + 1)


def _in_value(
    raw: bytes, element: Element, node: PathNode, place: bytes, sound: bool, depth: int
) -> Iterator[Located]:
    leaf = node.leaf
    if leaf is not None and (leaf.mode is Mode.RANDOM or element.kind != kinds.ARRAY):
        if element.kind not in EMPTY:
            yield Located(node, element, place, is_addressable=sound)
    elif depth > MAX_DEPTH:
        return
    elif element.kind == kinds.ARRAY:
        for index, item in enumerate(elements(raw, element.value)):
            yield from _in_value(raw, item, node, b"%b.%d" % (place, index), sound, depth + 1)
    elif element.kind == kinds.OBJECT:
        yield from _in_document(raw, element.value, node, place + b".", sound, depth)
