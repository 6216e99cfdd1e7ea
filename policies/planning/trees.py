"""Trees of covered paths: what two of them have in common, and how they make one.

A pipeline can make trees in which one node stands at many paths. Walks that go deeper than one level take
`work`: each visit is counted, and what is known of the same nodes is not found out again.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, final

from mypy_extensions import mypyc_attr

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode, bounded, is_transparent

# A pipeline of a kilobyte can make trees of covered paths that double with every stage, and combine them
# a hundred times. A visit takes one or two microseconds, so all of them take 0.2 to 0.4 seconds. Pipelines of
# applications need some hundreds; a hundred `$set` over documents with 500 covered fields need 50,000.
MAX_VISITS: Final = 200_000

Known = bool | PathNode
"""What a walk has found out of one tree, or of two."""


# Documents of a list mostly have the same fields. What is done with a field follows from the covered paths of
# its document, its type and its name, so it is found out once for the next document (ADR 20 has the figure).
# Nothing of this outlives the command.

MAX_ALIKE_FIELDS: Final = 256
MAX_ALIKE_NAME_BYTES: Final = 64


@final
@mypyc_attr(acyclic=True)  # see wire.raw_bson.Element
class KnownField:
    """How a field of this type and name is treated, in documents with the same covered paths."""

    __slots__ = ("head", "is_checked", "name", "node")

    def __init__(self, kind: int, name: bytes, node: PathNode | None, *, is_checked: bool) -> None:
        self.head = b"%c%b\0" % (kind, name)
        """The bytes before its value."""
        self.name = name
        self.node = node
        """By which its value is covered; None: it is not."""
        self.is_checked = is_checked
        """Whether its value has to be looked at all the same."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)  # see wire.raw_bson: Element, Cursor
class Work:
    """The walks over trees of covered paths that planning a command takes: how many nodes they have visited.

    What a walk finds out of the same nodes is found out once. So a tree in which one node stands many times
    takes as many visits as it has nodes, and not as many as it has paths.
    """

    __slots__ = ("_fields", "_known", "alike", "visits")

    def __init__(self) -> None:
        self.visits = 0
        self._known: dict[tuple[str, int, int], tuple[PathNode, PathNode, Known]] = {}
        """By the walk and the identities of its nodes, which are kept so that no other node gets them."""
        self.alike: PathNode | None = None
        """The covered paths of the stored document before; None: there was none."""
        self._fields: list[KnownField] | None = None

    def known_fields(self, node: PathNode) -> list[KnownField] | None:
        """The fields of the stored document before, for its next one to read and to write.

        None for the first with these covered paths: it may be the only one.
        """
        if self.alike is not node:
            self.alike, self._fields = node, None
        elif self._fields is None:
            self._fields = []
        return self._fields

    def visit(self, nodes: int = 1) -> None:
        """Take so many nodes that a walk looks at or copies. Raises Refusal(WORK). Cost: O(1)."""
        self.visits += nodes
        if self.visits > MAX_VISITS:
            raise Refusal(Reason.WORK)

    def known(self, walk: str, left: PathNode, right: PathNode) -> Known | None:
        """What a walk of this name has found out of these two nodes; None when there was none. Cost: O(1)."""
        found = self._known.get((walk, id(left), id(right)))
        return None if found is None else found[2]

    def learn(self, walk: str, left: PathNode, right: PathNode, known: Known) -> None:
        """Remember what a walk has found out."""
        self._known[walk, id(left), id(right)] = (left, right, known)

    def clear(self) -> None:
        """The command has been planned, or given up. Needless if it had no `visits` and no `alike`."""
        self.visits = 0
        self._known.clear()
        self.alike = self._fields = None


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


def each_node(
    node: PathNode, work: Work, *, behind: bool = False, only_present: bool = False
) -> Iterator[PathNode]:
    """Each node of a tree once, also when it stands at several paths; `behind`: those behind numbers too.

    Raises Refusal(WORK). Cost: O(its different nodes).
    """
    seen: set[int] = set()
    left = [node]
    while left:
        each = left.pop()
        if id(each) in seen or (only_present and each.absent):
            continue
        seen.add(id(each))
        yield each
        work.visit(len(each.children))
        if behind and each.behind_number is not None:
            left.append(each.behind_number)
        left.extend(reversed(list(each.children.values())))


def merge(nodes: list[PathNode], work: Work) -> PathNode:
    """What a value is that may be any of these: one class if all agree, else opaque. Raises Refusal(WORK)."""
    covered = [node for node in nodes if node.covers]
    if not covered:
        return NOTHING
    first = covered[0]
    if len(covered) == len(nodes) and all(same_values(first, node, work) for node in covered):
        first = _as_pure_as(first, covered[1:], work)
        is_alike = all(_same_absence(first, node, work) for node in covered)
        return first if is_alike else _as_present(first, work)
    return PathNode(first.path, opaque=True, absent=all(node.absent for node in covered))


def same_values(left: PathNode, right: PathNode, work: Work) -> bool:
    """Whether two trees hold the same classes at the same paths, those behind numbers included.

    Raises Refusal(WORK). Cost: O(pairs of different nodes), once for the same two.
    """
    return _agrees(left, right, work, "values", _same_values_here)


def _same_absence(left: PathNode, right: PathNode, work: Work) -> bool:
    """Whether of two trees with the same values the same is absent."""
    return _agrees(left, right, work, "absence", _same_absence_here)


def _agrees(
    left: PathNode, right: PathNode, work: Work, walk: str, agrees: Callable[[PathNode, PathNode, Work], bool]
) -> bool:
    if left is right:
        return True
    known = work.known(walk, left, right)
    if known is None:
        work.visit(1 + len(left.children))
        known = agrees(left, right, work)
        work.learn(walk, left, right, known)
    return known is True


def _same_values_here(left: PathNode, right: PathNode, work: Work) -> bool:
    if left.leaf != right.leaf or left.opaque != right.opaque:
        return False
    if left.children.keys() != right.children.keys():
        return False
    if not all(same_values(node, right.children[name], work) for name, node in left.children.items()):
        return False
    if left.behind_number is None and right.behind_number is None:
        return True
    return same_values(left.behind_number or left, right.behind_number or right, work)


def _same_absence_here(left: PathNode, right: PathNode, work: Work) -> bool:
    if left.absent != right.absent:
        return False
    return all(_same_absence(node, right.children[name], work) for name, node in left.children.items())


def _made(
    left: PathNode,
    right: PathNode,
    work: Work,
    walk: str,
    make: Callable[[PathNode, PathNode, Work], PathNode],
) -> PathNode:
    """What a walk makes of two trees: the same tree for the same two. Raises Refusal(WORK)."""
    known = work.known(walk, left, right)
    if isinstance(known, PathNode):
        return known
    work.visit(1 + len(left.children) + (0 if left is right else len(right.children)))
    made = make(left, right, work)
    work.learn(walk, left, right, made)
    return made


def _as_pure_as(node: PathNode, others: list[PathNode], work: Work) -> PathNode:
    """A node that may be any of these, which have the same values. Raises Refusal(WORK)."""
    if all(other is node or (node.pure and other.pure) for other in others):
        return node
    return _made(node, node, work, "mixed", _mixed_here)


def _mixed_here(node: PathNode, _: PathNode, work: Work) -> PathNode:
    children = {
        name: _made(child, child, work, "mixed", _mixed_here) for name, child in node.children.items()
    }
    return replace(node, children=children, pure=False, within=None)


def _as_present(node: PathNode, work: Work) -> PathNode:
    """The tree in which ciphertext may be wherever there is a class."""
    return _made(node, node, work, "as present", _as_present_here)


def _as_present_here(node: PathNode, _: PathNode, work: Work) -> PathNode:
    children = {name: _as_present(child, work) for name, child in node.children.items()}
    return replace(node, children=children, absent=False)


def placed(node: PathNode) -> PathNode:
    """A node as it is somewhere else: put into a field, or into an array.

    Where a pipeline has changed it, a number behind it could be an array's index or a field's name, and these
    lead to different things: it is opaque there.
    """
    if node.reshaped:
        return PathNode(node.path, opaque=True, pure=node.pure, within=node.within or node)
    return node.as_moved()


def present(node: PathNode, work: Work) -> PathNode:
    """The tree without what is absent: of where ciphertext can be. Raises Refusal(WORK)."""
    return _made(node, node, work, "present", _present_here)


def _present_here(node: PathNode, _: PathNode, work: Work) -> PathNode:
    children = {name: present(child, work) for name, child in node.children.items() if not child.absent}
    behind = None if node.behind_number is None else present(node.behind_number, work)
    left = {name: child for name, child in children.items() if child.covers}
    # with nothing there, it does not matter what a policy says of fields with a number for a name
    return replace(node, children=left, behind_number=behind if behind and behind.covers else None)


def whole_inside(node: PathNode, work: Work) -> PathNode | None:
    """A node at or below this one where a value may be encrypted that is, or holds, documents or arrays.

    Deterministic classes hold none: these cover an array element by element. Raises Refusal(WORK).
    Cost: O(its different nodes).
    """
    found = each_node(node, work, behind=True, only_present=True)
    return next((each for each in found if each.is_random), None)


def is_in_clear(node: PathNode) -> bool:
    """Whether no ciphertext can be at or below a node. Cost: O(1)."""
    return node.absent or not node.shows


def either(left: PathNode, right: PathNode, work: Work) -> PathNode:
    """The tree of documents that are of one kind or of the other.

    Where the two differ, in class or in being covered at all, the result is opaque. Raises Refusal(WORK).
    Cost: O(pairs of different nodes), once for the same two.
    """
    if left is right:
        return left.as_moved() if left.rearranged else left
    return _made(left, right, work, "either", _either_here)


def _either_here(left: PathNode, right: PathNode, work: Work) -> PathNode:
    if same_values(left, right, work) and _same_absence(left, right, work):
        left = _as_pure_as(left, [right], work)
        return left.as_moved() if left.rearranged or right.rearranged else left
    if left.is_gone or right.is_gone:
        return beside(right, left, work) if left.is_gone else beside(left, right, work)
    covered = left if left.covers else right
    names = left.children.keys() | right.children.keys()
    if left.leaf or right.leaf or left.opaque or right.opaque or any(map(is_transparent, names)):
        # a number may be an index in the one and a field's name in the other
        return PathNode(covered.path, opaque=True, absent=is_in_clear(left) and is_in_clear(right))
    children = {
        name: either(left.children.get(name, NOTHING), right.children.get(name, NOTHING), work)
        for name in sorted(names)
    }
    behind = None
    if left.behind_number is not None or right.behind_number is not None:
        behind = either(left.behind_number or left, right.behind_number or right, work)
    moved = left.moved or right.moved
    return bounded(PathNode(covered.path, children, behind_number=behind, moved=moved))


def beside(there: PathNode, gone: PathNode, work: Work) -> PathNode:
    """The tree `there`, where constants may also be meant for what `gone` was, of which nothing is left.

    Such a constant is covered where ciphertext can be, and doubtful where values in clear can be. Raises
    Refusal(WORK).
    """
    if there.leaf is not None or there.opaque:
        return there
    return _made(there, gone, work, "beside", _beside_here)


def _beside_here(there: PathNode, gone: PathNode, work: Work) -> PathNode:
    names = there.children.keys() | gone.children.keys()
    if gone.leaf is not None or gone.opaque or any(map(is_transparent, names)):
        return PathNode(gone.path, opaque=True, absent=is_in_clear(there))
    children = dict(there.children)
    for name, child in gone.children.items():
        children[name] = beside(there.children.get(name, NOTHING), child, work)
    behind = None if there.behind_number is None else beside(there.behind_number, gone, work)
    return bounded(replace(there, path=there.path or gone.path, children=children, behind_number=behind))
