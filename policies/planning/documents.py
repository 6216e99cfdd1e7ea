"""Cover the values of a document that is stored, or that stored sub-documents are compared with."""

from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import has_dot, is_transparent
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.plan import Plan, Use
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import MAX_DEPTH, Cursor, Element, elements, validate_value

_NESTED: Final = frozenset({kinds.OBJECT, kinds.ARRAY})

# Values of these types are not known to be well-formed once their extent is.
_UNSURE: Final = _NESTED | {kinds.JAVASCRIPT_WITH_SCOPE, kinds.BOOL, kinds.BIN_DATA}


def plan_document(plan: Plan, start: int, node: PathNode, parents: tuple[int, ...], use: Use) -> None:
    """Cover the document at `start`, whose covered paths are `node`'s children.

    `parents` are the lengths above the document; its own is added here. Every byte of the document is
    checked on the way, covered or not. Cost: O(bytes).
    """
    if len(parents) > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, start)
    inner = (*parents, start)
    cursor = Cursor(plan.buf, start)
    while cursor.advance():
        name = cursor.name
        child = node.child(name)
        if child is not None:
            plan_value(plan, cursor.element, child, inner, use)
        elif cursor.kind in _NESTED and is_transparent(name):
            plan_value(plan, cursor.element, node, inner, use)
        else:
            if cursor.kind in _UNSURE:
                validate_value(plan.buf, cursor.element)
            if has_dot(name) and node.child(name.split(b".", 1)[0]) is not None:
                # it reads like a covered path and is none: stored as a name, no path would reach it
                raise Refusal(Reason.SHAPE, path=node.path, rule="a field name with a dot")


def plan_value(plan: Plan, element: Element, node: PathNode, parents: tuple[int, ...], use: Use) -> None:
    """Cover one value at `node`: a leaf's value, or the covered fields inside a sub-document or array."""
    if node.leaf is not None:
        if use is Use.STORE:
            plan.store(element, node, parents)
        else:
            plan.match(element, node, parents)
    elif node.opaque:
        raise Refusal(Reason.COMPUTE, path=node.path)
    elif element.kind == kinds.OBJECT:
        plan_document(plan, element.value, node, parents, use)
    elif element.kind == kinds.ARRAY:
        if len(parents) > MAX_DEPTH:
            raise BsonError(WireReason.BSON_DEPTH, element.start)
        inner = (*parents, element.value)
        plan.arrays += 1
        for item in elements(plan.buf, element.value):
            plan_value(plan, item, node, inner, use)
        plan.arrays -= 1
    else:
        validate_value(plan.buf, element)
