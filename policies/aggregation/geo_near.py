"""`$geoNear`: documents by their distance from a place, which is a field in clear.

The place and the distances are numbers, or variables; what is anything else could be a covered value.
"""

from sealwire.policies.aggregation.reshaping import assign_path
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.interpreter import infer_plain
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.filters.filters import plan_filter_argument
from sealwire.policies.planning.arguments import check_nested, operator_name, text_of
from sealwire.policies.planning.values import FLAGS
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

_PATHS = frozenset(b"distanceField includeLocs key".split())


def geo_near(walk: Walk, stage: Element) -> PathNode:
    """`{near, distanceField, key, query, includeLocs, ...}`: `query` is a filter. Raises Refusal."""
    inner, parts = walk.parts(stage)
    result = walk.node
    for name, part in parts.items():
        check_nested(walk.buf, part)
        if name == b"query":
            plan_filter_argument(inner, part)
        elif name in _PATHS:
            result = _path(walk, part, result)
        elif (name != b"near" or part.kind not in FLAGS) and _is_place(walk.buf, part):
            infer_plain(inner, part)
        else:
            raise Refusal(Reason.SHAPE, rule=f"$geoNear with {operator_name(part)}")
    return result


def _path(walk: Walk, part: Element, result: PathNode) -> PathNode:
    """The tree after the distance, or the place that was found, is put at a path; a key must be in clear."""
    path = text_of(walk.buf, part)
    if part.name != b"key":
        return assign_path(result, path, NOTHING, walk.draft.work)
    found = follow(walk.node, path)
    if found is not None:
        raise Refusal(Reason.OPERATOR, path=found.path, rule="$geoNear")
    return result


def _is_place(buf: bytes, part: Element) -> bool:
    """A number, a variable, or an array or document of numbers, such as a GeoJSON point."""
    if part.kind == kinds.STRING:
        text = string_bytes(buf, part)
        return text.startswith(b"$$") or (part.name == b"type" and text == b"Point")
    if part.kind in (kinds.OBJECT, kinds.ARRAY):
        return all(
            inside.kind != kinds.OBJECT and _is_place(buf, inside) for inside in elements(buf, part.value)
        )
    return part.kind in FLAGS
