"""Stages that fill gaps between documents: `$fill` and `$densify`.

Documents are told apart by equality of partitions, and ordered by fields in clear. A value that is carried on
keeps its class; one that is computed, or put in the place of a missing one, must be what lies there already.
"""

from collections.abc import Callable

from sealwire.policies.aggregation.accumulators import infer_key
from sealwire.policies.aggregation.reshaping import assign_paths
from sealwire.policies.aggregation.sorting import plan_sort
from sealwire.policies.aggregation.stage_arguments import check_range
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.arguments import is_of_every_class
from sealwire.policies.expressions.interpreter import infer
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import (
    array_items,
    document_of,
    named_parts,
    operator_name,
    text_of,
)
from sealwire.policies.planning.trees import same_values
from sealwire.policies.planning.values import note_comparison
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, string_bytes

_Argument = Callable[[Walk, Element], None]


def fill(walk: Walk, stage: Element) -> PathNode:
    """`{partitionBy or partitionByFields, sortBy, output: {field: {value} or {method}}}`. Raises Refusal."""
    inner = _arguments(walk, stage, _FILL_ARGUMENTS)
    output = named_parts(walk.buf, stage.value)[b"output"]
    fields = named_parts(walk.buf, document_of(output, output)).values()
    below = inner.inside(output.value)
    filled = [(field.name, _filled(below, field)) for field in fields]
    return assign_paths(walk.node, [(name, value) for name, value in filled if value is not None])


def _filled(walk: Walk, field: Element) -> PathNode | None:
    """What a filled field is; None where that is what it was. Raises Refusal where it is of two kinds."""
    how = named_parts(walk.buf, document_of(field, field))
    target = follow(walk.node, field.name) or NOTHING
    if how.keys() == {b"value"}:
        value = infer(walk.inside(field.value), how[b"value"])
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
    _arguments(walk, stage, _DENSIFY_ARGUMENTS)
    return walk.node


def _arguments(walk: Walk, stage: Element, known: dict[bytes, _Argument]) -> Walk:
    """Hand each argument to its entry; the walk among them."""
    start = document_of(stage, stage)
    inner = walk.inside(start)
    for name, part in named_parts(walk.buf, start).items():
        known[name](inner, part)
    return inner


def _partition(walk: Walk, part: Element) -> None:
    infer_key(walk, part)


def _partition_fields(walk: Walk, part: Element) -> None:
    for item in array_items(walk.buf, part):
        found = follow(walk.node, text_of(walk.buf, item))
        if found is not None:
            if found.holds_random:
                raise Refusal(Reason.RANDOM_EQUALITY, path=found.path, rule=operator_name(part))
            note_comparison(walk.draft, found)


def _sort_order(walk: Walk, part: Element) -> None:
    plan_sort(walk, part)


def _ordered_field(walk: Walk, part: Element) -> None:
    found = follow(walk.node, text_of(walk.buf, part))
    if found is not None and not found.absent:
        raise Refusal(Reason.SORT, path=found.path, rule="$densify")


def _plain(walk: Walk, part: Element) -> None:
    """What a `$fill` outputs is read behind the others."""
    del walk, part


def _range(walk: Walk, part: Element) -> None:
    """Steps and bounds belong to a field in clear."""
    check_range(walk.buf, part)


_FILL_ARGUMENTS: dict[bytes, _Argument] = {
    b"partitionBy": _partition,
    b"partitionByFields": _partition_fields,
    b"sortBy": _sort_order,
    b"output": _plain,
}
_DENSIFY_ARGUMENTS: dict[bytes, _Argument] = {
    b"field": _ordered_field,
    b"partitionByFields": _partition_fields,
    b"range": _range,
}
