"""Where a deterministic class is stored."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sealwire.policies.file.schema import Mode, PathNode, PolicySet, leaves
from sealwire.sidecars.migration.moves import Move


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
