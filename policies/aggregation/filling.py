"""Stages that fill gaps between documents: `$fill` and `$densify`.

Documents are told apart by equality of partitions, and ordered by fields in clear. A value that is carried on
keeps its class; one that is computed, or put in the place of a missing one, must be what lies there already.
"""

from sealwire.policies.aggregation.grouping import plan_partitions
from sealwire.policies.aggregation.reshaping import assign_paths
from sealwire.policies.aggregation.stage_arguments import check_range
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.arguments import is_of_every_class
from sealwire.policies.expressions.interpreter import infer
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import text_of
from sealwire.policies.planning.trees import same_values
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, string_bytes


def fill(walk: Walk, stage: Element) -> PathNode:
    """`{partitionBy or partitionByFields, sortBy, output: {field: {value} or {method}}}`. Raises Refusal."""
    inner, parts = walk.parts(stage)
    plan_partitions(inner, parts)
    below, fields = inner.parts(parts[b"output"])
    filled = [(name, _filled(below, field)) for name, field in fields.items()]
    return assign_paths(walk.node, [(name, value) for name, value in filled if value is not None])


def _filled(walk: Walk, field: Element) -> PathNode | None:
    """What a filled field is; None where that is what it was. Raises Refusal where it is of two kinds."""
    inner, how = walk.parts(field)
    target = follow(walk.node, field.name) or NOTHING
    if how.keys() == {b"value"}:
        value = infer(inner, how[b"value"])
        if target.absent and not value.covers and not is_of_every_class(walk.buf, how[b"value"]):
            # a constant that was meant for the field that was there
            raise Refusal(Reason.COMPUTE, path=target.path, rule="$fill")
        if target.is_gone or (target.is_doubtful and not value.covers):
            return value
        if (target.covers or value.covers) and not same_values(target, value):
            raise Refusal(Reason.COMPUTE, path=(target if target.covers else value).path, rule="$fill")
    elif how.keys() != {b"method"} or how[b"method"].kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule="$fill")
    elif target.covers and string_bytes(walk.buf, how[b"method"]) != b"locf" and not target.absent:
        raise Refusal(Reason.COMPUTE, path=target.path, rule="$fill")
    return None if target.covers else NOTHING


def densify(walk: Walk, stage: Element) -> PathNode:
    """`{field, partitionByFields, range}`: documents between others, by a field in clear. Raises Refusal."""
    inner, parts = walk.parts(stage)
    plan_partitions(inner, parts)
    found = follow(walk.node, text_of(walk.buf, parts[b"field"]))
    if found is not None and not found.absent:
        raise Refusal(Reason.SORT, path=found.path, rule="$densify")
    check_range(walk.buf, parts[b"range"])
    return walk.node
