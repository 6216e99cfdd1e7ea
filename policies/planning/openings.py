"""Where in a reply envelopes are opened, if documents of collections without a policy can be in it.

Such a document may hold ciphertext that was copied into it past Sealwire. So a reply in which one may be is
opened only where the planner knows that everything comes from protected collections: at leaves of the tree
of its documents, and at what is pure (`schema.PathNode.pure`).
"""

from collections.abc import Mapping
from typing import Final, final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode


@final
class Openings:
    """One step of the paths at which a reply's documents are opened. Paths lead through arrays."""

    __slots__ = ("below", "single", "whole")

    def __init__(
        self, below: Mapping[bytes, "Openings"], *, whole: bool = False, single: bool = False
    ) -> None:
        self.below: Final = below
        self.whole: Final = whole
        """Whether everything here and below is opened."""
        self.single: Final = single
        """Whether only a document is opened by this, and no array of documents."""


WHOLE: Final = Openings({}, whole=True)
CLOSED: Final = Openings({})
"""Nothing is opened."""

_SINGLE: Final = b"!"

BY_NAMESPACE: Final = Openings({})
"""Events of a change stream over many collections: those whose `ns` is protected are opened."""


def openings_of(tree: PathNode) -> Openings:
    """Where documents with these covered paths are opened.

    Documents of which nothing is known, such as those of a view that nobody can follow, are not opened.
    Raises Refusal(MIXED) for a field of which it is not known whether its ciphertext is of a protected
    collection: what was copied could pass for it. Cost: O(size).
    """
    return Openings(_below(tree, is_unknown=tree.opaque and tree.within is None))


def opening_of(node: PathNode, *, is_unknown: bool = False) -> Openings:
    """The same for values at one path; with `is_unknown`, what is not known stays closed instead."""
    if node.absent or not node.covers:
        return CLOSED
    if node.pure or node.leaf is not None:
        return WHOLE
    below = _below(node, is_unknown=is_unknown)
    if node.opaque and not below and not is_unknown:
        raise Refusal(Reason.MIXED, path=node.path)
    return Openings(below, single=(node.within or node).single)


def _below(node: PathNode, *, is_unknown: bool) -> dict[bytes, Openings]:
    if node.opaque and node.within is not None:
        node = node.within
    below = {name: opening_of(child, is_unknown=is_unknown) for name, child in node.children.items()}
    return {name: opening for name, opening in below.items() if opening.whole or opening.below}


def as_text(openings: Openings) -> bytes:
    """Openings in hexadecimal digits, dots and marks: one item for each path that is opened whole."""
    if openings is BY_NAMESPACE:
        return b"ns"
    return b",".join(_paths(openings, b""))


def _paths(openings: Openings, prefix: bytes) -> list[bytes]:
    if openings.whole:
        return [prefix]
    found: list[bytes] = []
    for name, opened in openings.below.items():
        found += _paths(opened, b"%b.%b%b" % (prefix, name.hex().encode(), _SINGLE if opened.single else b""))
    return found


def from_text(text: bytes) -> Openings:
    """The inverse of `as_text`. Raises ValueError for what is none."""
    if text == b"ns":
        return BY_NAMESPACE
    return _read([path.split(b".")[1:] for path in text.split(b",")] if text else [])


def _read(paths: list[list[bytes]], *, single: bool = False) -> Openings:
    if any(not path for path in paths):
        return WHOLE
    below: dict[bytes, list[list[bytes]]] = {}
    for first, *rest in paths:
        below.setdefault(first, []).append(rest)
    opened: dict[bytes, Openings] = {}
    for text, rests in below.items():
        name = bytes.fromhex(text.removesuffix(_SINGLE).decode("ascii"))
        opened[name] = _read(rests, single=text.endswith(_SINGLE))
    return Openings(opened, single=single)
