"""Where a deterministic class is stored, and which of its values a search by the path does not reach."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sealwire.policies.file.schema import Mode, PathNode, PolicySet, leaves
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.migration.moves import Move
from sealwire.wire import kinds
from sealwire.wire.raw_bson import elements


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


def is_reached(raw: bytes, walk: StoredValues) -> bool:
    """Whether `{path: value}` finds the value: not in an array of arrays, or below a number as a name.

    `walk` is of the document `raw`. Raises BsonError. Cost: O(elements on the way) where there are arrays.
    """
    place, path = walk.place.split(b"."), walk.node.path
    return len(place) == path.count(".") + 1 or _is_reached(raw, place, path)


def _is_reached(raw: bytes, place: list[bytes], path: str) -> bool:
    """Whether each number in the place is a position in an array, and none follows on another."""
    wanted = path.encode().split(b".")
    start, is_array, was_number = 0, False, False
    for depth, part in enumerate(place):
        is_name = bool(wanted) and part == wanted[0] and not is_array
        if not is_name and (not is_array or was_number):
            return False
        if is_name:
            wanted.pop(0)
        was_number = not is_name
        if depth == len(place) - 1:
            return True
        element = next(
            each
            for index, each in enumerate(elements(raw, start))
            if (index == int(part) if is_array else each.name == part)
        )
        start, is_array = element.value, element.kind == kinds.ARRAY
    return True
