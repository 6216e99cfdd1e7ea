"""`$geoNear`: documents by their distance from a place, which is a field in clear.

The place and the distances are numbers, or variables; what is anything else could be a covered value.
"""

from sealwire.policies.aggregation.reshaping import assign_path
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.expressions import plan_plain_expression
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.filters.filters import plan_filter
from sealwire.policies.planning.arguments import (
    Parents,
    check_nested,
    document_of,
    named_parts,
    operator_name,
)
from sealwire.policies.planning.namespaces import Surroundings
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.trees import Scope
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

_NUMBERS = frozenset({kinds.INT, kinds.LONG, kinds.DOUBLE, kinds.DECIMAL, kinds.BOOL})
_VALUES = frozenset(b"near spherical maxDistance minDistance distanceMultiplier".split())
_PATHS = frozenset(b"distanceField includeLocs key".split())


def geo_near(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """`{near, distanceField, key, query, includeLocs, ...}`: `query` is a filter. Raises Refusal."""
    del around
    start = document_of(stage, stage)
    inner = (*parents, start)
    result = node
    for name, part in named_parts(plan, start).items():
        check_nested(plan, part)
        if name == b"query":
            plan_filter(plan, document_of(part, part), node, inner)
        elif name in _PATHS:
            result = _path(plan, part, node, result)
        elif name in _VALUES and (name != b"near" or part.kind not in _NUMBERS) and _is_place(plan, part):
            plan_plain_expression(plan, part, Scope(node), inner)
        else:
            raise Refusal(Reason.SHAPE, rule=f"$geoNear with {operator_name(part)}")
    return result


def _path(plan: Plan, part: Element, node: PathNode, result: PathNode) -> PathNode:
    """The tree after the distance, or the place that was found, is put at a path; a key must be in clear."""
    if part.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule="$geoNear")
    path = string_bytes(plan.buf, part)
    if part.name != b"key":
        return assign_path(result, path, NOTHING)
    found = follow(node, path)
    if found is not None:
        raise Refusal(Reason.OPERATOR, path=found.path, rule="$geoNear")
    return result


def _is_place(plan: Plan, part: Element) -> bool:
    """A number, a variable, or an array or document of numbers, such as a GeoJSON point."""
    if part.kind == kinds.STRING:
        text = string_bytes(plan.buf, part)
        return text.startswith(b"$$") or (part.name == b"type" and text == b"Point")
    if part.kind in (kinds.OBJECT, kinds.ARRAY):
        return all(
            inside.kind != kinds.OBJECT and _is_place(plan, inside)
            for inside in elements(plan.buf, part.value)
        )
    return part.kind in _NUMBERS
