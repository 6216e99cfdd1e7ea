"""Stages that fill gaps between documents: `$fill` and `$densify`.

Documents are told apart by equality of partitions, and ordered by fields in clear. A value that is carried on
keeps its class; one that is computed, or put in the place of a missing one, must be what lies there already.
"""

from collections.abc import Callable

from sealwire.policies.aggregation.grouping import plan_key
from sealwire.policies.aggregation.reshaping import assign_paths
from sealwire.policies.aggregation.sorting import plan_sort
from sealwire.policies.aggregation.stage_arguments import check_range
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.expressions import is_of_every_class, plan_expression
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import (
    Parents,
    array_items,
    document_of,
    named_parts,
    operator_name,
    text_of,
)
from sealwire.policies.planning.namespaces import Surroundings
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.trees import Scope, same_values
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, string_bytes

_Argument = Callable[[Plan, Element, PathNode, Parents], None]


def fill(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """`{partitionBy or partitionByFields, sortBy, output: {field: {value} or {method}}}`. Raises Refusal."""
    del around
    inner = _arguments(plan, stage, node, parents, _FILL_ARGUMENTS)
    output = named_parts(plan, stage.value)[b"output"]
    fields = named_parts(plan, document_of(output, output)).values()
    below = (*inner, output.value)
    filled = [(field.name, _filled(plan, field, node, below)) for field in fields]
    return assign_paths(node, [(name, value) for name, value in filled if value is not None])


def _filled(plan: Plan, field: Element, node: PathNode, parents: Parents) -> PathNode | None:
    """What a filled field is; None where that is what it was. Raises Refusal where it is of two kinds."""
    how = named_parts(plan, document_of(field, field))
    target = follow(node, field.name) or NOTHING
    if how.keys() == {b"value"}:
        value = plan_expression(plan, how[b"value"], Scope(node), (*parents, field.value))
        if target.absent and not value.covers and not is_of_every_class(plan, how[b"value"]):
            # a constant that was meant for the field that was there
            raise Refusal(Reason.COMPUTE, path=target.path, rule="$fill")
        if target.is_gone or (target.is_doubtful and not value.covers):
            return value
        if (target.covers or value.covers) and not same_values(target, value):
            raise Refusal(Reason.COMPUTE, path=(target if target.covers else value).path, rule="$fill")
    elif how.keys() != {b"method"} or how[b"method"].kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule="$fill")
    elif target.covers and string_bytes(plan.buf, how[b"method"]) != b"locf" and not target.absent:
        raise Refusal(Reason.COMPUTE, path=target.path, rule="$fill")
    return None if target.covers else NOTHING


def densify(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """`{field, partitionByFields, range}`: documents between others, by a field in clear. Raises Refusal."""
    del around
    _arguments(plan, stage, node, parents, _DENSIFY_ARGUMENTS)
    return node


def _arguments(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, known: dict[bytes, _Argument]
) -> Parents:
    """Hand each argument to its entry; the lengths above the arguments."""
    start = document_of(stage, stage)
    inner = (*parents, start)
    for name, part in named_parts(plan, start).items():
        known[name](plan, part, node, inner)
    return inner


def _partition(plan: Plan, part: Element, node: PathNode, parents: Parents) -> None:
    plan_key(plan, part, node, parents)


def _partition_fields(plan: Plan, part: Element, node: PathNode, parents: Parents) -> None:
    del parents
    for item in array_items(plan, part):
        found = follow(node, text_of(plan, item))
        if found is not None:
            if found.holds_random:
                raise Refusal(Reason.RANDOM_EQUALITY, path=found.path, rule=operator_name(part))
            plan.compares = True


def _sort_order(plan: Plan, part: Element, node: PathNode, parents: Parents) -> None:
    del parents
    plan_sort(plan, part, node)


def _ordered_field(plan: Plan, part: Element, node: PathNode, parents: Parents) -> None:
    del parents
    found = follow(node, text_of(plan, part))
    if found is not None and not found.absent:
        raise Refusal(Reason.SORT, path=found.path, rule="$densify")


def _plain(plan: Plan, part: Element, node: PathNode, parents: Parents) -> None:
    """What a `$fill` outputs is read behind the others."""
    del plan, part, node, parents


def _range(plan: Plan, part: Element, node: PathNode, parents: Parents) -> None:
    """Steps and bounds belong to a field in clear."""
    del node, parents
    check_range(plan, part)


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
