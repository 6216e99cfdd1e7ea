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
from sealwire.policies.file.schema import NOTHING, PathNode, follow
from sealwire.policies.filters.asking import allow, deny
from sealwire.policies.filters.filters import plan_filter_argument
from sealwire.policies.planning import arguments, trees
from sealwire.policies.planning.contexts import NO_FIELDS, KnownContexts
from sealwire.policies.planning.namespaces import named_namespace
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.values import demand_write, note_comparison, note_equality, tell_apart_by
from sealwire.policies.planning.walk import Walk
from sealwire.policies.questions.asked import Asking, Barrier
from sealwire.policies.updates.update_pipelines import plan_update_pipeline
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
        bound = arguments.given(parts, b"let")  # older servers refuse null, newer ones take it for no `let`
        variables = {} if bound is None else variables_of(inner, bound)
        foreign = _yielded(inner.binding(variables), stage, foreign, parts[b"pipeline"], source)
    _take(walk, source)
    return _joined(walk, parts, foreign)


def graph_lookup(walk: Walk, stage: Element) -> PathNode:
    """`$graphLookup`: every comparison is of `connectToField` with `startWith` or with `connectFromField`."""
    inner, parts = walk.parts(stage)
    foreign, source = _foreign_tree(walk, stage)
    restriction = parts.get(b"restrictSearchWithMatch")
    if source is not None and restriction is not None:
        source.narrow(walk.buf, arguments.document_of(restriction, restriction))
    target = _field(walk, foreign, parts[b"connectToField"])
    _check_join(walk, _field(walk, foreign, parts[b"connectFromField"]), target, stage, source)
    first = infer(inner, parts[b"startWith"])
    if target.covers and not first.covers:
        match_constant(inner, parts[b"startWith"], target, "$graphLookup")
    else:
        _check_join(walk, first, target, stage, source)
    if restriction is not None:
        before = deny(walk.draft, Barrier.ELSEWHERE)
        plan_filter_argument(inner.at(foreign), restriction)
        allow(before)
    if b"maxDepth" in parts:
        at_least(walk.buf, parts[b"maxDepth"], 0)
    if b"depthField" in parts:
        depth = field_path(walk.buf, parts[b"depthField"])
        foreign = assign_path(foreign, depth, NOTHING, walk.draft.work)
    _take(walk, source)
    return _joined(walk, parts, foreign)


def union_with(walk: Walk, stage: Element) -> PathNode:
    """`$unionWith`: a name or `{coll, pipeline}`: what follows sees documents of both kinds.

    Nothing is asked behind it: one tree may cover both collections, and a question is about one.
    """
    deny(walk.draft, Barrier.ELSEWHERE)
    foreign, source = _foreign_tree(walk, stage)
    if stage.kind == kinds.OBJECT:
        inner, parts = walk.parts(stage)
        if b"pipeline" in parts:
            foreign = _yielded(inner, stage, foreign, parts[b"pipeline"], source)
    _take(walk, source, apart=True)
    return trees.either(walk.node, foreign, walk.draft.work)


def _foreign_tree(walk: Walk, stage: Element) -> tuple[PathNode, KnownContexts | None]:
    """The covered paths of the collection that is read, and in which contexts its values are.

    Without a collection the pipeline makes the documents.
    """
    named = named_namespace(walk.draft, stage, walk.draft.around.database)
    tree = _unnamed(walk, stage) if named is None else walk.draft.around.tree(named)
    if walk.draft.contexts is None:
        return tree, None
    is_stored = named is not None and walk.draft.around.stored(".".join(named)) is tree
    return tree, KnownContexts.behind(tree, walk.draft.work, is_stored=is_stored)


def _unnamed(walk: Walk, stage: Element) -> PathNode:
    if stage.kind == kinds.OBJECT and not arguments.named_parts(walk.buf, stage.value).keys() & {
        b"from",
        b"coll",
    }:
        return NOTHING
    raise Refusal(Reason.SHAPE, rule=arguments.operator_name(stage))


def _narrow_by_leading(walk: Walk, source: KnownContexts | None, pipeline: Element | None) -> None:
    """What a pipeline begins with, before any stage that counts documents, holds for a join as well."""
    if source is None or pipeline is None or pipeline.kind != kinds.ARRAY:
        return
    for item in arguments.array_items(walk.buf, pipeline):
        stage = arguments.only_element(walk.buf, arguments.document_of(item, pipeline), "a stage")
        if stage.name != b"$match" or stage.kind != kinds.OBJECT:
            return
        source.narrow(walk.buf, stage.value)


def _yielded(
    walk: Walk, stage: Element, foreign: PathNode, pipeline: Element, source: KnownContexts | None
) -> PathNode:
    """What a pipeline makes of the foreign documents, beside which it may have variables."""
    draft = walk.draft
    contexts, before, draft.asking = draft.contexts, draft.asking, _asking(walk, stage, foreign)
    if contexts is None or source is None:
        yielded = plan_pipeline(walk.at(foreign), pipeline)
        draft.asking = before
        return yielded
    outer = contexts.source
    if walk.variables is not None and walk.variables.covered is not None:
        source.take(outer)
    contexts.source = source
    yielded = plan_pipeline(walk.at(foreign), pipeline)
    draft.asking = before
    contexts.source = outer
    return yielded


def _asking(walk: Walk, stage: Element, foreign: PathNode) -> Asking | None:
    """The questions that a pipeline on the named collection may ask: none about a view."""
    around, asking = walk.draft.around, walk.draft.asking
    namespace = ".".join(named_namespace(walk.draft, stage, around.database) or ())
    if asking is None:
        return None
    # a name that is not UTF-8 cannot be asked for
    is_asked = around.stored(namespace) is foreign and arguments.readable(namespace) == namespace
    return asking.joining(namespace, foreign if is_asked else None)


def _take(walk: Walk, source: KnownContexts | None, *, apart: bool = False) -> None:
    """The foreign documents come in."""
    if walk.draft.contexts is not None and source is not None:
        walk.draft.contexts.source.take(source, apart=apart)


def _field(walk: Walk, node: PathNode, part: Element) -> PathNode:
    return follow(node, arguments.text_of(walk.buf, part)) or NOTHING


def _check_join(
    walk: Walk, left: PathNode, right: PathNode, stage: Element, source: KnownContexts | None
) -> None:
    """Both in clear, or the same deterministic classes at the same paths, and in one context.

    Raises Refusal(JOIN, CONTEXT).
    """
    if trees.is_in_clear(left) and trees.is_in_clear(right):
        return
    if left.is_gone or right.is_gone:
        return  # what is not there equals null and nothing else
    if left.holds_random or right.holds_random or not trees.same_values(left, right, walk.draft.work):
        raise Refusal(
            Reason.JOIN, path=(left if left.covers else right).path, rule=arguments.operator_name(stage)
        )
    contexts = walk.draft.contexts
    if contexts is None or source is None:
        note_comparison(walk.draft, left if left.covers else right)
        return
    outer = contexts.source
    contexts.source = outer.copied()
    contexts.source.take(source)
    note_equality(walk.draft, left if left.covers else right, arguments.operator_name(stage), NO_FIELDS)
    contexts.source = outer


def _joined(walk: Walk, parts: Mapping[bytes, Element], foreign: PathNode) -> PathNode:
    """The tree with the foreign documents in the field `as`."""
    node = walk.node
    name = field_path(walk.buf, parts[b"as"])
    follow(node, name)  # not below a value that is encrypted as a whole
    above, dot, _ = name.partition(b".")
    if dot and above in node.children and not node.children[above].is_gone:
        # what becomes of a sub-document or an array that is there already is the server's affair
        return assign_path(node, above, trees.OPAQUE, walk.draft.work)
    return assign_path(node, name, trees.placed(foreign), walk.draft.work)


# ---------------------------------------------------------- stages that write their documents to a collection
#
# The server writes what reaches it, past the proxy. So the documents must be encrypted already as the
# target's policy has it: the same classes at the same paths, and nothing covered beside.


def out(walk: Walk, stage: Element) -> PathNode:
    """`$out`: the documents become the whole collection."""
    _check_target(walk, stage)
    return NOTHING


def merge_into(walk: Walk, stage: Element) -> PathNode:
    """`$merge`: each document is inserted, or put in place of or into the one that it equals in `on`."""
    if stage.kind != kinds.OBJECT:
        _check_target(walk, stage)
        return NOTHING
    inner, parts = walk.parts(stage)
    for part in parts.values():
        arguments.check_nested(walk.buf, part)
    matched = parts.get(b"whenMatched")
    pipeline = matched if matched is not None and matched.kind == kinds.ARRAY else None
    mode = arguments.text_of(walk.buf, parts[b"whenNotMatched"]) if b"whenNotMatched" in parts else b""
    if matched is not None and pipeline is None:
        arguments.text_of(walk.buf, matched)
    if pipeline is None or mode not in _WRITING_NOTHING:
        _check_target(walk, stage)
    if b"on" in parts:
        tell_apart_by(walk, arguments.one_or_more(walk.buf, parts[b"on"]), "$merge")
    if pipeline is not None:
        variables = {b"new": walk.node}
        if b"let" in parts:
            variables |= variables_of(inner, parts[b"let"])
        stored = inner.binding(variables).at(_target(walk, stage)).to(Use.STORE)
        plan_update_pipeline(stored, pipeline)
    elif b"let" in parts:
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule="$merge with let and no pipeline")
    return NOTHING


# with these, no document of the pipeline itself is stored
_WRITING_NOTHING = frozenset({b"discard", b"fail"})


def _check_target(walk: Walk, stage: Element) -> None:
    """Raises Refusal(TARGET) unless the documents are what the target's policy would have made of them.

    A path that is covered there and not here may hold a plain value: it would be stored in clear.
    """
    tree = _target(walk, stage)
    work = walk.draft.work
    if not _fits(walk.node, tree, work) or _may_be_several(walk.node, tree, work):
        raise Refusal(Reason.TARGET, path=walk.node.path, rule=arguments.operator_name(stage))


def _target(walk: Walk, stage: Element) -> PathNode:
    """The covered paths of the collection that is written to."""
    target = named_namespace(walk.draft, stage, walk.draft.around.database)
    if target is None:
        raise Refusal(Reason.SHAPE, rule=arguments.operator_name(stage))
    tree = walk.draft.around.tree(target)
    demand_write(walk.draft, tree)
    for leaf in trees.each_node(tree, walk.draft.work) if walk.draft.contexts is not None else ():
        if leaf.leaf is not None and leaf.leaf.per is not None:
            # the documents that are written may say another context, or come into another database
            raise Refusal(Reason.CONTEXT, path=leaf.path, rule=arguments.operator_name(stage))
    return tree


def _fits(node: PathNode, target: PathNode, work: trees.Work) -> bool:
    """Whether documents are as the target's policy wants them: what it covers is covered alike, or not there.

    Behind numbers nothing is known to be gone, so there everything must be the same.
    """
    work.visit(1 + len(node.children) + len(target.children))
    is_whole = node.leaf is not None or target.leaf is not None or (node.opaque and not node.absent)
    if is_whole or node.behind_number is not None:
        return trees.same_values(trees.present(node, work), target, work)
    for name in node.children.keys() | target.children.keys():
        found, wanted = node.child(name), target.child(name)
        if found is None:
            return False  # there may be a value in clear
        if wanted is None:
            if not trees.is_in_clear(found):
                return False
        elif not found.is_gone and not _fits(found, wanted, work):
            return False
    return True


def _may_be_several(node: PathNode, target: PathNode, work: trees.Work) -> bool:
    """Whether a value was moved that ranges at the target rely on to be single: it may be in an array now."""
    work.visit(1 + len(target.children))
    if node.absent:
        return False
    if target.leaf is not None:
        return target.leaf.domain is not None and node.rearranged
    if node.moved:
        return target.is_ranged
    return any(
        _may_be_several(node.children[name], below, work)
        for name, below in target.children.items()
        if name in node.children
    )
