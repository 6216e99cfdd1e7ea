"""Follow a dotted path through the covered paths of a document, as MongoDB would follow it through arrays."""

from dataclasses import replace
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode, leaves
from sealwire.policies.file.subjects import Subjects

# A pipeline can double a tree with every stage ({a: "$$ROOT", b: "$$ROOT"}): past these bounds, which no
# application comes near, it is refused rather than followed.
_MAX_TREE_NODES: Final = 20_000
_MAX_TREE_DEPTH: Final = 100

_DOT: Final = ord(".")


# -------------------------------------------------- at which paths of a collection values identify a person
#
# Apart from `subject_links`, which reads the policy file: the session asks this, and knows no YAML.


def identifiers(subjects: Subjects, tree: PathNode) -> tuple[str, ...]:
    """The paths below `tree` whose values identify a person. Cost: O(paths)."""
    return tuple(
        node.path for node in leaves(tree) if node.leaf is not None and node.leaf.name == subjects.class_name
    )


def is_transparent(part: bytes) -> bool:
    """Whether a part of a path addresses an array element: an index, or `$`, `$[]`, `$[id]` in an update.

    A document's field whose name is a number is taken for an index everywhere, in stored documents as well
    as in paths. So both sides of a comparison always agree; at worst a field is covered that need not be.
    """
    return part.isdigit() or part.startswith(b"$")


def has_dot(name: bytes) -> bool:
    """Whether a name reads like a path. A number is looked for at once, bytes by way of an exception."""
    return _DOT in name


def parts_of(path: bytes) -> list[bytes]:
    """The names along a path; nearly always it is one."""
    return path.split(b".") if has_dot(path) else [path]


def bounded(node: PathNode) -> PathNode:
    """`node` itself, a tree that a pipeline made. Raises Refusal(SHAPE) when it outgrows what is followed."""
    if node.size > _MAX_TREE_NODES or node.depth > _MAX_TREE_DEPTH:
        raise Refusal(Reason.SHAPE, rule="a pipeline that multiplies covered fields")
    return node


def is_below_scalars(node: PathNode, path: bytes) -> bool:
    """Whether a path leads into values of a deterministic class, which are scalars or arrays of them."""
    if not has_dot(path):
        return False
    current = node
    for part in parts_of(path):
        if current.leaf is not None and not is_transparent(part):
            return not current.is_random
        child = current.child(part)
        if child is None and not is_transparent(part):
            return False
        current = child or current
    return False


def follow(node: PathNode, path: bytes) -> PathNode | None:
    """The node that `path` leads to from `node`; None when nothing there or below it is covered.

    Raises Refusal(BELOW_ENCRYPTED) when the path leads into a value that is encrypted as a whole.
    """
    current, moved = node, node.moved
    for part in parts_of(path):
        if current.opaque:
            child = current.child(part)
            if child is None:
                return current if current.within is None else replace(current, within=None)
            current = child
            continue
        if current.leaf is not None:
            if is_transparent(part) and not current.is_random:
                continue
            raise Refusal(Reason.BELOW_ENCRYPTED, path=current.path)
        child = current.child(part)
        if child is None:
            if not is_transparent(part):
                return None
            child = current.behind_number or current
            if child is not current and (current is not node or current.path):
                # an index leads to what the pipeline changed, a field's name past it
                return PathNode(current.path, opaque=True)
        current = child
        moved = moved or current.moved
    if not current.covers:
        return None
    return current.as_moved() if moved else current
