"""What a projection keeps of the covered paths, in `find` and in `$project`."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sealwire.policies.aggregation import reshaping
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.interpreter import infer
from sealwire.policies.file.ranges import NUMERIC
from sealwire.policies.file.schema import PathNode, follow, is_transparent
from sealwire.policies.filters.filters import plan_elem_match
from sealwire.policies.filters.operands import refuse_misplaced
from sealwire.policies.planning import arguments
from sealwire.policies.planning.numbers import FLAGS, is_true
from sealwire.policies.planning.trees import OPAQUE, Work
from sealwire.policies.planning.values import demand_result
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element


def plan_projection(walk: Walk, argument: Element) -> None:
    """Cover the projection document of a `find`, which knows `$slice` and `$elemMatch` of its own."""
    for inner, element, path in reshaping.projected_fields(walk, arguments.document_of(argument, argument)):
        if reshaping.is_array_operator(walk.buf, element):
            _array_operator(inner, element, path)
        else:
            # a flag for what lies inside an encrypted value would be without effect, and what an expression
            # puts into a value depends on whether that is a document
            follow(walk.node, path)
            if element.kind not in FLAGS:
                infer(inner, element)


@dataclass(slots=True)
class _Fields:
    """What a `$project` says, path by path."""

    included: list[bytes] = field(default_factory=list)
    excluded: list[bytes] = field(default_factory=list)
    computed: list[reshaping.Assignment] = field(default_factory=list)
    is_mixed: bool = False
    """Whether it says something that servers refuse, or may read in different ways."""

    @property
    def is_inclusion(self) -> bool:
        """Whether a field that is not named is left out. `_id` alone may be excluded from an inclusion."""
        excludes = any(path != b"_id" for path in self.excluded)
        return bool(self.included or self.computed) and not excludes and not self.is_mixed


def plan_project_stage(walk: Walk, argument: Element) -> PathNode:
    """Cover a `$project` stage; return the covered paths of what it leaves.

    Flags keep or drop a path, anything else is an expression. A path that was dropped is marked absent; the
    answer may name another that is not there, and never misses one that is.
    """
    fields, start = _Fields(), arguments.document_of(argument, argument)
    fields.is_mixed = arguments.first_name(walk.buf, start) == b""
    for inner, element, path in reshaping.projected_fields(walk, start):
        if element.kind in FLAGS:
            follow(walk.node, path)
            is_kept = is_true(element.kind, walk.buf[element.value : element.end])
            (fields.included if is_kept else fields.excluded).append(path)
        elif arguments.is_document_literal(walk.buf, element):
            fields.is_mixed = True  # it is empty
        else:
            fields.computed.append((path, reshaping.assigned_value(inner, element)))
    work = walk.draft.work
    if not fields.is_inclusion:
        return reshaping.assign_paths(
            reshaping.drop_paths(walk.node, fields.excluded, work), fields.computed, work
        )
    kept = fields.included if b"_id" in fields.excluded else [b"_id", *fields.included]
    left = _including(walk.node, kept, work)
    node = reshaping.assign_paths(left, fields.computed, work)
    if left is walk.node or not node.is_doubtful:
        return node
    # the documents are new, and none of their names is a number: nothing is hidden behind one
    return replace(node, behind_number=None)


def _including(node: PathNode, paths: Iterable[bytes], work: Work) -> PathNode:
    """The tree after all but these paths are gone. Cost: O(children + paths) a level.

    An opaque node keeps what these paths name, and nothing else. It stays doubtful: a constant that is
    compared with another name may be meant for what was there.
    """
    work.visit(1 + len(node.children))
    below = _by_first_name(paths)
    if any(map(is_transparent, below)):
        return node  # below a number lies whatever lies here
    children = {
        name: _kept(child, below[name], work) if name in below else child.as_absent()
        for name, child in node.children.items()
    }
    if not node.opaque:
        return replace(node, children=children)
    unknown = replace(OPAQUE, path=node.path, pure=node.pure)
    kept = {name: children.get(name, unknown) for name in below}
    return replace(node, children=children | kept, absent=True, behind_number=None)


def _kept(node: PathNode, paths: list[bytes], work: Work) -> PathNode:
    """What is left of a node of which these paths are kept; an empty one is the whole of it."""
    return node if b"" in paths or not node.children else _including(node, paths, work)


def _array_operator(walk: Walk, element: Element, path: bytes) -> None:
    """Both work on a covered array in deterministic mode; `$elemMatch` as in a filter."""
    target = follow(walk.node, path)
    operator = arguments.only_element(walk.buf, element.value, "a projection of an array")
    if target is not None and target.is_random:
        raise Refusal(Reason.RANDOM_EQUALITY, path=target.path, rule=arguments.operator_name(operator))
    if operator.name == b"$slice":
        _check_slice(walk.buf, operator)
    elif target is None:
        arguments.document_of(operator, operator)
        arguments.check_nested(walk.buf, operator)
        refuse_misplaced(walk.buf, operator)
    else:
        before = walk.draft.comparisons
        plan_elem_match(walk.within(element.value, target), operator)
        if walk.draft.comparisons > before:
            demand_result(walk.draft, target)  # which element it shows is the result


def _check_slice(buf: bytes, operator: Element) -> None:
    """How many elements are shown, or how many are left out first: numbers. The server rounds fractions.

    Where it takes several numbers for an expression, that is an error of its own, because none is an array.
    Raises Refusal(SHAPE).
    """
    numbers = arguments.array_items(buf, operator) if operator.kind == kinds.ARRAY else [operator]
    if any(number.kind not in NUMERIC for number in numbers):
        raise Refusal(Reason.SHAPE, rule="$slice")


def _by_first_name(paths: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """What is behind the first name of each path; nothing where the path is that name."""
    below: dict[bytes, list[bytes]] = {}
    for path in paths:
        name, _, rest = path.partition(b".")
        below.setdefault(name, []).append(rest)
    return below
