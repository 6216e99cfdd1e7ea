"""Stages that gather documents: `$group` and its kin, and `$setWindowFields`.

Documents are told apart by equality of a key, which equal ciphertext keeps. What is gathered is forwarded
with its class or counted; sums, orders and everything else that computes needs fields in clear.
"""

from collections.abc import Callable, Mapping

from sealwire.policies.arguments import Parents, document_of, named_parts, only_element, operator_name
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions import plan_expression, plan_plain_expression
from sealwire.policies.namespaces import Surroundings
from sealwire.policies.operands import array_of
from sealwire.policies.operators import COMPUTING_ACCUMULATORS
from sealwire.policies.plan import Plan
from sealwire.policies.reshaping import assign_paths, names_of, replaced
from sealwire.policies.rules import Rule, family, passed, refused
from sealwire.policies.schema import NOTHING, PathNode
from sealwire.policies.sorting import plan_sort
from sealwire.policies.trees import Scope, document_node
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements


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
            fields[element.name] = _accumulated(plan, element, node, inner)
    return replaced(node, document_node(fields), names_of(fields))


def sort_by_count(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    """Groups by one expression, most frequent first."""
    del around
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
                fields[element.name] = _accumulated(plan, element, node, (*inner, outputs))
        elif part.name in _BUCKET_ARGUMENTS[stage.name]:
            plan_plain_expression(plan, part, Scope(node), inner)
        else:
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(stage)} with {operator_name(part)}")
    return replaced(node, document_node(fields), names_of(fields))


_BUCKET_ARGUMENTS = {
    b"$bucket": frozenset({b"groupBy", b"boundaries", b"default"}),
    b"$bucketAuto": frozenset({b"groupBy", b"buckets", b"granularity"}),
}


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
        elif part.name != b"output":
            raise Refusal(Reason.SHAPE, rule=f"$setWindowFields with {operator_name(part)}")
    output = parts.get(b"output")
    if output is None:
        return node
    fields = named_parts(plan, document_of(output, output))
    below = (*inner, output.value)
    return assign_paths(
        node, [(name, _window_field(plan, part, node, below)) for name, part in fields.items()]
    )


def _window_field(plan: Plan, element: Element, node: PathNode, parents: Parents) -> PathNode:
    start = document_of(element, element)
    operators = [part for part in named_parts(plan, start).values() if part.name != b"window"]
    if len(operators) != 1:
        raise Refusal(Reason.SHAPE, rule="a window function")
    return _apply(plan, operators[0], node, (*parents, start))


def plan_key(plan: Plan, element: Element, node: PathNode, parents: Parents) -> PathNode:
    """An expression whose results are told apart by equality."""
    key = plan_expression(plan, element, Scope(node), parents)
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
    return rule.handler(plan, operator, node, parents)


def _forward(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    return plan_expression(plan, operator, Scope(node), parents)


def _parts(plan: Plan, operator: Element, known: str) -> Mapping[bytes, Element]:
    """The arguments of an operator that takes a document of them."""
    parts = named_parts(plan, document_of(operator, operator))
    for part in parts.values():
        if part.name not in known.encode().split():
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(operator)} with {operator_name(part)}")
    return parts


def _first_few(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """`{input, n}`."""
    parts = _parts(plan, operator, "input n")
    inner = (*parents, operator.value)
    if b"n" in parts:
        plan_plain_expression(plan, parts[b"n"], Scope(node), inner)
    return plan_expression(plan, parts[b"input"], Scope(node), inner) if b"input" in parts else NOTHING


def _top(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """`{sortBy, output, n}`: the order is by fields in clear, what comes out may be covered."""
    parts = _parts(plan, operator, "sortBy output n")
    inner = (*parents, operator.value)
    if b"sortBy" in parts:
        plan_sort(plan, parts[b"sortBy"], node)
    if b"n" in parts:
        plan_plain_expression(plan, parts[b"n"], Scope(node), inner)
    return plan_expression(plan, parts[b"output"], Scope(node), inner) if b"output" in parts else NOTHING


def _shift(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """`{output, by, default}`: a default would stand among covered values in clear."""
    parts = _parts(plan, operator, "output by default")
    inner = (*parents, operator.value)
    yielded = [plan_expression(plan, part, Scope(node), inner) for part in parts.values()]
    covered = next((found for found in yielded if found.covers), NOTHING)
    default = parts.get(b"default")
    if covered.covers and default is not None and default.kind != kinds.NULL:
        raise Refusal(Reason.COMPUTE, path=covered.path, rule="$shift with a default")
    return covered


def _compute(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """Sums, averages, extremes: the values themselves are needed."""
    if operator.kind == kinds.OBJECT:
        # some take their expression bare, others among arguments, and an argument may be a sort order
        for part in elements(plan.buf, operator.value):
            if part.name == b"sortBy":
                plan_sort(plan, part, node)
    found = plan_expression(plan, operator, Scope(node), parents)
    if found.covers:
        raise Refusal(Reason.COMPUTE, path=found.path, rule=operator_name(operator))
    return NOTHING


def _counted(plan: Plan, operator: Element, node: PathNode, parents: Parents) -> PathNode:
    """Counts of documents, which take no value."""
    return _compute(plan, operator, node, parents)


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


ACCUMULATORS: dict[bytes, Rule[Callable[[Plan, Element, PathNode, Parents], PathNode]]] = {
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
