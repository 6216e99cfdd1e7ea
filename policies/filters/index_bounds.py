"""`min` and `max` of `find`: bounds in the order of an index, where that order does not rest on ciphertext.

Keys of an index are compared field by field, and a later field counts only where the earlier ones are equal.
So where both bounds have the same values in all fields down to the last covered one, the keys between them
have these values too, in ciphertext as in plaintext, and their order is that of the fields behind.
"""

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.arguments import check_nested, document_of, named_parts
from sealwire.policies.planning.draft import Draft
from sealwire.policies.planning.plan import ValueEdit
from sealwire.policies.planning.values import match
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

_NESTED = frozenset({kinds.OBJECT, kinds.ARRAY})


def plan_index_bounds(walk: Walk, low: Element | None, high: Element | None) -> None:
    """Cover `min` and `max`. Raises Refusal(RANGE) where covered fields have an order in them, BsonError."""
    bounds = [bound for bound in (low, high) if bound is not None and bound.kind != kinds.NULL]
    node = walk.node
    parts = [named_parts(walk.buf, document_of(bound, bound)) for bound in bounds]
    covered = [name for part in parts for name in part if follow(node, name) is not None]
    for part in parts:
        for value in part.values():
            check_nested(walk.buf, value)
    if not covered:
        return
    if len(parts) != 2 or list(parts[0]) != list(parts[1]):
        raise _ordered(node, covered[0])
    above = [walk.inside(bound.value) for bound in bounds]
    left = set(covered)
    for name, one in parts[0].items():
        if not left:
            return
        left.discard(name)
        if not _are_equal((one, parts[1][name]), follow(node, name), above):
            raise _ordered(node, name if name in covered else covered[-1])


def fixed_by_bounds(buf: bytes, arguments: dict[bytes, Element]) -> frozenset[bytes]:
    """The fields that stand in both `min` and `max`; no others may be covered in them."""
    low, high = arguments.get(b"min"), arguments.get(b"max")
    if low is None or high is None or not low.kind == high.kind == kinds.OBJECT:
        return frozenset()
    names = [{element.name for element in elements(buf, bound.value)} for bound in (low, high)]
    return frozenset(names[0] & names[1])


def _are_equal(values: tuple[Element, Element], node: PathNode | None, above: list[Walk]) -> bool:
    """Whether both bounds have the same value here; it is covered where the field is."""
    if any(value.kind in _NESTED for value in values):
        return False
    if node is None:
        buf = above[0].buf
        one, other = (bytes((value.kind,)) + buf[value.value : value.end] for value in values)
        return one == other
    if node.leaf is None:
        return False
    meant = []
    for value, walk in zip(values, above, strict=True):
        edits = len(walk.draft.edits)
        match(walk, value, node)
        meant.append(_meant(walk.draft, value, edits))
    return meant[0] == meant[1]


def _meant(draft: Draft, value: Element, edits: int) -> tuple[int, bytes]:
    """Type and bytes of a value after coercion; null has no edit."""
    if len(draft.edits) == edits:
        return value.kind, b""
    edit = draft.edits[edits]
    if isinstance(edit, ValueEdit) and edit.value is not None:
        return edit.kind, edit.value
    return value.kind, draft.buf[value.value : value.end]


def _ordered(node: PathNode, name: bytes) -> Refusal:
    found = follow(node, name)
    return Refusal(Reason.RANGE, path=found.path if found is not None else node.path, rule="min or max")
