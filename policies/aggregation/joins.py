"""Stages that bring documents of another collection in: `$lookup`, `$graphLookup`, `$unionWith`.

Ciphertext of two fields is equal where the values are, if and only if both are of one deterministic class. So
a join is exact between two such fields, and between two that are in clear; between others it is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sealwire.policies.aggregation.reshaping import assign_path
from sealwire.policies.aggregation.stage_arguments import UNION_WITH, at_least, field_path
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.expressions import plan_expression
from sealwire.policies.expressions.operands import match_constant
from sealwire.policies.expressions.variables import is_variable_name
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.filters.filters import plan_filter
from sealwire.policies.planning.arguments import (
    Parents,
    document_of,
    named_parts,
    operator_name,
    text_of,
)
from sealwire.policies.planning.namespaces import Surroundings, named_namespace
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.signatures import check_names
from sealwire.policies.planning.trees import OPAQUE, Scope, either, is_in_clear, placed, same_values
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element

PlanPipeline = Callable[[Plan, Element, PathNode, Parents, Surroundings], PathNode]
"""`pipelines.plan_pipeline`, which the stages with a pipeline inside go back to."""


def lookup(
    plan_inner: PlanPipeline,
    plan: Plan,
    stage: Element,
    node: PathNode,
    parents: Parents,
    around: Surroundings,
) -> PathNode:
    """`$lookup` by two fields, by a pipeline with variables, or by both."""
    start = document_of(stage, stage)
    inner = (*parents, start)
    parts = named_parts(plan, start)
    foreign = _foreign_tree(plan, stage, around)
    if b"localField" in parts:
        local = _field(plan, node, parts[b"localField"])
        _check_join(plan, local, _field(plan, foreign, parts[b"foreignField"]), stage)
    if b"pipeline" in parts:
        with bound(plan, variables_of(plan, parts.get(b"let"), node, inner)):
            foreign = plan_inner(plan, parts[b"pipeline"], foreign, inner, around)
    return _joined(plan, node, parts, foreign)


def graph_lookup(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    """`$graphLookup`: every comparison is of `connectToField` with `startWith` or with `connectFromField`."""
    start = document_of(stage, stage)
    inner = (*parents, start)
    parts = named_parts(plan, start)
    foreign = _foreign_tree(plan, stage, around)
    target = _field(plan, foreign, parts[b"connectToField"])
    _check_join(plan, _field(plan, foreign, parts[b"connectFromField"]), target, stage)
    first = plan_expression(plan, parts[b"startWith"], Scope(node), inner)
    if target.covers and not first.covers:
        match_constant(plan, parts[b"startWith"], target, "$graphLookup", inner)
    else:
        _check_join(plan, first, target, stage)
    restriction = parts.get(b"restrictSearchWithMatch")
    if restriction is not None:
        plan_filter(plan, document_of(restriction, restriction), foreign, inner)
    if b"maxDepth" in parts:
        at_least(plan, parts[b"maxDepth"], 0)
    if b"depthField" in parts:
        foreign = assign_path(foreign, field_path(plan, parts[b"depthField"]), NOTHING)
    return _joined(plan, node, parts, foreign)


def union_with(
    plan_inner: PlanPipeline,
    plan: Plan,
    stage: Element,
    node: PathNode,
    parents: Parents,
    around: Surroundings,
) -> PathNode:
    """`$unionWith`, a name or `{coll, pipeline}`: what follows sees documents of both kinds."""
    foreign = _foreign_tree(plan, stage, around)
    if stage.kind == kinds.OBJECT:
        parts = check_names(plan, stage, *UNION_WITH)
        if b"pipeline" in parts:
            foreign = plan_inner(plan, parts[b"pipeline"], foreign, (*parents, stage.value), around)
    return either(node, foreign)


def _foreign_tree(plan: Plan, stage: Element, around: Surroundings) -> PathNode:
    """The covered paths of the collection that is read; without one, the pipeline makes the documents."""
    named = named_namespace(plan, stage, around.database)
    if named is not None:
        return around.tree(named)
    if stage.kind == kinds.OBJECT and not named_parts(plan, stage.value).keys() & {b"from", b"coll"}:
        return NOTHING
    raise Refusal(Reason.SHAPE, rule=operator_name(stage))


def _field(plan: Plan, node: PathNode, part: Element) -> PathNode:
    return follow(node, text_of(plan, part)) or NOTHING


def _check_join(plan: Plan, left: PathNode, right: PathNode, stage: Element) -> None:
    """Both in clear, or the same deterministic classes at the same paths. Raises Refusal(JOIN)."""
    if is_in_clear(left) and is_in_clear(right):
        return
    if left.is_gone or right.is_gone:
        return  # what is not there equals null and nothing else
    if left.holds_random or right.holds_random or not same_values(left, right):
        raise Refusal(Reason.JOIN, path=(left if left.covers else right).path, rule=operator_name(stage))
    plan.compares = True


def variables_of(
    plan: Plan, let: Element | None, node: PathNode, parents: Parents
) -> Mapping[bytes, PathNode]:
    """What the variables of a stage's `let` yield, over documents with the covered paths `node`."""
    if let is None:
        return {}
    start = document_of(let, let)
    bindings = named_parts(plan, start)
    for name in bindings:
        if not is_variable_name(name):
            raise Refusal(Reason.SHAPE, rule="a variable that does not begin with a small letter")
    return {
        name: plan_expression(plan, value, Scope(node), (*parents, start)) for name, value in bindings.items()
    }


@contextmanager
def bound(plan: Plan, variables: Mapping[bytes, PathNode]) -> Iterator[None]:
    """Variables of a stage are seen in its whole pipeline, and in the pipelines inside that."""
    outer = plan.variables
    plan.variables = {**outer, **variables}
    try:
        yield
    finally:
        plan.variables = outer


def _joined(plan: Plan, node: PathNode, parts: Mapping[bytes, Element], foreign: PathNode) -> PathNode:
    """The tree with the foreign documents in the field `as`."""
    name = field_path(plan, parts[b"as"])
    follow(node, name)  # not below a value that is encrypted as a whole
    above, dot, _ = name.partition(b".")
    if dot and above in node.children and not node.children[above].is_gone:
        # what becomes of a sub-document or an array that is there already is the server's affair
        return assign_path(node, above, OPAQUE)
    return assign_path(node, name, placed(foreign))
