"""The aggregation stages: one row each, with its arguments and what becomes of covered fields in it.

Here are the handlers that need a few lines; grouping, joins, outputs and the like have modules of their own.
"""

from dataclasses import replace
from typing import Final

from sealwire.policies.aggregation import grouping, reshaping, stage_arguments
from sealwire.policies.aggregation.joins import graph_lookup, lookup, merge_into, out, union_with
from sealwire.policies.aggregation.pipelines import plan_pipeline
from sealwire.policies.aggregation.projections import plan_project_stage
from sealwire.policies.aggregation.server_stages import SERVER_STAGES, first_documents
from sealwire.policies.aggregation.sorting import plan_sort_stage
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.interpreter import infer, infer_plain
from sealwire.policies.expressions.operators import OPERATORS
from sealwire.policies.file.schema import NOTHING, PathNode, follow
from sealwire.policies.filters.filters import plan_filter_argument
from sealwire.policies.planning import arguments
from sealwire.policies.planning.contexts import KnownContexts
from sealwire.policies.planning.numbers import FLAGS
from sealwire.policies.planning.rules import (
    Conversion,
    StageRow,
    Tables,
    Yields,
    encrypted,
    never,
    passed,
    refused,
    stages,
)
from sealwire.policies.planning.trees import OPAQUE, document_node, each_node, placed, whole_inside
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

# --------------------------------- events of a change stream: where in them the documents of a collection lie

_FIELDS: Final = b"""_id operationType clusterTime wallTime ns nsType to collectionUUID documentKey
    fullDocument fullDocumentBeforeChange updateDescription operationDescription stateBeforeChange
    lsid txnNumber splitEvent rawUpdateDescription""".split()

EVENT_FIELDS: Final = reshaping.names_of(_FIELDS)
"""The fields of an event; servers have no others."""

_TOKEN: Final[stage_arguments.Shape] = stage_arguments.shaped(
    {
        b"_data": stage_arguments.unless_null(stage_arguments.typed(kinds.STRING, kinds.BIN_DATA)),
        b"_typeBits": stage_arguments.unless_null(stage_arguments.typed(kinds.BIN_DATA)),
    }
)
check_options: Final[stage_arguments.Shape] = stage_arguments.shaped(
    {
        **dict.fromkeys(
            (b"fullDocument", b"fullDocumentBeforeChange"), stage_arguments.unless_null(stage_arguments.TEXT)
        ),
        **dict.fromkeys((b"resumeAfter", b"startAfter"), _TOKEN),
        b"startAtOperationTime": stage_arguments.unless_null(stage_arguments.typed(kinds.TIMESTAMP)),
        **dict.fromkeys(
            b"""allChangesForCluster showExpandedEvents showSystemEvents showMigrationEvents
            showRawUpdateDescription matchCollectionUUIDForUpdateLookup""".split(),
            stage_arguments.unless_null(stage_arguments.typed(kinds.BOOL)),
        ),
    }
)
"""The arguments of `$changeStream`: none of them is, or holds, a value."""


def events_of(documents: PathNode) -> PathNode:
    """The tree of the events of documents with this tree: whole ones, their key, and what was updated.

    Fields that were updated may stand there under dotted names, which no path reaches: what a path reaches is
    as in a document. A definition that was changed, such as an index or a validator, may hold constants.
    """
    if not documents.covers:
        return NOTHING
    children = {
        **dict.fromkeys((b"fullDocument", b"fullDocumentBeforeChange", b"documentKey"), documents),
        b"updateDescription": PathNode(documents.path, {b"updatedFields": documents}),
        **dict.fromkeys((b"operationDescription", b"stateBeforeChange", b"rawUpdateDescription"), OPAQUE),
    }
    return PathNode(documents.path, children)


# ------------------------------------------------ $geoNear: documents by their distance from a place in clear
#
# The place and the distances are numbers, or variables; what is anything else could be a covered value.

_PATHS = frozenset(b"distanceField includeLocs key".split())


def geo_near(walk: Walk, stage: Element) -> PathNode:
    """`{near, distanceField, key, query, includeLocs, ...}`: `query` is a filter. Raises Refusal."""
    inner, parts = walk.parts(stage)
    result = walk.node
    for name, part in parts.items():
        arguments.check_nested(walk.buf, part)
        if name == b"query":
            plan_filter_argument(inner, part)
        elif name in _PATHS:
            result = _path(walk, part, result)
        elif (name != b"near" or part.kind not in FLAGS) and _is_place(walk.buf, part):
            infer_plain(inner, part)
        else:
            raise Refusal(Reason.SHAPE, rule=f"$geoNear with {arguments.operator_name(part)}")
    return result


def _path(walk: Walk, part: Element, result: PathNode) -> PathNode:
    """The tree after the distance, or the place that was found, is put at a path; a key must be in clear."""
    path = arguments.text_of(walk.buf, part)
    if part.name != b"key":
        return reshaping.assign_path(result, path, NOTHING, walk.draft.work)
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


# ------------------------------------------------------------------------------- stages that need a few lines


def _match(walk: Walk, stage: Element) -> PathNode:
    plan_filter_argument(walk, stage)
    return walk.node


def _add_fields(walk: Walk, stage: Element) -> PathNode:
    inner, parts = walk.parts(stage)
    added = [(name, _added(inner, part)) for name, part in parts.items()]
    return reshaping.assign_paths(walk.node, added, walk.draft.work)


def _added(walk: Walk, element: Element) -> PathNode | None:
    """What is at a field after `$addFields`, for `assign_paths`."""
    value = reshaping.assigned_value(walk, element)
    old = follow(walk.node, element.name)
    if not arguments.is_document_literal(walk.buf, element):
        return value
    if old is None:
        # an array that is there is not replaced: the literal goes into each document in it
        return value and _single(walk.buf, element, value)
    _refuse_below_random(walk.buf, element, old)
    return PathNode(old.path, opaque=True) if old.leaf is None else value


def _single(buf: bytes, literal: Element, value: PathNode) -> PathNode:
    """The tree of a document that is written out, which may be put into one that is there already."""
    if value.opaque or not value.covers:
        return value
    children = dict(value.children)
    for part in elements(buf, literal.value):
        if part.name in children and arguments.is_document_literal(buf, part):
            children[part.name] = _single(buf, part, children[part.name])
    return replace(value, children=children, single=True)


def _refuse_below_random(buf: bytes, literal: Element, old: PathNode) -> None:
    """The fields of a literal are added to those of a sub-document that is there already.

    That may be one encrypted as a whole, at any depth: refused, as a path below it would be. Raises
    Refusal(BELOW_ENCRYPTED).
    """
    if old.leaf is not None:
        if old.is_random and not old.absent:
            raise Refusal(Reason.BELOW_ENCRYPTED, path=old.path)
        return
    for part in elements(buf, literal.value):
        below = follow(old, part.name)
        if below is not None and arguments.is_document_literal(buf, part):
            _refuse_below_random(buf, part, below)


def _unset(walk: Walk, stage: Element) -> PathNode:
    paths = [stage_arguments.field_path(walk.buf, name) for name in arguments.one_or_more(walk.buf, stage)]
    if not paths:
        raise Refusal(Reason.SHAPE, rule="$unset")
    return reshaping.drop_paths(walk.node, paths, walk.draft.work)


def _unwind(walk: Walk, stage: Element) -> PathNode:
    """One element a document: paths see through arrays, so the covered paths stay what they were."""
    parts = arguments.named_parts(walk.buf, stage.value) if stage.kind == kinds.OBJECT else {b"path": stage}
    node = walk.node
    target = follow(node, stage_arguments.referred_path(walk.buf, parts[b"path"]))
    if b"preserveNullAndEmptyArrays" in parts:
        stage_arguments.typed(kinds.BOOL)(walk.buf, parts[b"preserveNullAndEmptyArrays"], stage)
    if b"includeArrayIndex" in parts:
        index = stage_arguments.field_path(walk.buf, parts[b"includeArrayIndex"])
        node = reshaping.assign_path(node, index, NOTHING, walk.draft.work)
    if target is not None and target.is_random and not target.absent:
        raise Refusal(Reason.COMPUTE, path=target.path, rule="$unwind")
    return node


def _limit(walk: Walk, stage: Element) -> PathNode:
    """`$limit` and `$skip`: fewer documents of the same shape."""
    stage_arguments.at_least(walk.buf, stage, 0 if stage.name == b"$skip" else 1)
    return walk.node


def _sample(walk: Walk, stage: Element) -> PathNode:
    stage_arguments.at_least(walk.buf, arguments.named_parts(walk.buf, stage.value)[b"size"], 0)
    return walk.node


def _server_stage(walk: Walk, stage: Element) -> PathNode:
    """Stages that read no documents: nothing is known of theirs but what is in clear."""
    return reshaping.replaced(walk.node, first_documents(walk.draft, stage), walk.draft.work)


def _count(walk: Walk, stage: Element) -> PathNode:
    name = arguments.text_of(walk.buf, stage)
    stage_arguments.check_field_name(name, stage)
    return reshaping.replaced(walk.node, NOTHING, walk.draft.work, reshaping.names_of([name]))


def _replace_root(walk: Walk, stage: Element) -> PathNode:
    if stage.name == b"$replaceRoot":
        walk, parts = walk.parts(stage)
        stage = parts[b"newRoot"]
    root = infer(walk, stage)
    if root.leaf is not None or (root.opaque and not root.absent):
        raise Refusal(Reason.COMPUTE, path=root.path, rule="$replaceRoot")
    return reshaping.replaced(walk.node, root, walk.draft.work, reshaping.written_names(walk.buf, stage))


def _facet(walk: Walk, stage: Element) -> PathNode:
    inner, parts = walk.parts(stage)
    found: dict[bytes, PathNode] = {}
    contexts = walk.draft.contexts
    source = None if contexts is None else contexts.source
    yielded: list[KnownContexts] = []
    for name, part in parts.items():
        stage_arguments.check_field_name(name, stage)
        if contexts is not None and source is not None:
            contexts.source = source.copied()
            yielded.append(contexts.source)
        found[name] = placed(plan_pipeline(inner, part))
    if contexts is not None and source is not None:
        contexts.source = source
        for each in yielded:
            source.take(each)
    if not found:
        raise Refusal(Reason.SHAPE, rule="$facet")
    return reshaping.replaced(walk.node, document_node(found), walk.draft.work, reshaping.names_of(found))


def _change_stream(walk: Walk, stage: Element) -> PathNode:
    """What comes before it are the documents that change; what comes behind it are the events."""
    check_options(walk.buf, stage, stage)
    return reshaping.replaced(walk.node, events_of(walk.node), walk.draft.work, EVENT_FIELDS)


def _split(walk: Walk, stage: Element) -> PathNode:
    del stage
    return walk.node


def _redact(walk: Walk, stage: Element) -> PathNode:
    """`$$DESCEND` applies the expression to sub-documents, where names mean other fields than above.

    So a name that is covered at any level counts as covered at each of them, and there must be no
    sub-document that is encrypted as a whole: the server would not descend into it.
    """
    node = walk.node
    if walk.buf.find(b"$$DESCEND", stage.start, stage.end) < 0:
        infer_plain(walk, stage)
        return node
    whole = whole_inside(node, walk.draft.work)
    if whole is not None:
        raise Refusal(Reason.COMPUTE, path=whole.path, rule="$$DESCEND")
    names = [name for each in each_node(node, walk.draft.work, behind=True) for name in each.children]
    everywhere = dict.fromkeys(names, replace(OPAQUE, path=node.path))
    infer_plain(walk.at(PathNode(node.path, everywhere)), stage)
    return node


def _documents(walk: Walk, stage: Element) -> PathNode:
    """Documents made by an expression; within a `$lookup` they may be made of its variables."""
    made = infer(walk, stage)
    if made.leaf is not None or made.opaque:
        raise Refusal(Reason.COMPUTE, path=made.path, rule="$documents")
    return reshaping.replaced(walk.node, made, walk.draft.work)


_STORED: Final = Yields.STORED
_OF_ONE: Final = Yields.OF_ONE

STAGES: Final[dict[bytes, StageRow]] = {
    **stages("$match", encrypted(_match, "see the filters", converted=Conversion.FILTERS), _STORED),
    **stages("$project", encrypted(plan_project_stage, "see the expressions"), _OF_ONE),
    **stages("$addFields $set", encrypted(_add_fields, "see the expressions"), _OF_ONE),
    **stages("$unset", passed(_unset), _OF_ONE),
    **stages("$group", passed(grouping.group, "deterministic classes; see the accumulators")),
    **stages("1: sortByCount", passed(grouping.sort_by_count, "deterministic classes")),
    **stages(
        """
        {groupBy boundaries default? output?}: bucket
        {groupBy buckets granularity? output?}: bucketAuto
        """,
        refused(grouping.bucket, Reason.COMPUTE, "passes by fields in clear"),
    ),
    **stages(
        "{partitionBy? sortBy? output}: setWindowFields",
        passed(grouping.set_window_fields, "partitions as `$group`, ordered by fields in clear"),
    ),
    **stages(
        "$sort",
        refused(plan_sort_stage, Reason.SORT, "passes by fields in clear", converted=Conversion.KEPT),
        _STORED,
    ),
    **stages(
        "x | {path includeArrayIndex? preserveNullAndEmptyArrays?}: unwind",
        passed(_unwind, "deterministic classes", converted=Conversion.KEPT),
        _OF_ONE,
    ),
    **stages("1: limit skip", passed(_limit, converted=Conversion.KEPT), _STORED),
    **stages("{size}: sample", passed(_sample, converted=Conversion.KEPT), _STORED),
    **stages("1: count", passed(_count), _OF_ONE),
    **stages(
        "{newRoot}: replaceRoot\nx: replaceWith", encrypted(_replace_root, "see the expressions"), _OF_ONE
    ),
    **stages(
        "{partitionBy? sortBy? output} | {partitionByFields? sortBy? output}: fill",
        encrypted(
            grouping.fill, "partitions as `$group`, ordered by fields in clear; the last value of a class"
        ),
    ),
    **stages(
        "{field partitionByFields? range}: densify",
        passed(grouping.densify, "partitions as `$group`, by a field in clear"),
    ),
    **stages(
        "{near distanceField? key? query? includeLocs? spherical? maxDistance? minDistance? "
        "distanceMultiplier?}: geoNear",
        encrypted(geo_near, "by a field in clear; `query` as in filters"),
        _OF_ONE,
    ),
    **stages(
        "$redact",
        encrypted(_redact, "with `$$DESCEND`: names fields in clear, and no random class is left"),
        _OF_ONE,
    ),
    **stages("$facet", encrypted(_facet, "each pipeline for itself")),
    **stages("$documents", passed(_documents)),
    **stages(
        "{from? let? pipeline as} | {from? localField foreignField let? pipeline as} "
        "| {from localField foreignField as}: lookup",
        encrypted(lookup, "fields of one deterministic class, or in clear"),
        _OF_ONE,
        source=b"from",
    ),
    **stages(
        "{from startWith connectFromField connectToField as maxDepth? depthField? restrictSearchWithMatch?}"
        ": graphLookup",
        encrypted(graph_lookup, "fields of one deterministic class, or in clear"),
        _OF_ONE,
        source=b"from",
    ),
    **stages(
        "x | {coll? pipeline?}: unionWith",
        encrypted(union_with, "what both cover alike stays covered"),
        _OF_ONE,
        source=b"coll",
    ),
    **stages(
        "x | {db? coll}: out",
        passed(out, "into the same classes at the same paths; else refused [target]"),
        _OF_ONE,
        writes=True,
        source=b"coll",
    ),
    **stages(
        "x | {into on? let? whenMatched? whenNotMatched?}: merge",
        encrypted(merge_into, "as `$out`; the pipeline of `whenMatched` as an update's"),
        _OF_ONE,
        writes=True,
        source=b"into",
    ),
    **stages("$changeStream", passed(_change_stream, "`$match` behind it as in documents"), _OF_ONE),
    **stages("{}: changeStreamSplitLargeEvent", passed(_split), _OF_ONE),
    **stages(
        "$search $searchMeta $vectorSearch $rankFusion $scoreFusion $listSearchIndexes", never(Reason.STAGE)
    ),
    **stages(
        b" ".join(SERVER_STAGES).decode(),
        passed(_server_stage, "commands, filters, keys and definitions can be forwarded only"),
    ),
}
"""A stage that is not here may see documents without covered fields only."""

TABLES: Final = Tables(OPERATORS, STAGES)
"""What the planner hands down."""
