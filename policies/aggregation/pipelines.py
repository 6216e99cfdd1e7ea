"""Follow covered fields from stage to stage of an aggregation pipeline.

Each stage takes the tree of covered paths of its input documents and gives that of its output. The stages'
rows (`stages.STAGES`) come with the walk. A stage without a row may see documents without covered fields
only.
"""

from typing import Final

from sealwire.policies.aggregation.server_stages import SERVER_STAGES
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PER_DATABASE, PathNode, leaves
from sealwire.policies.planning.arguments import (
    array_items,
    check_nested,
    document_of,
    only_element,
    operator_name,
)
from sealwire.policies.planning.namespaces import foreign_namespaces
from sealwire.policies.planning.signatures import check_arguments
from sealwire.policies.planning.trees import is_in_clear
from sealwire.policies.planning.walk import Walk
from sealwire.wire.raw_bson import Element

# mongod allows 20 pipelines inside each other (kMaxSubPipelineViewDepth), views counted.
_MAX_NESTED_PIPELINES: Final = 20

_AS_STORED: Final = frozenset(b"$match $limit $skip $sample $sort".split())
"""Stages that choose documents and leave them as they are stored."""

_WRITING: Final = frozenset({b"$out", b"$merge"})


def plan_pipeline(walk: Walk, pipeline: Element) -> PathNode:
    """Cover the constants of a pipeline over documents with the walk's covered paths.

    Returns the covered paths of what it yields. Raises Refusal, BsonError. Cost: O(elements).
    """
    if walk.pipelines > _MAX_NESTED_PIPELINES:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = walk.in_pipeline(pipeline.value)
    node = walk.node
    is_written = False
    contexts = None if walk.pipelines else walk.draft.contexts
    is_stored = contexts is not None
    for item in array_items(walk.buf, pipeline):
        start = document_of(item, pipeline)
        stage = only_element(walk.buf, start, "a stage")
        if is_written or (stage.name in _WRITING and walk.pipelines):
            raise Refusal(Reason.SHAPE, rule="a stage that writes, and is not the last of all")
        is_written = stage.name in _WRITING
        if contexts is not None:
            is_stored = is_stored and stage.name in _AS_STORED
            contexts.is_as_stored = is_stored
        node = _plan_stage(inner.within(start, node), stage)
    if contexts is not None:
        contexts.is_as_stored = False
    if not walk.pipelines:
        walk.draft.yields = node
        walk.draft.others_shown = not is_in_clear(node)
    return node


def _plan_stage(walk: Walk, stage: Element) -> PathNode:
    """The covered paths of the documents behind one stage."""
    if walk.draft.contexts is not None:
        _check_databases(walk, stage)
    in_reach = _in_reach(walk, stage)
    if in_reach is None and stage.name not in SERVER_STAGES:
        check_nested(walk.buf, stage)
        return walk.node
    rule = walk.draft.tables.stages.get(stage.name)
    if rule is None:
        raise Refusal(Reason.STAGE, path=in_reach or "", rule=operator_name(stage))
    check_arguments(walk.buf, stage, rule.signature)
    return rule.handler(walk, stage)


def _check_databases(walk: Walk, stage: Element) -> None:
    """Raises Refusal(CONTEXT) for a collection of another database, where that is the context of a class."""
    own = walk.around.database
    for namespace in foreign_namespaces(walk.draft, stage, own):
        if namespace[0] == own:
            continue
        for leaf in leaves(walk.around.tree(namespace)):
            if leaf.leaf is not None and leaf.leaf.per == PER_DATABASE:
                raise Refusal(Reason.CONTEXT, path=leaf.path, rule=operator_name(stage))


def _in_reach(walk: Walk, stage: Element) -> str | None:
    """Something covered that a stage can see, or None: then it works as it would without a policy."""
    if walk.node.covers:
        return walk.node.path
    if walk.variables is not None and walk.variables.covered is not None:
        return walk.variables.covered.path
    return walk.around.protected_in(foreign_namespaces(walk.draft, stage, walk.around.database))
