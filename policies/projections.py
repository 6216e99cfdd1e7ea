"""What a projection keeps of the covered paths, in `find` and in `$project`."""

from sealwire.policies.arguments import Parents, document_of, first_name, operator_name
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions import Scope, plan_expression
from sealwire.policies.filters import plan_filter
from sealwire.policies.paths import follow
from sealwire.policies.plan import Plan
from sealwire.policies.schema import NOTHING, Mode, PathNode, freeze
from sealwire.wire.raw_bson import MAX_DEPTH, BsonType, Element, elements

_FLAGS = frozenset({BsonType.BOOL, BsonType.INT, BsonType.LONG, BsonType.DOUBLE, BsonType.DECIMAL})
_ARRAY_OPERATORS = frozenset({b"$elemMatch", b"$slice", b"$meta"})


def plan_projection(plan: Plan, argument: Element, node: PathNode, parents: Parents) -> PathNode:
    """Cover the projection document `argument`; return the covered paths of what it leaves.

    Flags keep or drop a path, anything else is an expression. The answer may name a covered path that is no
    longer there; it never misses one that is.
    """
    return _fields(plan, document_of(argument, argument), b"", Scope(node), node, parents)


def _fields(
    plan: Plan, start: int, prefix: bytes, scope: Scope, result: PathNode, parents: Parents
) -> PathNode:
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = (*parents, start)
    for element in elements(plan.buf, start):
        path = prefix + element.name
        if element.kind in _FLAGS:
            if _is_exclusion(plan, element):
                result = without_path(result, path)
        elif _is_array_operator(plan, element):
            _array_operator(plan, element, path, scope.root, inner)
        elif element.kind == BsonType.OBJECT and not first_name(plan, element.value).startswith(b"$"):
            # {a: {b: 1}} is another way to write {"a.b": 1}
            result = _fields(plan, element.value, path + b".", scope, result, inner)
        else:
            value = plan_expression(plan, element, scope, inner)
            result = with_path(without_path(result, path), path, value)
    return result


def _is_exclusion(plan: Plan, element: Element) -> bool:
    """Zero in every numeric type has no bit set but, in a decimal, those of its exponent."""
    if element.kind == BsonType.DECIMAL:
        return not any(plan.buf[element.value : element.value + 14])
    return not any(plan.buf[element.value : element.end])


def _is_array_operator(plan: Plan, element: Element) -> bool:
    return element.kind == BsonType.OBJECT and first_name(plan, element.value) in _ARRAY_OPERATORS


def _array_operator(plan: Plan, element: Element, path: bytes, node: PathNode, parents: Parents) -> None:
    """`$elemMatch` and `$slice` work on a covered array in deterministic mode."""
    target = follow(node, path)
    if target is None:
        return
    for operator in elements(plan.buf, element.value):
        rule = operator_name(operator)
        if target.opaque or (target.leaf is not None and target.leaf.mode is Mode.RANDOM):
            raise Refusal(Reason.RANDOM_EQUALITY, path=target.path, rule=rule)
        if operator.name == b"$elemMatch":
            if target.leaf is not None:
                raise Refusal(Reason.OPERATOR, path=target.path, rule=rule)
            plan_filter(plan, document_of(operator, operator), target, (*parents, element.value))
        elif operator.name != b"$slice":
            raise Refusal(Reason.OPERATOR, path=target.path, rule=rule)


def without_path(node: PathNode, path: bytes) -> PathNode:
    """The tree after the field at `path` is gone or holds something else."""
    name, _, rest = path.partition(b".")
    child = node.children.get(name)
    if child is None:
        return node
    children = dict(node.children)
    left = without_path(child, rest) if rest else NOTHING
    if left.covers:
        children[name] = left
    else:
        del children[name]
    return PathNode(node.path, freeze(children))


def with_path(node: PathNode, path: bytes, value: PathNode) -> PathNode:
    """The tree with `value` at `path`; below a dotted path it is known only that something is covered."""
    if not value.covers:
        return node
    name, dot, _ = path.partition(b".")
    child = PathNode(value.path, opaque=True) if dot else value
    return PathNode(node.path, freeze({**node.children, name: child}))
