"""Stages that write their documents to a collection: `$out` and `$merge`.

The server writes what reaches it, past the proxy. So the documents must be encrypted already as the target's
policy has it: the same classes at the same paths, and nothing covered beside.
"""

from sealwire.policies.aggregation.joins import bound, variables_of
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, PathNode, leaves
from sealwire.policies.planning.arguments import (
    Parents,
    array_items,
    check_nested,
    named_parts,
    operator_name,
)
from sealwire.policies.planning.namespaces import Surroundings, named_namespace
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.trees import is_in_clear, present, same_values
from sealwire.policies.updates.update_pipelines import plan_update_pipeline
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, string_bytes

_OUT_ARGUMENTS = frozenset({b"db", b"coll"})
_MERGE_ARGUMENTS = frozenset({b"into", b"on", b"let", b"whenMatched", b"whenNotMatched"})


def out(plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings) -> PathNode:
    """`$out`: the documents become the whole collection."""
    del parents
    if stage.kind == kinds.OBJECT:
        _check_arguments(plan, stage, _OUT_ARGUMENTS)
    _check_target(plan, stage, node, around)
    return NOTHING


def merge_into(
    plan: Plan, stage: Element, node: PathNode, parents: Parents, around: Surroundings
) -> PathNode:
    """`$merge`: each document is inserted, or put in place of or into the one that it equals in `on`."""
    if stage.kind != kinds.OBJECT:
        _check_target(plan, stage, node, around)
        return NOTHING
    parts = _check_arguments(plan, stage, _MERGE_ARGUMENTS)
    matched = parts.get(b"whenMatched")
    is_pipeline = matched is not None and matched.kind == kinds.ARRAY
    for name in (b"whenMatched", b"whenNotMatched"):
        if (
            name in parts
            and parts[name].kind != kinds.STRING
            and not (is_pipeline and parts[name] is matched)
        ):
            raise Refusal(Reason.SHAPE, path=node.path, rule=f"$merge with {operator_name(parts[name])}")
    if not is_pipeline or _mode(plan, parts.get(b"whenNotMatched")) not in _WRITING_NOTHING:
        _check_target(plan, stage, node, around)
    if b"on" in parts:
        _check_identity(plan, parts[b"on"], node)
    if matched is not None and is_pipeline:
        inner = (*parents, stage.value)
        variables = {b"new": node, **variables_of(plan, parts.get(b"let"), node, inner)}
        with bound(plan, variables):
            plan_update_pipeline(plan, matched, _target(plan, stage, around), inner)
    elif b"let" in parts:
        raise Refusal(Reason.SHAPE, path=node.path, rule="$merge with let and no pipeline")
    return NOTHING


# with these, no document of the pipeline itself is stored
_WRITING_NOTHING = frozenset({b"discard", b"fail"})


def _mode(plan: Plan, part: Element | None) -> bytes:
    return b"" if part is None else string_bytes(plan.buf, part)


def _check_arguments(plan: Plan, stage: Element, known: frozenset[bytes]) -> dict[bytes, Element]:
    parts = named_parts(plan, stage.value)
    for name, part in parts.items():
        if name not in known:
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(stage)} with {operator_name(part)}")
        check_nested(plan, part)
    return parts


def _check_target(plan: Plan, stage: Element, node: PathNode, around: Surroundings) -> None:
    """Raises Refusal(TARGET) unless the documents are what the target's policy would have made of them.

    A path that is covered there and not here may hold a plain value: it would be stored in clear.
    """
    tree = _target(plan, stage, around)
    if not _fits(node, tree) or _may_be_several(node, tree):
        raise Refusal(Reason.TARGET, path=node.path, rule=operator_name(stage))


def _target(plan: Plan, stage: Element, around: Surroundings) -> PathNode:
    """The covered paths of the collection that is written to."""
    target = named_namespace(plan, stage, around.database)
    if target is None:
        raise Refusal(Reason.SHAPE, rule=operator_name(stage))
    return around.tree(target)


def _fits(node: PathNode, target: PathNode) -> bool:
    """Whether documents are as the target's policy wants them: what it covers is covered alike, or not there.

    Behind numbers nothing is known to be gone, so there everything must be the same.
    """
    is_whole = node.leaf is not None or target.leaf is not None or (node.opaque and not node.absent)
    if is_whole or node.behind_number is not None:
        return same_values(present(node), target)
    for name in node.children.keys() | target.children.keys():
        found, wanted = node.child(name), target.child(name)
        if found is None:
            return False  # there may be a value in clear
        if wanted is None:
            if not is_in_clear(found):
                return False
        elif not found.is_gone and not _fits(found, wanted):
            return False
    return True


def _may_be_several(node: PathNode, target: PathNode) -> bool:
    """Whether a value was moved that ranges at the target rely on to be single: it may be in an array now."""
    if node.absent:
        return False
    if target.leaf is not None:
        return target.leaf.domain is not None and node.rearranged
    if node.moved:
        return any(leaf.leaf and leaf.leaf.domain for leaf in leaves(target))
    return any(
        _may_be_several(node.children[name], below)
        for name, below in target.children.items()
        if name in node.children
    )


def _check_identity(plan: Plan, on: Element, node: PathNode) -> None:
    names = [on] if on.kind == kinds.STRING else array_items(plan, on)
    for name in names:
        if name.kind != kinds.STRING:
            raise Refusal(Reason.SHAPE, rule="$merge")
        covered = follow(node, string_bytes(plan.buf, name))
        if covered is None:
            continue
        if covered.holds_random:
            raise Refusal(Reason.RANDOM_EQUALITY, path=covered.path, rule="$merge")
        plan.compares = True
