"""The order in which the values of a class move: what places and ranges are, whichever form the old one is.

A place is a position (`keys.frontier`), and may be coarser than a value's own: it is then a beginning of it,
and stands before all values that share it. Windows end at places.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sealwire.keys.frontier.frontier import AFTER_ALL, Position, StoredForm
from sealwire.policies.file.schema import Mode, PathNode, PolicySet, leaves
from sealwire.sidecars.migration.moves import Move
from sealwire.sidecars.raw_documents import document
from sealwire.wire import kinds

# -------------------------------------------------------------------- where a deterministic class is stored


@dataclass(frozen=True, slots=True)
class ClassPaths:
    """The covered paths of one class in one collection."""

    namespace: str
    tree: PathNode
    """The policy's tree with these paths only."""
    paths: tuple[str, ...]


def class_paths(policies: PolicySet, namespaces: Iterable[str], class_name: str) -> list[ClassPaths]:
    """Those of a deterministic class in all `namespaces` that have any."""
    found = []
    for namespace in namespaces:
        tree = policies.covered(namespace)
        pruned = None if tree is None else _pruned(tree, class_name)
        if pruned is not None:
            paths = tuple(node.path for node in leaves(pruned) if node.leaf is not None)
            found.append(ClassPaths(namespace, pruned, paths))
    return found


def moves_of_paths(found: Iterable[ClassPaths], class_name: str) -> tuple[Move, ...]:
    """The same as a job names them."""
    return tuple(Move(each.namespace, path, class_name) for each in found for path in each.paths)


def _pruned(node: PathNode, class_name: str) -> PathNode | None:
    leaf = node.leaf
    if leaf is not None:
        is_ours = leaf.name == class_name and leaf.mode is Mode.DETERMINISTIC
        return PathNode(node.path, leaf=leaf) if is_ours else None
    below: Mapping[bytes, PathNode | None] = {
        name: _pruned(child, class_name) for name, child in node.children.items()
    }
    children = {name: child for name, child in below.items() if child is not None}
    return PathNode(node.path, children) if children else None


class Range(NamedTuple):
    """Stored values of some types that lie together in an index."""

    types: tuple[int, ...]
    """BSON types that compare with each other. The first one is the class's own."""
    low: StoredForm | None = None
    """The first; None: the first of these types."""
    last: StoredForm | None = None
    """The last one; None: `behind` ends the range."""
    behind: StoredForm | None = None
    """The first one that is not in it any more; None: it ends with these types."""

    @property
    def condition(self) -> bytes:
        """What a search compares the path with, as a BSON document. Cost: O(bytes of the bounds)."""
        parts = []
        if self.low is not None:
            parts.append(_element(b"$gte", self.low))
        if self.last is not None:
            parts.append(_element(b"$lte", self.last))
        elif self.behind is not None:
            parts.append(_element(b"$lt", self.behind))
        return document(*parts) if parts else document(b"\x04$type\0" + _numbers(self.types))


class Reach:
    """How far a search for the next window's end goes: it reads on until it has met enough.

    So it is where nobody knows how old forms are spread.
    """

    def first(self, start: Position) -> Position:
        """Where the first try from `start` ends: behind all that is left."""
        del start
        return AFTER_ALL

    def further(self, begin: Position) -> Position:
        """Where the next one ends, that goes on at `begin`: too little was before it, or the try was cut."""
        return self.first(begin)

    def learn(self, end: Position, places: Sequence[Position]) -> None:
        """Take note of a window's end and of the places that it holds."""


class Order(Protocol):
    """The old forms of one class, as one version of it makes them."""

    def may_be_in(self, raw: bytes) -> bool:
        """Whether a document has to be looked through for old forms; False is certain."""

    def place(self, kind: int, value: bytes) -> Position | None:
        """Where what is stored stands; None for what is no old form."""

    def after(self, place: Position) -> Position:
        """Behind all old forms that share this place."""

    def ranges(self, start: Position, end: Position) -> Iterator[Range]:
        """What holds every old form from `start` to before `end`, in that order, and may hold other values.

        Both are places, or the beginning or end of all.
        """

    def reach(self) -> Reach:
        """For a search that begins now."""


def _element(name: bytes, form: StoredForm) -> bytes:
    return b"%c%b\0%b" % (form.kind, name, form.data)


def _numbers(types: tuple[int, ...]) -> bytes:
    return document(
        *(
            _element(b"%d" % index, StoredForm(kinds.INT, kind.to_bytes(4, "little")))
            for index, kind in enumerate(types)
        )
    )
