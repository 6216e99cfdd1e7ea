"""What a projection keeps of the covered paths, in `find` and in `$project`."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from sealwire.policies.aggregation.reshaping import Assignment, assign_paths, assigned_value, drop_paths
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.expressions import plan_expression
from sealwire.policies.file.paths import follow, is_transparent
from sealwire.policies.file.quantities import NUMERIC
from sealwire.policies.file.schema import Mode, PathNode, freeze
from sealwire.policies.filters.filters import plan_element_filter, refuse_misplaced
from sealwire.policies.planning.arguments import (
    Parents,
    array_items,
    check_nested,
    document_of,
    first_name,
    only_element,
    operator_name,
)
from sealwire.policies.planning.numbers import FLAGS, is_true, whole_number
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.trees import Scope
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements

# What nested names may amount to: joined to every field inside, a longer one would cost its square.
_MAX_PREFIX: Final = 1000


def plan_projection(plan: Plan, argument: Element, node: PathNode, parents: Parents) -> None:
    """Cover the projection document of a `find`, which knows `$slice` and `$elemMatch` of its own."""
    _find_fields(plan, document_of(argument, argument), b"", node, parents)


def _find_fields(plan: Plan, start: int, prefix: bytes, node: PathNode, parents: Parents) -> None:
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = (*parents, start)
    for element in elements(plan.buf, start):
        path = prefix + element.name
        if _is_array_operator(plan, element):
            _array_operator(plan, element, path, node, inner)
        elif _is_nested(plan, element):
            _find_fields(plan, element.value, _prefix(path), node, inner)
        elif element.kind in FLAGS:
            follow(node, path)  # a flag for what lies inside an encrypted value would be without effect
        else:
            follow(node, path)  # what it puts into a value depends on whether that is a document
            plan_expression(plan, element, Scope(node), inner)


def _prefix(path: bytes) -> bytes:
    """What the names inside a document begin with. Raises Refusal(SHAPE) where that is no path any more."""
    if len(path) > _MAX_PREFIX:
        raise Refusal(Reason.SHAPE, rule="nesting")
    return path + b"."


@dataclass(slots=True)
class _Fields:
    """What a `$project` says, path by path."""

    included: list[bytes] = field(default_factory=list)
    excluded: list[bytes] = field(default_factory=list)
    computed: list[Assignment] = field(default_factory=list)
    is_mixed: bool = False
    """Whether it says something that servers refuse, or may read in different ways."""

    @property
    def is_inclusion(self) -> bool:
        """Whether a field that is not named is left out. `_id` alone may be excluded from an inclusion."""
        excludes = any(path != b"_id" for path in self.excluded)
        return bool(self.included or self.computed) and not excludes and not self.is_mixed


def plan_project_stage(plan: Plan, argument: Element, node: PathNode, parents: Parents) -> PathNode:
    """Cover a `$project` stage; return the covered paths of what it leaves.

    Flags keep or drop a path, anything else is an expression. A path that was dropped is marked absent; the
    answer may name another that is not there, and never misses one that is.
    """
    fields = _Fields()
    _collect(plan, document_of(argument, argument), b"", node, fields, parents)
    if not fields.is_inclusion:
        node = drop_paths(node, fields.excluded)
    else:
        node = _including(node, fields.included if b"_id" in fields.excluded else [b"_id", *fields.included])
    return assign_paths(node, fields.computed)


def _collect(
    plan: Plan, start: int, prefix: bytes, node: PathNode, fields: _Fields, parents: Parents
) -> None:
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = (*parents, start)
    is_empty = True
    for element in elements(plan.buf, start):
        is_empty = False
        path = prefix + element.name
        if element.kind in FLAGS:
            follow(node, path)
            is_kept = is_true(element.kind, plan.buf[element.value : element.end])
            (fields.included if is_kept else fields.excluded).append(path)
        elif _is_nested(plan, element):
            _collect(plan, element.value, _prefix(path), node, fields, inner)
        else:
            fields.computed.append((path, assigned_value(plan, element, node, inner)))
    fields.is_mixed = fields.is_mixed or is_empty


def _including(node: PathNode, paths: Iterable[bytes]) -> PathNode:
    """The tree after all but these paths are gone. Cost: O(children + paths) a level."""
    below = _by_first_name(paths)
    if any(map(is_transparent, below)):
        return node  # below a number lies whatever lies here
    children = {
        name: _kept(child, below[name]) if name in below else replace(child, absent=True)
        for name, child in node.children.items()
    }
    return replace(node, children=freeze(children))


def _kept(node: PathNode, paths: list[bytes]) -> PathNode:
    """What is left of a node of which these paths are kept; an empty one is the whole of it."""
    return node if b"" in paths or not node.children else _including(node, paths)


def _is_nested(plan: Plan, element: Element) -> bool:
    """`{a: {b: 1}}` is another way to write `{"a.b": 1}`."""
    return element.kind == kinds.OBJECT and not first_name(plan, element.value).startswith(b"$")


def _is_array_operator(plan: Plan, element: Element) -> bool:
    """`$slice` with numbers is a projection operator; with an array to slice it is an expression."""
    if element.kind != kinds.OBJECT:
        return False
    operator = next(elements(plan.buf, element.value), None)
    if operator is None or operator.name not in (b"$slice", b"$elemMatch"):
        return False
    if operator.name == b"$slice" and operator.kind == kinds.ARRAY:
        first = next(elements(plan.buf, operator.value), None)
        return first is not None and first.kind in NUMERIC
    return True


def _array_operator(plan: Plan, element: Element, path: bytes, node: PathNode, parents: Parents) -> None:
    """Both work on a covered array in deterministic mode, `$elemMatch` on its sub-documents only."""
    target = follow(node, path)
    operator = only_element(plan, element.value, "a projection of an array")
    rule = operator_name(operator)
    if target is not None and (
        target.opaque or (target.leaf is not None and target.leaf.mode is Mode.RANDOM)
    ):
        raise Refusal(Reason.RANDOM_EQUALITY, path=target.path, rule=rule)
    if operator.name == b"$slice":
        _slice(plan, operator, target)
        return
    start = document_of(operator, operator)
    if target is None:
        check_nested(plan, operator)
        refuse_misplaced(plan, operator)
        return
    if target.leaf is not None:
        raise Refusal(Reason.OPERATOR, path=target.path, rule=rule)
    plan_element_filter(plan, start, target, (*parents, element.value))


def _slice(plan: Plan, operator: Element, target: PathNode | None) -> None:
    """How many elements are shown, or how many are left out first: numbers, whole on a covered path."""
    is_pair = operator.kind == kinds.ARRAY
    numbers = array_items(plan, operator) if is_pair else [operator]
    if target is None:
        if any(number.kind not in NUMERIC for number in numbers):
            raise Refusal(Reason.SHAPE, rule="$slice")
        return
    shown = [whole_number(plan, number) for number in numbers]
    if is_pair and (len(shown) != 2 or shown[1] <= 0):
        raise Refusal(Reason.SHAPE, path=target.path, rule="$slice")


def _by_first_name(paths: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """What is behind the first name of each path; nothing where the path is that name."""
    below: dict[bytes, list[bytes]] = {}
    for path in paths:
        name, _, rest = path.partition(b".")
        below.setdefault(name, []).append(rest)
    return below
