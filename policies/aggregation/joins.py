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
from sealwire.policies.planning.arguments import named_parts, operator_name, text_of
from sealwire.policies.planning.namespaces import named_namespace
from sealwire.policies.planning.trees import OPAQUE, either, is_in_clear, placed, same_values
from sealwire.policies.planning.values import note_comparison
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element


def lookup(walk: Walk, stage: Element) -> PathNode:
    """`$lookup` by two fields, by a pipeline with variables, or by both."""
    inner, parts = walk.parts(stage)
    foreign = _foreign_tree(walk, stage)
    if b"localField" in parts:
        local = _field(walk, walk.node, parts[b"localField"])
        _check_join(walk, local, _field(walk, foreign, parts[b"foreignField"]), stage)
    if b"pipeline" in parts:
        variables = variables_of(inner, parts[b"let"]) if b"let" in parts else {}
        foreign = plan_pipeline(inner.binding(variables).at(foreign), parts[b"pipeline"])
    return _joined(walk, parts, foreign)


def graph_lookup(walk: Walk, stage: Element) -> PathNode:
    """`$graphLookup`: every comparison is of `connectToField` with `startWith` or with `connectFromField`."""
    inner, parts = walk.parts(stage)
    foreign = _foreign_tree(walk, stage)
    target = _field(walk, foreign, parts[b"connectToField"])
    _check_join(walk, _field(walk, foreign, parts[b"connectFromField"]), target, stage)
    first = infer(inner, parts[b"startWith"])
    if target.covers and not first.covers:
        match_constant(inner, parts[b"startWith"], target, "$graphLookup")
    else:
        _check_join(walk, first, target, stage)
    if b"restrictSearchWithMatch" in parts:
        plan_filter_argument(inner.at(foreign), parts[b"restrictSearchWithMatch"])
    if b"maxDepth" in parts:
        at_least(walk.buf, parts[b"maxDepth"], 0)
    if b"depthField" in parts:
        depth = field_path(walk.buf, parts[b"depthField"])
        foreign = assign_path(foreign, depth, NOTHING, walk.draft.work)
    return _joined(walk, parts, foreign)


def union_with(walk: Walk, stage: Element) -> PathNode:
    """`$unionWith`: a name or `{coll, pipeline}`: what follows sees documents of both kinds."""
    foreign = _foreign_tree(walk, stage)
    if stage.kind == kinds.OBJECT:
        inner, parts = walk.parts(stage)
        if b"pipeline" in parts:
            foreign = plan_pipeline(inner.at(foreign), parts[b"pipeline"])
    return either(walk.node, foreign, walk.draft.work)


def _foreign_tree(walk: Walk, stage: Element) -> PathNode:
    """The covered paths of the collection that is read; without one, the pipeline makes the documents."""
    named = named_namespace(walk.buf, stage, walk.around.database)
    if named is not None:
        return walk.around.tree(named)
    if stage.kind == kinds.OBJECT and not named_parts(walk.buf, stage.value).keys() & {b"from", b"coll"}:
        return NOTHING
    raise Refusal(Reason.SHAPE, rule=operator_name(stage))


def _field(walk: Walk, node: PathNode, part: Element) -> PathNode:
    return follow(node, text_of(walk.buf, part)) or NOTHING


def _check_join(walk: Walk, left: PathNode, right: PathNode, stage: Element) -> None:
    """Both in clear, or the same deterministic classes at the same paths. Raises Refusal(JOIN)."""
    if is_in_clear(left) and is_in_clear(right):
        return
    if left.is_gone or right.is_gone:
        return  # what is not there equals null and nothing else
    if left.holds_random or right.holds_random or not same_values(left, right, walk.draft.work):
        raise Refusal(Reason.JOIN, path=(left if left.covers else right).path, rule=operator_name(stage))
    note_comparison(walk.draft, left if left.covers else right)


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
