"""Stages that write their documents to a collection: `$out` and `$merge`.

The server writes what reaches it, past the proxy. So the documents must be encrypted already as the target's
policy has it: the same classes at the same paths, and nothing covered beside.
"""

from sealwire.policies.aggregation.joins import variables_of
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import (
    array_items,
    check_nested,
    named_parts,
    operator_name,
)
from sealwire.policies.planning.namespaces import named_namespace
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.trees import is_in_clear, present, same_values
from sealwire.policies.planning.values import note_comparison
from sealwire.policies.planning.walk import Walk
from sealwire.policies.updates.update_pipelines import plan_update_pipeline
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, string_bytes

_OUT_ARGUMENTS = frozenset({b"db", b"coll"})
_MERGE_ARGUMENTS = frozenset({b"into", b"on", b"let", b"whenMatched", b"whenNotMatched"})


def out(walk: Walk, stage: Element) -> PathNode:
    """`$out`: the documents become the whole collection."""
    if stage.kind == kinds.OBJECT:
        _check_arguments(walk.buf, stage, _OUT_ARGUMENTS)
    _check_target(walk, stage)
    return NOTHING


def merge_into(walk: Walk, stage: Element) -> PathNode:
    """`$merge`: each document is inserted, or put in place of or into the one that it equals in `on`."""
    if stage.kind != kinds.OBJECT:
        _check_target(walk, stage)
        return NOTHING
    parts = _check_arguments(walk.buf, stage, _MERGE_ARGUMENTS)
    matched = parts.get(b"whenMatched")
    is_pipeline = matched is not None and matched.kind == kinds.ARRAY
    for name in (b"whenMatched", b"whenNotMatched"):
        if (
            name in parts
            and parts[name].kind != kinds.STRING
            and not (is_pipeline and parts[name] is matched)
        ):
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule=f"$merge with {operator_name(parts[name])}")
    if not is_pipeline or _mode(walk.buf, parts.get(b"whenNotMatched")) not in _WRITING_NOTHING:
        _check_target(walk, stage)
    if b"on" in parts:
        _check_identity(walk, parts[b"on"])
    if matched is not None and is_pipeline:
        inner = walk.inside(stage.value)
        variables = {b"new": walk.node, **variables_of(inner, parts.get(b"let"))}
        stored = inner.binding(variables).at(_target(walk, stage)).to(Use.STORE)
        plan_update_pipeline(stored, matched)
    elif b"let" in parts:
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule="$merge with let and no pipeline")
    return NOTHING


# with these, no document of the pipeline itself is stored
_WRITING_NOTHING = frozenset({b"discard", b"fail"})


def _mode(buf: bytes, part: Element | None) -> bytes:
    return b"" if part is None else string_bytes(buf, part)


def _check_arguments(buf: bytes, stage: Element, known: frozenset[bytes]) -> dict[bytes, Element]:
    parts = named_parts(buf, stage.value)
    for name, part in parts.items():
        if name not in known:
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(stage)} with {operator_name(part)}")
        check_nested(buf, part)
    return parts


def _check_target(walk: Walk, stage: Element) -> None:
    """Raises Refusal(TARGET) unless the documents are what the target's policy would have made of them.

    A path that is covered there and not here may hold a plain value: it would be stored in clear.
    """
    tree = _target(walk, stage)
    if not _fits(walk.node, tree) or _may_be_several(walk.node, tree):
        raise Refusal(Reason.TARGET, path=walk.node.path, rule=operator_name(stage))


def _target(walk: Walk, stage: Element) -> PathNode:
    """The covered paths of the collection that is written to."""
    target = named_namespace(walk.buf, stage, walk.around.database)
    if target is None:
        raise Refusal(Reason.SHAPE, rule=operator_name(stage))
    return walk.around.tree(target)


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
        return target.is_ranged
    return any(
        _may_be_several(node.children[name], below)
        for name, below in target.children.items()
        if name in node.children
    )


def _check_identity(walk: Walk, on: Element) -> None:
    names = [on] if on.kind == kinds.STRING else array_items(walk.buf, on)
    for name in names:
        if name.kind != kinds.STRING:
            raise Refusal(Reason.SHAPE, rule="$merge")
        covered = follow(walk.node, string_bytes(walk.buf, name))
        if covered is None:
            continue
        if covered.holds_random:
            raise Refusal(Reason.RANDOM_EQUALITY, path=covered.path, rule="$merge")
        note_comparison(walk.draft, covered)
