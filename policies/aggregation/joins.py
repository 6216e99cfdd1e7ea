"""Stages that bring documents of another collection in: `$lookup`, `$graphLookup`, `$unionWith`.

Ciphertext of two fields is equal where the values are, if and only if both are of one deterministic class. So
a join is exact between two such fields, and between two that are in clear; between others it is refused.
"""

from collections.abc import Mapping

from sealwire.policies.aggregation.pipelines import plan_pipeline
from sealwire.policies.aggregation.reshaping import assign_path
from sealwire.policies.aggregation.stage_arguments import at_least, field_path
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.choices import variables_of
from sealwire.policies.expressions.constants import match_constant
from sealwire.policies.expressions.interpreter import infer
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.filters.filters import plan_filter_argument
from sealwire.policies.planning.arguments import (
    array_items,
    document_of,
    given,
    named_parts,
    only_element,
    operator_name,
    text_of,
)
from sealwire.policies.planning.contexts import NO_FIELDS, KnownContexts
from sealwire.policies.planning.namespaces import named_namespace
from sealwire.policies.planning.trees import OPAQUE, either, is_in_clear, placed, same_values
from sealwire.policies.planning.values import note_comparison, note_equality
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element


def lookup(walk: Walk, stage: Element) -> PathNode:
    """`$lookup` by two fields, by a pipeline with variables, or by both."""
    inner, parts = walk.parts(stage)
    foreign, source = _foreign_tree(walk, stage)
    _narrow_by_leading(walk, source, parts.get(b"pipeline"))
    if b"localField" in parts:
        local = _field(walk, walk.node, parts[b"localField"])
        _check_join(walk, local, _field(walk, foreign, parts[b"foreignField"]), stage, source)
    if b"pipeline" in parts:
        bound = given(parts, b"let")  # older servers refuse null, newer ones take it for no `let`
        variables = {} if bound is None else variables_of(inner, bound)
        foreign = _yielded(inner.binding(variables), foreign, parts[b"pipeline"], source)
    _take(walk, source)
    return _joined(walk, parts, foreign)


def graph_lookup(walk: Walk, stage: Element) -> PathNode:
    """`$graphLookup`: every comparison is of `connectToField` with `startWith` or with `connectFromField`."""
    inner, parts = walk.parts(stage)
    foreign, source = _foreign_tree(walk, stage)
    restriction = parts.get(b"restrictSearchWithMatch")
    if source is not None and restriction is not None:
        source.narrow(walk.buf, document_of(restriction, restriction))
    target = _field(walk, foreign, parts[b"connectToField"])
    _check_join(walk, _field(walk, foreign, parts[b"connectFromField"]), target, stage, source)
    first = infer(inner, parts[b"startWith"])
    if target.covers and not first.covers:
        match_constant(inner, parts[b"startWith"], target, "$graphLookup")
    else:
        _check_join(walk, first, target, stage, source)
    if restriction is not None:
        plan_filter_argument(inner.at(foreign), restriction)
    if b"maxDepth" in parts:
        at_least(walk.buf, parts[b"maxDepth"], 0)
    if b"depthField" in parts:
        depth = field_path(walk.buf, parts[b"depthField"])
        foreign = assign_path(foreign, depth, NOTHING, walk.draft.work)
    _take(walk, source)
    return _joined(walk, parts, foreign)


def union_with(walk: Walk, stage: Element) -> PathNode:
    """`$unionWith`: a name or `{coll, pipeline}`: what follows sees documents of both kinds."""
    foreign, source = _foreign_tree(walk, stage)
    if stage.kind == kinds.OBJECT:
        inner, parts = walk.parts(stage)
        if b"pipeline" in parts:
            foreign = _yielded(inner, foreign, parts[b"pipeline"], source)
    _take(walk, source, apart=True)
    return either(walk.node, foreign, walk.draft.work)


def _foreign_tree(walk: Walk, stage: Element) -> tuple[PathNode, KnownContexts | None]:
    """The covered paths of the collection that is read, and in which contexts its values are.

    Without a collection the pipeline makes the documents.
    """
    named = named_namespace(walk.buf, stage, walk.around.database)
    tree = _unnamed(walk, stage) if named is None else walk.around.tree(named)
    if walk.draft.contexts is None:
        return tree, None
    is_stored = named is not None and walk.around.stored(".".join(named)) is tree
    return tree, KnownContexts.behind(tree, walk.draft.work, is_stored=is_stored)


def _unnamed(walk: Walk, stage: Element) -> PathNode:
    if stage.kind == kinds.OBJECT and not named_parts(walk.buf, stage.value).keys() & {b"from", b"coll"}:
        return NOTHING
    raise Refusal(Reason.SHAPE, rule=operator_name(stage))


def _narrow_by_leading(walk: Walk, source: KnownContexts | None, pipeline: Element | None) -> None:
    """What a pipeline begins with, before any stage that counts documents, holds for a join as well."""
    if source is None or pipeline is None or pipeline.kind != kinds.ARRAY:
        return
    for item in array_items(walk.buf, pipeline):
        stage = only_element(walk.buf, document_of(item, pipeline), "a stage")
        if stage.name != b"$match" or stage.kind != kinds.OBJECT:
            return
        source.narrow(walk.buf, stage.value)


def _yielded(walk: Walk, foreign: PathNode, pipeline: Element, source: KnownContexts | None) -> PathNode:
    """What a pipeline makes of the foreign documents, beside which it may have variables."""
    contexts = walk.draft.contexts
    if contexts is None or source is None:
        return plan_pipeline(walk.at(foreign), pipeline)
    outer = contexts.source
    if walk.variables is not None and walk.variables.covered is not None:
        source.take(outer)
    contexts.source = source
    yielded = plan_pipeline(walk.at(foreign), pipeline)
    contexts.source = outer
    return yielded


def _take(walk: Walk, source: KnownContexts | None, *, apart: bool = False) -> None:
    """The foreign documents come in."""
    if walk.draft.contexts is not None and source is not None:
        walk.draft.contexts.source.take(source, apart=apart)


def _field(walk: Walk, node: PathNode, part: Element) -> PathNode:
    return follow(node, text_of(walk.buf, part)) or NOTHING


def _check_join(
    walk: Walk, left: PathNode, right: PathNode, stage: Element, source: KnownContexts | None
) -> None:
    """Both in clear, or the same deterministic classes at the same paths, and in one context.

    Raises Refusal(JOIN, CONTEXT).
    """
    if is_in_clear(left) and is_in_clear(right):
        return
    if left.is_gone or right.is_gone:
        return  # what is not there equals null and nothing else
    if left.holds_random or right.holds_random or not same_values(left, right, walk.draft.work):
        raise Refusal(Reason.JOIN, path=(left if left.covers else right).path, rule=operator_name(stage))
    contexts = walk.draft.contexts
    if contexts is None or source is None:
        note_comparison(walk.draft, left if left.covers else right)
        return
    outer = contexts.source
    contexts.source = outer.copied()
    contexts.source.take(source)
    note_equality(walk.draft, left if left.covers else right, operator_name(stage), NO_FIELDS)
    contexts.source = outer


def _joined(walk: Walk, parts: Mapping[bytes, Element], foreign: PathNode) -> PathNode:
    """The tree with the foreign documents in the field `as`."""
    node = walk.node
    name = field_path(walk.buf, parts[b"as"])
    follow(node, name)  # not below a value that is encrypted as a whole
    above, dot, _ = name.partition(b".")
    if dot and above in node.children and not node.children[above].is_gone:
        # what becomes of a sub-document or an array that is there already is the server's affair
        return assign_path(node, above, OPAQUE, walk.draft.work)
    return assign_path(node, name, placed(foreign), walk.draft.work)
