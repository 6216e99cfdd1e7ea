"""Follow covered fields from stage to stage of an aggregation pipeline.

Each stage takes the tree of covered paths of its input documents and gives that of its output. A stage in no
table may see documents without covered fields only; with anything covered in reach it is refused.
"""

from collections.abc import Callable
from functools import partial

from sealwire.policies.arguments import (
    Parents,
    array_items,
    check_nested,
    document_of,
    first_name,
    named_parts,
    only_element,
    operator_name,
)
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions import plan_expression, plan_plain_expression
from sealwire.policies.filters import plan_filter
from sealwire.policies.joins import graph_lookup, lookup, union_with
from sealwire.policies.namespaces import Surroundings, foreign_namespaces
from sealwire.policies.outputs import merge_into, out
from sealwire.policies.paths import follow
from sealwire.policies.plan import Plan
from sealwire.policies.projections import assign_path, dropping, plan_project_stage, without_path
from sealwire.policies.schema import NOTHING, Mode, PathNode
from sealwire.policies.trees import Scope, document_node, placed
from sealwire.wire.raw_bson import MAX_DEPTH, BsonType, Element, elements

# mongod allows 20 pipelines inside each other (kMaxSubPipelineViewDepth), views counted.
_MAX_NESTED_PIPELINES = 20

Stage = Callable[[Plan, Element, PathNode, Parents, Surroundings], PathNode]


def plan_pipeline(
    plan: Plan, pipeline: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    """Cover the constants of a pipeline over documents with the covered paths `node`.

    Returns the covered paths of what it yields. Raises Refusal, BsonError. Cost: O(elements).
    """
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    if plan.pipelines > _MAX_NESTED_PIPELINES:
        raise Refusal(Reason.SHAPE, rule="nesting")
    plan.pipelines += 1
    inner = (*parents, pipeline.value)
    for item in array_items(plan, pipeline):
        start = document_of(item, pipeline)
        stage = only_element(plan, start, "a stage")
        in_reach = _in_reach(plan, stage, node, around)
        handler = _STAGES.get(stage.name)
        if handler is not None and (in_reach is not None or node.covers):
            before, node = node, handler(plan, stage, node, (*inner, start), around)
            plan.as_stored = plan.as_stored and node is before
        elif in_reach is not None:
            raise Refusal(Reason.STAGE, path=in_reach, rule=operator_name(stage))
        else:
            check_nested(plan, stage)
    plan.pipelines -= 1
    return node


def _in_reach(plan: Plan, stage: Element, node: PathNode, around: Surroundings) -> str | None:
    """Something covered that a stage can see, or None: then it works as it would without a policy."""
    if node.covers:
        return node.path
    for variable in plan.variables.values():
        if variable.covers:
            return variable.path
    return around.protected_in(foreign_namespaces(plan, stage, around.database))


def _match(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    del around
    plan_filter(plan, document_of(stage, stage), node, parents)
    return node


def _project(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    del around
    return plan_project_stage(plan, stage, node, parents)


def _add_fields(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    del around
    start = document_of(stage, stage)
    result = node
    for element in elements(plan.buf, start):
        value = plan_expression(plan, element, Scope(node), (*parents, start))
        old = follow(node, element.name)
        if old is not None and old.leaf is None and is_document_literal(plan, element):
            # the fields of a literal are added to those of a sub-document that is there already
            value = PathNode(old.path, opaque=True)
        result = assign_path(result, element.name, value)
    return result


def is_document_literal(plan: Plan, element: Element) -> bool:
    """Whether an expression is `{field: ...}` rather than `{$operator: ...}`."""
    return element.kind == BsonType.OBJECT and not first_name(plan, element.value).startswith(b"$")


def _unset(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    del parents, around
    names = [stage] if stage.kind == BsonType.STRING else array_items(plan, stage)
    for name in names:
        if name.kind != BsonType.STRING:
            raise Refusal(Reason.SHAPE, rule="$unset")
        node = dropping(node, plan.buf[name.value + 4 : name.end - 1])
    return node


def _group(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    del around
    start = document_of(stage, stage)
    inner = (*parents, start)
    fields: dict[bytes, PathNode] = {}
    for element in named_parts(plan, start).values():
        if element.name == b"_id":
            fields[b"_id"] = _grouping_key(plan, element, node, inner)
        else:
            fields[element.name] = _accumulator(plan, element, node, inner)
    return document_node(fields)


def _grouping_key(plan: Plan, element: Element, node: PathNode, parents: Parents) -> PathNode:
    """An expression whose results are told apart by equality."""
    key = plan_expression(plan, element, Scope(node), parents)
    if key.holds_random:
        raise Refusal(Reason.RANDOM_EQUALITY, path=key.path, rule=operator_name(element))
    if key.covers:
        plan.compares = True
    return key


_FORWARDING_ACCUMULATORS = frozenset({b"$first", b"$last", b"$push"})
_SORTING_ACCUMULATORS = frozenset({b"$top", b"$topN", b"$bottom", b"$bottomN"})


def _accumulator(plan: Plan, element: Element, node: PathNode, parents: Parents) -> PathNode:
    """`{field: {$accumulator: expression}}`: forwarding keeps the class, computing needs plain values."""
    start = document_of(element, element)
    operator = only_element(plan, start, "an accumulator")
    inner = (*parents, start)
    if operator.name in _FORWARDING_ACCUMULATORS:
        return plan_expression(plan, operator, Scope(node), inner)
    if operator.name == b"$addToSet":
        return _grouping_key(plan, operator, node, inner)
    if operator.name in _SORTING_ACCUMULATORS:
        order = named_parts(plan, document_of(operator, operator)).get(b"sortBy")
        if order is not None:
            plan_sort(plan, order, node)
    plan_plain_expression(plan, element, Scope(node), parents)
    return NOTHING


def _sort_by_count(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    del around
    return document_node({b"_id": _grouping_key(plan, stage, node, parents)})


def _sort(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    del parents, around
    plan_sort(plan, stage, node)
    return node


def plan_sort(plan: Plan, element: Element, node: PathNode) -> None:
    """Refuse a sort specification that orders by a covered path."""
    for key in elements(plan.buf, document_of(element, element)):
        covered = None if key.name == b"$natural" else follow(node, key.name)
        if covered is not None:
            raise Refusal(Reason.SORT, path=covered.path, rule="sort")
        check_nested(plan, key)


def _unwind(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """One element a document: paths see through arrays, so the covered paths stay what they were."""
    del parents, around
    path = stage
    if stage.kind == BsonType.OBJECT:
        parts = named_parts(plan, stage.value)
        found = parts.get(b"path")
        if found is None:
            raise Refusal(Reason.SHAPE, rule="$unwind")
        path = found
        index = parts.get(b"includeArrayIndex")
        if index is not None and index.kind == BsonType.STRING:
            node = without_path(node, plan.buf[index.value + 4 : index.end - 1])
    if path.kind != BsonType.STRING:
        raise Refusal(Reason.SHAPE, rule="$unwind")
    target = follow(node, plan.buf[path.value + 4 : path.end - 1].removeprefix(b"$"))
    if target is not None and (target.opaque or (target.leaf and target.leaf.mode is Mode.RANDOM)):
        raise Refusal(Reason.COMPUTE, path=target.path, rule="$unwind")
    return node


def _keep(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """`$limit`, `$skip`, `$sample`: fewer documents of the same shape."""
    del parents, around
    check_nested(plan, stage)
    return node


def _nothing(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """Stages whose output has no field of their input."""
    del node, parents, around
    check_nested(plan, stage)
    return NOTHING


def _replace_root(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    del around
    if stage.name == b"$replaceRoot":
        start = document_of(stage, stage)
        found = named_parts(plan, start).get(b"newRoot")
        if found is None:
            raise Refusal(Reason.SHAPE, rule="$replaceRoot")
        stage, parents = found, (*parents, start)
    root = plan_expression(plan, stage, Scope(node), parents)
    if root.leaf is not None or root.opaque:
        raise Refusal(Reason.COMPUTE, path=root.path, rule="$replaceRoot")
    return root


def _facet(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    start = document_of(stage, stage)
    inner = (*parents, start)
    return document_node(
        {
            part.name: placed(plan_pipeline(plan, part, node, inner, around))
            for part in named_parts(plan, start).values()
        }
    )


def _change_stream(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    """A change event carries whole documents, their key, and the fields that were updated.

    These may stand there under dotted names, which no path reaches: what a path reaches is as in a document.
    """
    del parents, around
    check_nested(plan, stage)
    if not node.covers:
        return node
    return document_node(
        {
            b"fullDocument": node,
            b"fullDocumentBeforeChange": node,
            b"documentKey": node,
            b"updateDescription": document_node({b"updatedFields": node}),
        }
    )


_STAGES: dict[bytes, Stage] = {
    b"$match": _match,
    b"$project": _project,
    b"$addFields": _add_fields,
    b"$set": _add_fields,
    b"$unset": _unset,
    b"$group": _group,
    b"$sortByCount": _sort_by_count,
    b"$sort": _sort,
    b"$unwind": _unwind,
    b"$limit": _keep,
    b"$skip": _keep,
    b"$sample": _keep,
    b"$count": _nothing,
    b"$indexStats": _nothing,
    b"$collStats": _nothing,
    b"$planCacheStats": _nothing,
    b"$replaceRoot": _replace_root,
    b"$replaceWith": _replace_root,
    b"$facet": _facet,
    b"$out": out,
    b"$merge": merge_into,
    b"$lookup": partial(lookup, plan_pipeline),
    b"$graphLookup": graph_lookup,
    b"$unionWith": partial(union_with, plan_pipeline),
    b"$changeStream": _change_stream,
    b"$changeStreamSplitLargeEvent": _keep,
}

SUPPORTED_STAGES = tuple(sorted(name.decode() for name in _STAGES))
"""For documentation and `policy explain`."""
