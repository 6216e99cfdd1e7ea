"""Stages that write their documents to a collection: `$out` and `$merge`.

The server writes what reaches it, past the proxy. So the documents must be encrypted already as the target's
policy has it: the same classes at the same paths, and nothing covered beside.
"""

from sealwire.policies.aggregation.grouping import tell_apart_by
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.choices import variables_of
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import check_nested, one_or_more, operator_name, text_of
from sealwire.policies.planning.budget import Work
from sealwire.policies.planning.demands import demand_write
from sealwire.policies.planning.namespaces import named_namespace
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.trees import each_node, is_in_clear, present, same_values
from sealwire.policies.planning.walk import Walk
from sealwire.policies.updates.update_pipelines import plan_update_pipeline
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element


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
        check_nested(walk.buf, part)
    matched = parts.get(b"whenMatched")
    pipeline = matched if matched is not None and matched.kind == kinds.ARRAY else None
    mode = text_of(walk.buf, parts[b"whenNotMatched"]) if b"whenNotMatched" in parts else b""
    if matched is not None and pipeline is None:
        text_of(walk.buf, matched)
    if pipeline is None or mode not in _WRITING_NOTHING:
        _check_target(walk, stage)
    if b"on" in parts:
        tell_apart_by(walk, one_or_more(walk.buf, parts[b"on"]), "$merge")
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
        raise Refusal(Reason.TARGET, path=walk.node.path, rule=operator_name(stage))


def _target(walk: Walk, stage: Element) -> PathNode:
    """The covered paths of the collection that is written to."""
    target = named_namespace(walk.buf, stage, walk.around.database)
    if target is None:
        raise Refusal(Reason.SHAPE, rule=operator_name(stage))
    tree = walk.around.tree(target)
    demand_write(walk.draft, tree)
    for leaf in each_node(tree, walk.draft.work) if walk.draft.contexts is not None else ():
        if leaf.leaf is not None and leaf.leaf.per is not None:
            # the documents that are written may say another context, or come into another database
            raise Refusal(Reason.CONTEXT, path=leaf.path, rule=operator_name(stage))
    return tree


def _fits(node: PathNode, target: PathNode, work: Work) -> bool:
    """Whether documents are as the target's policy wants them: what it covers is covered alike, or not there.

    Behind numbers nothing is known to be gone, so there everything must be the same.
    """
    work.visit(1 + len(node.children) + len(target.children))
    is_whole = node.leaf is not None or target.leaf is not None or (node.opaque and not node.absent)
    if is_whole or node.behind_number is not None:
        return same_values(present(node, work), target, work)
    for name in node.children.keys() | target.children.keys():
        found, wanted = node.child(name), target.child(name)
        if found is None:
            return False  # there may be a value in clear
        if wanted is None:
            if not is_in_clear(found):
                return False
        elif not found.is_gone and not _fits(found, wanted, work):
            return False
    return True


def _may_be_several(node: PathNode, target: PathNode, work: Work) -> bool:
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
