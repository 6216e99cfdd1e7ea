"""Stages that gather documents: `$group` and its kin, and `$setWindowFields`.

Documents are told apart by equality of a key, which equal ciphertext keeps. What is gathered is forwarded
with its class or counted; sums, orders and everything else that computes needs fields in clear.
"""

from collections.abc import Callable

from sealwire.policies.aggregation.reshaping import assign_paths, names_of, replaced
from sealwire.policies.aggregation.sorting import plan_sort
from sealwire.policies.aggregation.stage_arguments import at_least, check_field_name
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.expressions import plan_expression, plan_plain_expression
from sealwire.policies.expressions.operands import array_of, plan_number
from sealwire.policies.expressions.operators import ACCUMULATOR_SIGNATURES, COMPUTING_ACCUMULATORS
from sealwire.policies.file.quantities import NUMERIC
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import (
    Parents,
    array_items,
    document_of,
    is_operator_document,
    named_parts,
    only_element,
    operator_name,
    text_of,
)
from sealwire.policies.planning.namespaces import Surroundings
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.rules import Rule, family, passed, refused, signed
from sealwire.policies.planning.signatures import check_arguments, check_names, signature_of
from sealwire.policies.planning.trees import Scope, document_node
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, string_bytes


def group(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """`{_id: expression, field: {$accumulator: expression}}`."""
    del around
    start = document_of(stage, stage)
    inner = (*parents, start)
    fields: dict[bytes, PathNode] = {}
    for element in named_parts(plan, start).values():
        if element.name == b"_id":
            fields[b"_id"] = plan_key(plan, element, node, inner)
        else:
            check_field_name(element.name, stage)
            fields[element.name] = _accumulated(plan, element, node, inner)
    return replaced(node, document_node(fields), names_of(fields))


def sort_by_count(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    """Groups by one expression, most frequent first."""
    del around
    is_path = stage.kind == kinds.STRING and string_bytes(plan.buf, stage).startswith(b"$")
    if not is_path and not is_operator_document(plan, stage):
        raise Refusal(Reason.SHAPE, rule="$sortByCount")
    counted = document_node({b"_id": plan_key(plan, stage, node, parents)})
    return replaced(node, counted, names_of((b"_id", b"count")))


def bucket(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """`$bucket` and `$bucketAuto`: groups by order, so by a field in clear only."""
    del around
    start = document_of(stage, stage)
    inner = (*parents, start)
    fields: dict[bytes, PathNode] = {b"_id": NOTHING}
    parts = named_parts(plan, start)
    if b"output" not in parts:
        fields[b"count"] = NOTHING
    for part in parts.values():
        if part.name == b"output":
            outputs = document_of(part, part)
            for element in named_parts(plan, outputs).values():
                check_field_name(element.name, part)
                fields[element.name] = _accumulated(plan, element, node, (*inner, outputs))
        elif part.name == b"buckets":
            at_least(plan, part, 1)
        elif part.name == b"granularity":
            text_of(plan, part)
        else:
            plan_plain_expression(plan, part, Scope(node), inner)
    return replaced(node, document_node(fields), names_of(fields))


def set_window_fields(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    """`{partitionBy, sortBy, output: {field: {$operator: expression, window}}}`: adds fields."""
    del around
    start = document_of(stage, stage)
    inner = (*parents, start)
    parts = named_parts(plan, start)
    for part in parts.values():
        if part.name == b"partitionBy":
            plan_key(plan, part, node, inner)
        elif part.name == b"sortBy":
            plan_sort(plan, part, node)
    output = parts[b"output"]
    fields = named_parts(plan, document_of(output, output))
    below = (*inner, output.value)
    return assign_paths(
        node, [(name, _window_field(plan, part, node, below)) for name, part in fields.items()]
    )


def _window_field(plan: Plan, element: Element, node: PathNode, parents: Parents) -> PathNode:
    parts = named_parts(plan, document_of(element, element))
    inner = (*parents, element.value)
    window = parts.pop(b"window", None)
    if window is not None:
        _check_window(plan, window, node, inner)
    if len(parts) != 1:
        raise Refusal(Reason.SHAPE, rule="a window function")
    return _apply(plan, next(iter(parts.values())), node, inner)


_WINDOW = signature_of("{documents?} | {range unit?}").named
_BOUNDS = frozenset({b"current", b"unbounded"})
_UNITS = frozenset(b"year quarter month week day hour minute second millisecond".split())


def _check_window(plan: Plan, window: Element, node: PathNode, parents: Parents) -> None:
    """`{documents: [from, to]}` or `{range: [from, to], unit}`: numbers, and words for some places.

    A number may be computed from constants, which are covered as in any expression. Raises Refusal.
    """
    parts = check_names(plan, window, *_WINDOW)
    unit = parts.pop(b"unit", None)
    is_known = unit is None or string_bytes(plan.buf, unit) in _UNITS
    for bounds in parts.values():
        items = array_items(plan, bounds)
        is_known = is_known and len(items) == 2
        for item in items:
            if is_operator_document(plan, item):
                plan_plain_expression(plan, item, Scope(node), (*parents, window.value, bounds.value))
            elif item.kind not in NUMERIC and string_bytes(plan.buf, item) not in _BOUNDS:
                is_known = False
    if not is_known:
        raise Refusal(Reason.SHAPE, rule="a window")


def plan_key(plan: Plan, element: Element, node: PathNode, parents: Parents) -> PathNode:
    """An expression whose results are told apart by equality."""
    key = plan_expression(plan, element, Scope(node), parents)
    if key.absent:
        return key  # no ciphertext is there, and constants beside it were refused or covered
    if key.holds_random:
        raise Refusal(Reason.RANDOM_EQUALITY, path=key.path, rule=operator_name(element))
    if key.covers:
        plan.compares = True
    return key


def _accumulated(plan: Plan, element: Element, node: PathNode, parents: Parents) -> PathNode:
    """`field: {$accumulator: expression}`."""
    start = document_of(element, element)
    return _apply(plan, only_element(plan, start, "an accumulator"), node, (*parents, start))


def _apply(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    rule = ACCUMULATORS.get(operator.name)
    if rule is None:
        raise Refusal(Reason.OPERATOR, rule=operator_name(operator))
    check_arguments(plan, operator, rule.signature)
    return rule.handler(plan, operator, node, parents)


def _forward(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    return plan_expression(plan, operator, Scope(node), parents)


def _first_few(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """`{input, n}`."""
    parts = named_parts(plan, operator.value)
    inner = (*parents, operator.value)
    plan_number(plan_expression, plan, parts[b"n"], Scope(node), inner, operator_name(operator))
    return plan_expression(plan, parts[b"input"], Scope(node), inner)


def _top(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """`{sortBy, output, n}`: the order is by fields in clear, what comes out may be covered."""
    parts = named_parts(plan, operator.value)
    inner = (*parents, operator.value)
    plan_sort(plan, parts[b"sortBy"], node)
    if b"n" in parts:
        plan_number(plan_expression, plan, parts[b"n"], Scope(node), inner, operator_name(operator))
    return plan_expression(plan, parts[b"output"], Scope(node), inner)


def _shift(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """`{output, by, default}`: a default would stand among covered values in clear."""
    parts = named_parts(plan, operator.value)
    inner = (*parents, operator.value)
    found = plan_expression(plan, parts[b"output"], Scope(node), inner)
    plan_number(plan_expression, plan, parts[b"by"], Scope(node), inner, "$shift")
    default = parts.get(b"default")
    if default is not None:
        plan_plain_expression(plan, default, Scope(node), inner)
        if found.covers and default.kind != kinds.NULL:
            raise Refusal(Reason.COMPUTE, path=found.path, rule="$shift with a default")
    return found


def _compute(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """Sums, averages, extremes: the values themselves are needed."""
    found = plan_expression(plan, operator, Scope(node), parents)
    # of a bare path that leads to no ciphertext, with no constant beside it, the answer is the plaintext's
    if found.covers and not (found.absent and operator.kind == kinds.STRING):
        raise Refusal(Reason.COMPUTE, path=found.path, rule=operator_name(operator))
    return NOTHING


def _counted(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """Counts of documents, which take no argument."""
    del plan, operator, node, parents
    return NOTHING


def _merged(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """`$mergeObjects`: each field comes from one of documents that all have the same covered paths."""
    found = plan_expression(plan, operator, Scope(node), parents)
    if found.leaf is not None or found.opaque:
        raise Refusal(Reason.COMPUTE, path=found.path, rule=operator_name(operator))
    return found


def _joined_arrays(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """`$concatArrays`: the elements of arrays of one kind."""
    return array_of(plan_expression(plan, operator, Scope(node), parents), operator_name(operator))


def _united(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """`$setUnion`: elements are told apart by equality."""
    return array_of(plan_key(plan, operator, node, parents), operator_name(operator))


def _distinct_values(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    return plan_key(plan, operator, node, parents)


def _javascript(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    del plan, node, parents
    raise Refusal(Reason.JAVASCRIPT, rule=operator_name(operator))


_ROWS: dict[bytes, Rule[Callable[[Plan, Element, PathNode, Parents], PathNode]]] = {
    **family("$first $last $push $locf", passed(_forward)),
    b"$addToSet": passed(_distinct_values, "deterministic classes"),
    **family("$firstN $lastN", passed(_first_few)),
    **family("$top $topN $bottom $bottomN", passed(_top, "ordered by fields in clear")),
    b"$shift": passed(_shift, "without a default"),
    **family("$count $documentNumber $rank $denseRank", passed(_counted, "ordered by fields in clear")),
    b"$mergeObjects": passed(_merged, "documents with covered fields"),
    b"$concatArrays": passed(_joined_arrays, "deterministic classes"),
    b"$setUnion": passed(_united, "deterministic classes"),
    **family(COMPUTING_ACCUMULATORS, refused(_compute, Reason.COMPUTE)),
    b"$accumulator": refused(_javascript, Reason.JAVASCRIPT, "on any field"),
}

ACCUMULATORS = signed(_ROWS, ACCUMULATOR_SIGNATURES)
"""Every row with the arguments that it takes: its handler finds no others."""
