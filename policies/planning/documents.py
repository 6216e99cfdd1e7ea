"""Cover the values of a document that is stored, or that stored sub-documents are compared with."""

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import has_dot, is_transparent
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.contexts import Contexts, fixed_in_document
from sealwire.policies.planning.values import cover, in_array
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import MAX_DEPTH, Cursor, Element, elements, validate_value


def plan_stored_document(walk: Walk, start: int) -> None:
    """Cover the document at `start` that is stored as it is, and says its contexts itself.

    Raises Refusal, BsonError. Cost: O(bytes).
    """
    contexts = walk.draft.contexts
    if contexts is None:
        plan_document(walk, start, walk.node)
        return
    before = contexts.fixed
    said = fixed_in_document(walk.buf, start, contexts.fields.get("", ()))
    contexts.fixed, contexts.is_as_stored = contexts.entered("", said), True
    try:
        plan_document(walk, start, walk.node)
    finally:
        contexts.fixed, contexts.is_as_stored = before, False


def plan_document(walk: Walk, start: int, node: PathNode) -> None:
    """Cover the document at `start`, whose covered paths are `node`'s children.

    Every byte of the document is checked on the way, covered or not. Raises Refusal, BsonError.
    Cost: O(bytes).
    """
    if len(walk.parents) > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, start)
    inner = walk.inside(start)
    cursor = Cursor(walk.buf, start)
    while cursor.advance():
        kind, name = cursor.kind, cursor.name
        child = node.child(name)
        if child is not None:
            plan_value(inner, cursor.element(name), child)
        elif kind in (kinds.OBJECT, kinds.ARRAY) and is_transparent(name):
            plan_value(inner, cursor.element(name), node)
        else:
            if kind in (kinds.OBJECT, kinds.ARRAY, kinds.JAVASCRIPT_WITH_SCOPE, kinds.BOOL, kinds.BIN_DATA):
                # of these, not all is known once their extent is
                validate_value(walk.buf, cursor.element(name))
            if has_dot(name) and _reads_like_path(name, node):
                # stored as a name, no path would reach it
                raise Refusal(Reason.SHAPE, path=node.path, rule="a field name with a dot")


def _reads_like_path(name: bytes, node: PathNode) -> bool:
    """Whether a name with dots begins as a covered path does, behind indexes."""
    first = next((part for part in name.split(b".") if not is_transparent(part)), None)
    return first is not None and node.child(first) is not None


def plan_value(walk: Walk, element: Element, node: PathNode) -> None:
    """Cover one value at `node`: a leaf's value, or the covered fields inside a sub-document or array."""
    if node.leaf is not None:
        cover(walk, element, node)
    elif node.opaque:
        raise Refusal(Reason.COMPUTE, path=node.path)
    elif element.kind == kinds.OBJECT:
        contexts = walk.draft.contexts
        if contexts is None or not contexts.holds(node.path):
            plan_document(walk, element.value, node)
        else:
            _plan_in_place(walk, element.value, node, contexts)
    elif element.kind == kinds.ARRAY:
        inner = in_array(walk, element)
        for item in elements(walk.buf, element.value):
            plan_value(inner, item, node)
    else:
        validate_value(walk.buf, element)


def _plan_in_place(walk: Walk, start: int, node: PathNode, contexts: Contexts) -> None:
    """A sub-document that says contexts of the values that it holds itself."""
    before = contexts.fixed
    said = fixed_in_document(walk.buf, start, contexts.fields[node.path])
    contexts.fixed = contexts.entered(node.path, said)
    try:
        plan_document(walk, start, node)
    finally:
        contexts.fixed = before
