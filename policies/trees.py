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
    variables: dict[bytes, PathNode] = field(default_factory=dict)
    """What operators have bound around the place that is being planned (`variables.binding`)."""


def document_node(children: Mapping[bytes, PathNode]) -> PathNode:
    """The tree of a document made of these fields."""
    covered = {name: node for name, node in children.items() if node.covers}
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


def placed(node: PathNode) -> PathNode:
    """A node as it is somewhere else: put into a field, or into an array.

    Where a pipeline has changed it, a number behind it could be an array's index or a field's name, and these
    lead to different things: it is opaque there.
    """
    if node.reshaped:
        return replace(OPAQUE, path=node.path)
    return node if node.moved and not node.absent else replace(node, absent=False, moved=True)


def present(node: PathNode) -> PathNode:
    """The tree without what is absent. Cost: O(its size)."""
    children = {name: present(child) for name, child in node.children.items() if not child.absent}
    behind = None if node.behind_number is None else present(node.behind_number)
    left = {name: child for name, child in children.items() if child.covers}
    # with nothing there, it does not matter what a policy says of fields with a number for a name
    return replace(node, children=freeze(left), behind_number=behind if behind and behind.covers else None)


def either(left: PathNode, right: PathNode) -> PathNode:
    """The tree of documents that are of one kind or of the other.

    Where the two differ, in class or in being covered at all, the result is opaque.
    """
    if left.absent != right.absent:
        there, gone = (right, left) if left.absent else (left, right)
        # where values in clear can be, a constant would have to be compared in clear
        return there if there.covers else PathNode(gone.path, opaque=True)
    if same_values(left, right):
        return left if left.moved or not (left.rearranged or right.rearranged) else replace(left, moved=True)
    covered = left if left.covers else right
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
    moved = left.moved or right.moved
    return bounded(PathNode(covered.path, freeze(children), behind_number=behind, moved=moved))
