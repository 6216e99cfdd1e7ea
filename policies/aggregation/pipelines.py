"""Follow covered fields from stage to stage of an aggregation pipeline.

Each stage takes the tree of covered paths of its input documents and gives that of its output. A stage in no
table may see documents without covered fields only; with anything covered in reach it is refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from sealwire.policies.aggregation.events import EVENT_FIELDS, check_options, check_split, events_of
from sealwire.policies.aggregation.filling import densify, fill
from sealwire.policies.aggregation.geo_near import geo_near
from sealwire.policies.aggregation.grouping import bucket, group, set_window_fields, sort_by_count
from sealwire.policies.aggregation.joins import graph_lookup, lookup, union_with
from sealwire.policies.aggregation.outputs import merge_into, out
from sealwire.policies.aggregation.projections import plan_project_stage
from sealwire.policies.aggregation.reshaping import (
    assign_path,
    assign_paths,
    assigned_value,
    drop_paths,
    is_document_literal,
    names_of,
    replaced,
    written_names,
)
from sealwire.policies.aggregation.server_stages import SERVER_STAGES, first_documents
from sealwire.policies.aggregation.sorting import plan_sort
from sealwire.policies.aggregation.stage_arguments import (
    STAGE_SIGNATURES,
    UNWIND,
    at_least,
    check_field_name,
    check_flag,
    field_name,
    field_path,
    referred_path,
)
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.expressions import plan_expression, plan_plain_expression
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, Mode, PathNode, freeze
from sealwire.policies.filters.filters import plan_filter
from sealwire.policies.planning.arguments import (
    Parents,
    array_items,
    check_nested,
    document_of,
    named_parts,
    only_element,
    operator_name,
)
from sealwire.policies.planning.namespaces import Surroundings, foreign_namespaces
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.rules import Rule, encrypted, family, passed, refused, signed
from sealwire.policies.planning.signatures import check_arguments, check_names
from sealwire.policies.planning.trees import OPAQUE, Scope, document_node, placed, whole_inside
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element

# mongod allows 20 pipelines inside each other (kMaxSubPipelineViewDepth), views counted.
_MAX_NESTED_PIPELINES = 20

_WRITING = frozenset({b"$out", b"$merge"})

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
    is_written = False
    for item in array_items(plan, pipeline):
        start = document_of(item, pipeline)
        stage = only_element(plan, start, "a stage")
        if is_written or (stage.name in _WRITING and plan.pipelines > 1):
            raise Refusal(Reason.SHAPE, rule="a stage that writes, and is not the last of all")
        is_written = stage.name in _WRITING
        in_reach = _in_reach(plan, stage, node, around)
        rule = STAGES.get(stage.name)
        if in_reach is None and stage.name not in SERVER_STAGES:
            check_nested(plan, stage)
        elif rule is None:
            raise Refusal(Reason.STAGE, path=in_reach or "", rule=operator_name(stage))
        else:
            check_arguments(plan, stage, rule.signature)
            node = rule.handler(plan, stage, node, (*inner, start), around)
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
    inner = (*parents, start)
    return assign_paths(
        node,
        [(name, _added(plan, part, node, inner)) for name, part in named_parts(plan, start).items()],
    )


def _added(plan: Plan, element: Element, node: PathNode, parents: Parents) -> PathNode | None:
    """What is at a field after `$addFields`, for `assign_paths`."""
    value = assigned_value(plan, element, node, parents)
    old = follow(node, element.name)
    if old is None or not is_document_literal(plan, element):
        return value
    # the fields of a literal are added to those of a sub-document that is there already
    if old.leaf is None:
        return PathNode(old.path, opaque=True)
    if old.leaf.mode is Mode.RANDOM and not old.absent:
        # as a path below it would be
        raise Refusal(Reason.BELOW_ENCRYPTED, path=old.path)
    return value


def _unset(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    del parents, around
    names = [stage] if stage.kind == kinds.STRING else array_items(plan, stage)
    if not names:
        raise Refusal(Reason.SHAPE, rule="$unset")
    return drop_paths(node, [field_path(plan, name) for name in names])


def _sort(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    del parents, around
    plan_sort(plan, stage, node)
    return node


def _unwind(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """One element a document: paths see through arrays, so the covered paths stay what they were."""
    del parents, around
    parts = check_names(plan, stage, *UNWIND) if stage.kind == kinds.OBJECT else {b"path": stage}
    target = follow(node, referred_path(plan, parts[b"path"]))
    if b"preserveNullAndEmptyArrays" in parts:
        check_flag(parts[b"preserveNullAndEmptyArrays"])
    if b"includeArrayIndex" in parts:
        node = assign_path(node, field_path(plan, parts[b"includeArrayIndex"]), NOTHING)
    is_whole = target is not None and (target.opaque or (target.leaf and target.leaf.mode is Mode.RANDOM))
    if target is not None and is_whole and not target.absent:
        raise Refusal(Reason.COMPUTE, path=target.path, rule="$unwind")
    return node


def _limit(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """`$limit` and `$skip`: fewer documents of the same shape."""
    del parents, around
    at_least(plan, stage, 0 if stage.name == b"$skip" else 1)
    return node


def _sample(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    del parents, around
    at_least(plan, named_parts(plan, stage.value)[b"size"], 0)
    return node


def _server_stage(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    """Stages that read no documents: nothing is known of theirs but what is in clear."""
    del parents, around
    return replaced(node, first_documents(plan, stage) or NOTHING)


def _count(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    del parents, around
    return replaced(node, NOTHING, names_of([field_name(plan, stage)]))


def _replace_root(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    del around
    if stage.name == b"$replaceRoot":
        stage, parents = named_parts(plan, stage.value)[b"newRoot"], (*parents, stage.value)
    root = plan_expression(plan, stage, Scope(node), parents)
    if root.leaf is not None or (root.opaque and not root.absent):
        raise Refusal(Reason.COMPUTE, path=root.path, rule="$replaceRoot")
    return replaced(node, root, written_names(plan, stage))


def _facet(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    start = document_of(stage, stage)
    inner = (*parents, start)
    found: dict[bytes, PathNode] = {}
    for name, part in named_parts(plan, start).items():
        check_field_name(name, stage)
        found[name] = placed(plan_pipeline(plan, part, node, inner, around))
    if not found:
        raise Refusal(Reason.SHAPE, rule="$facet")
    return replaced(node, document_node(found), names_of(found))


def _change_stream(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    """What comes before it are the documents that change; what comes behind it are the events."""
    del parents, around
    check_options(plan, stage)
    return replaced(node, events_of(node), EVENT_FIELDS)


def _split(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    del parents, around
    check_split(plan, stage)
    return node


def _redact(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """`$$DESCEND` applies the expression to sub-documents, where names mean other fields than above.

    So a name that is covered at any level counts as covered at each of them, and there must be no
    sub-document that is encrypted as a whole: the server would not descend into it.
    """
    del around
    if plan.buf.find(b"$$DESCEND", stage.start, stage.end) < 0:
        plan_plain_expression(plan, stage, Scope(node), parents)
        return node
    whole = whole_inside(node)
    if whole is not None:
        raise Refusal(Reason.COMPUTE, path=whole.path, rule="$$DESCEND")
    everywhere = dict.fromkeys(_names_of(node), replace(OPAQUE, path=node.path))
    plan_plain_expression(plan, stage, Scope(PathNode(node.path, freeze(everywhere))), parents)
    return node


def _names_of(node: PathNode) -> Iterator[bytes]:
    """Every name that stands anywhere in a tree."""
    for name, child in node.children.items():
        yield name
        yield from _names_of(child)
    if node.behind_number is not None:
        yield from _names_of(node.behind_number)


def _documents(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    """Documents made by an expression; within a `$lookup` they may be made of its variables."""
    del around
    made = plan_expression(plan, stage, Scope(node), parents)
    if made.leaf is not None or made.opaque:
        raise Refusal(Reason.COMPUTE, path=made.path, rule="$documents")
    return replaced(node, made)


def _beyond(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """A stage that is known, and that nothing covered may come near."""
    del plan, parents, around
    raise Refusal(Reason.STAGE, path=node.path, rule=operator_name(stage))


_ROWS: dict[bytes, Rule[Stage]] = {
    b"$match": encrypted(_match, "see the filters"),
    b"$project": encrypted(_project, "see the expressions"),
    **family("$addFields $set", encrypted(_add_fields, "see the expressions")),
    b"$unset": passed(_unset),
    b"$group": passed(group, "deterministic classes; see the accumulators"),
    b"$sortByCount": passed(sort_by_count, "deterministic classes"),
    **family("$bucket $bucketAuto", refused(bucket, Reason.COMPUTE, "passes by fields in clear")),
    b"$setWindowFields": passed(set_window_fields, "partitions as `$group`, ordered by fields in clear"),
    b"$sort": refused(_sort, Reason.SORT, "passes by fields in clear"),
    b"$unwind": passed(_unwind, "deterministic classes"),
    **family("$limit $skip", passed(_limit)),
    b"$sample": passed(_sample),
    b"$count": passed(_count),
    **family("$replaceRoot $replaceWith", encrypted(_replace_root, "see the expressions")),
    b"$fill": encrypted(
        fill, "partitions as `$group`, ordered by fields in clear; the last value of a class"
    ),
    b"$densify": passed(densify, "partitions as `$group`, by a field in clear"),
    b"$geoNear": encrypted(geo_near, "by a field in clear; `query` as in filters"),
    b"$redact": encrypted(_redact, "with `$$DESCEND`: names fields in clear, and no random class is left"),
    b"$facet": encrypted(_facet, "each pipeline for itself"),
    b"$documents": passed(_documents),
    b"$lookup": encrypted(partial(lookup, plan_pipeline), "fields of one deterministic class, or in clear"),
    b"$graphLookup": encrypted(graph_lookup, "fields of one deterministic class, or in clear"),
    b"$unionWith": encrypted(partial(union_with, plan_pipeline), "what both cover alike stays covered"),
    b"$out": passed(out, "into the same classes at the same paths; else refused [target]"),
    b"$merge": encrypted(merge_into, "as `$out`; the pipeline of `whenMatched` as an update's"),
    b"$changeStream": passed(_change_stream, "`$match` behind it as in documents"),
    b"$changeStreamSplitLargeEvent": passed(_split),
    **family(
        """$search $searchMeta $vectorSearch $rankFusion $scoreFusion $listSearchIndexes""",
        refused(_beyond, Reason.STAGE),
    ),
    **dict.fromkeys(
        SERVER_STAGES, passed(_server_stage, "commands, filters, keys and definitions can be forwarded only")
    ),
}

STAGES = signed(_ROWS, STAGE_SIGNATURES)
"""A stage that is not here may see documents without covered fields only."""
