"""Trees of covered paths: what the names in an expression mean, and how two trees make one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sealwire.policies.paths import bounded, is_transparent
from sealwire.policies.schema import NOTHING, PathNode, freeze

OPAQUE = PathNode("", opaque=True)


@dataclass(frozen=True, slots=True)
class Scope:
    """What names mean inside an expression."""

    root: PathNode
    """The document that `$field` and `$$ROOT` refer to."""
    variables: Mapping[bytes, PathNode] = field(default_factory=dict)


def document_node(children: Mapping[bytes, PathNode]) -> PathNode:
    """The tree of a document made of these fields."""
    covered = {name: in_array(node) for name, node in children.items() if node.reaches}
    if covered and any(name.isdigit() for name in children):
        # in a path this number would be an index, and lead past the field
        return replace(OPAQUE, path=next(iter(covered.values())).path)
    return bounded(PathNode("", freeze(covered))) if covered else NOTHING


def merge(nodes: list[PathNode]) -> PathNode:
    """What a value is that may be any of these: one class if all agree, else opaque."""
    covered = [node for node in nodes if node.covers]
    if not covered:
        return NOTHING
    first = covered[0]
    if len(covered) == len(nodes) and all(same_values(first, node) for node in covered):
        return first
    return replace(OPAQUE, path=first.path)


def same_values(left: PathNode, right: PathNode) -> bool:
    """Whether two trees hold the same classes at the same paths, those behind numbers included."""
    if left is right:
        return True
    if left.leaf != right.leaf or left.opaque != right.opaque:
        return False
    if left.children.keys() != right.children.keys():
        return False
    if not all(same_values(node, right.children[name]) for name, node in left.children.items()):
        return False
    if left.behind_number is None and right.behind_number is None:
        return True
    return same_values(left.behind_number or left, right.behind_number or right)


def in_array(node: PathNode) -> PathNode:
    """The tree of a document that may stand in an array now, where a number in a path leads to itself.

    Or to a field below it, as before: so what lies there is only forwarded. Cost: O(1), for a pipeline can
    put trees into each other without end.
    """
    if node.behind_number is None:
        return node
    return replace(node, behind_number=PathNode(node.path, opaque=True))


def either(left: PathNode, right: PathNode) -> PathNode:
    """The tree of documents that are of one kind or of the other.

    Where the two differ, in class or in being covered at all, the result is opaque.
    """
    if same_values(left, right):
        return left
    covered = left if left.reaches else right
    names = left.children.keys() | right.children.keys()
    if left.leaf or right.leaf or left.opaque or right.opaque or any(map(is_transparent, names)):
        # a number may be an index in the one and a field's name in the other
        return PathNode(covered.path, opaque=True)
    children = {
        name: either(left.children.get(name, NOTHING), right.children.get(name, NOTHING))
        for name in sorted(names)
    }
    behind = None
    if left.behind_number is not None or right.behind_number is not None:
        behind = either(left.behind_number or left, right.behind_number or right)
    return bounded(PathNode(covered.path, freeze(children), behind_number=behind))
