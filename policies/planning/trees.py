"""Trees of covered paths: what two of them have in common, and how they make one."""

from collections.abc import Mapping
from dataclasses import replace

from sealwire.policies.file.paths import bounded, is_transparent
from sealwire.policies.file.schema import NOTHING, PathNode

OPAQUE = PathNode("", opaque=True)


def document_node(
    children: Mapping[bytes, PathNode], path: str = "", *, is_numbered: bool = False
) -> PathNode:
    """The tree of a document made of these fields, one of which may have a number for a name."""
    covered = {name: node for name, node in children.items() if node.covers}
    if covered and (is_numbered or any(name.isdigit() for name in children)):
        # in a path this number would be an index, and lead past the field
        path = next(iter(covered.values())).path
        return PathNode(path, opaque=True, within=bounded(PathNode(path, covered)))
    return bounded(PathNode(path, covered)) if covered else NOTHING


def doubtful(path: str) -> PathNode:
    """Where a value in clear may be, or none, and where constants may be meant for what was there before."""
    return PathNode(path, opaque=True, absent=True)


def merge(nodes: list[PathNode]) -> PathNode:
    """What a value is that may be any of these: one class if all agree, else opaque."""
    covered = [node for node in nodes if node.covers]
    if not covered:
        return NOTHING
    first = covered[0]
    if len(covered) == len(nodes) and all(same_values(first, node) for node in covered):
        first = _as_pure_as(first, covered[1:])
        return first if all(_same_absence(first, node) for node in covered) else _as_present(first)
    return PathNode(first.path, opaque=True, absent=all(node.absent for node in covered))


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


def _same_absence(left: PathNode, right: PathNode) -> bool:
    """Whether of two trees with the same values the same is absent."""
    if left is right:
        return True
    if left.absent != right.absent:
        return False
    return all(_same_absence(node, right.children[name]) for name, node in left.children.items())


def _as_pure_as(node: PathNode, others: list[PathNode]) -> PathNode:
    """A node that may be any of these, which have the same values. Cost: O(size)."""
    if all(other is node or (node.pure and other.pure) for other in others):
        return node
    children = {name: _as_pure_as(child, [NOTHING]) for name, child in node.children.items()}
    return replace(node, children=children, pure=False, within=None)


def _as_present(node: PathNode) -> PathNode:
    """The tree in which ciphertext may be wherever there is a class."""
    children = {name: _as_present(child) for name, child in node.children.items()}
    return replace(node, children=children, absent=False)


def placed(node: PathNode) -> PathNode:
    """A node as it is somewhere else: put into a field, or into an array.

    Where a pipeline has changed it, a number behind it could be an array's index or a field's name, and these
    lead to different things: it is opaque there.
    """
    if node.reshaped:
        return PathNode(node.path, opaque=True, pure=node.pure, within=node.within or node)
    return node if node.moved else replace(node, moved=True)


def present(node: PathNode) -> PathNode:
    """The tree without what is absent: of where ciphertext can be. Cost: O(its size)."""
    children = {name: present(child) for name, child in node.children.items() if not child.absent}
    behind = None if node.behind_number is None else present(node.behind_number)
    left = {name: child for name, child in children.items() if child.covers}
    # with nothing there, it does not matter what a policy says of fields with a number for a name
    return replace(node, children=left, behind_number=behind if behind and behind.covers else None)


def whole_inside(node: PathNode) -> PathNode | None:
    """A node at or below this one where a value may be encrypted that is, or holds, documents or arrays.

    Deterministic classes hold none: these cover an array element by element. Cost: O(size).
    """
    if node.absent:
        return None
    if node.is_random:
        return node
    below = [*node.children.values()]
    if node.behind_number is not None:
        below.append(node.behind_number)
    return next((found for found in map(whole_inside, below) if found is not None), None)


def is_in_clear(node: PathNode) -> bool:
    """Whether no ciphertext can be at or below a node. Cost: O(its size)."""
    return node.absent or not present(node).covers


def either(left: PathNode, right: PathNode) -> PathNode:
    """The tree of documents that are of one kind or of the other.

    Where the two differ, in class or in being covered at all, the result is opaque.
    """
    if same_values(left, right) and _same_absence(left, right):
        left = _as_pure_as(left, [right])
        return left if left.moved or not (left.rearranged or right.rearranged) else replace(left, moved=True)
    if left.is_gone or right.is_gone:
        return beside(right, left) if left.is_gone else beside(left, right)
    covered = left if left.covers else right
    names = left.children.keys() | right.children.keys()
    if left.leaf or right.leaf or left.opaque or right.opaque or any(map(is_transparent, names)):
        # a number may be an index in the one and a field's name in the other
        return PathNode(covered.path, opaque=True, absent=is_in_clear(left) and is_in_clear(right))
    children = {
        name: either(left.children.get(name, NOTHING), right.children.get(name, NOTHING))
        for name in sorted(names)
    }
    behind = None
    if left.behind_number is not None or right.behind_number is not None:
        behind = either(left.behind_number or left, right.behind_number or right)
    moved = left.moved or right.moved
    return bounded(PathNode(covered.path, children, behind_number=behind, moved=moved))


def beside(there: PathNode, gone: PathNode) -> PathNode:
    """The tree `there`, where constants may also be meant for what `gone` was, of which nothing is left.

    Such a constant is covered where ciphertext can be, and doubtful where values in clear can be.
    """
    if there.leaf is not None or there.opaque:
        return there
    names = there.children.keys() | gone.children.keys()
    if gone.leaf is not None or gone.opaque or any(map(is_transparent, names)):
        return PathNode(gone.path, opaque=True, absent=is_in_clear(there))
    children = dict(there.children)
    for name, child in gone.children.items():
        children[name] = beside(there.children.get(name, NOTHING), child)
    behind = None if there.behind_number is None else beside(there.behind_number, gone)
    return bounded(replace(there, path=there.path or gone.path, children=children, behind_number=behind))
