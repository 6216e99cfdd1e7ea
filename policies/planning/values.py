"""Cover single values: what may be stored at a covered path, and what may be compared with it."""

import math
from collections.abc import Callable, Iterator
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file import ranges
from sealwire.policies.file.coercion import coerce, is_negative_zero
from sealwire.policies.file.schema import (
    FieldClass,
    Mode,
    PathNode,
    ValueType,
    follow,
    has_dot,
    is_transparent,
)
from sealwire.policies.planning.arguments import text_of
from sealwire.policies.planning.contexts import Contexts, fixed_in_document, unfixed
from sealwire.policies.planning.plan import (
    FormPlace,
    ListPlace,
    RangeEdit,
    Replacement,
    Use,
    ValueEdit,
)
from sealwire.policies.planning.trees import MAX_ALIKE_FIELDS, MAX_ALIKE_NAME_BYTES, KnownField, each_node
from sealwire.policies.planning.walk import ENVELOPE_BYTES, LISTED_BYTES, Draft, Walk
from sealwire.policies.roles.role import ClassAccess, Level, Rights
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import MAX_DEPTH, Cursor, Element, elements, validate_value

# ---------------------------- what a command demands of its client's rights, found where the planner finds it
#
# Without roles in the policy a draft has no rights to ask for, and nothing is looked at. Presence is no
# value: `$exists`, null and the lengths of arrays demand nothing. What is shown of values is decided by
# their envelopes, in replies.


def demand_filter(draft: Draft, node: PathNode) -> None:
    """Values at or below a node are compared. Raises Refusal(ROLE, WORK).

    Cost: O(different nodes there), once for the same node.
    """
    rights = draft.rights
    if rights is not None and not _may(draft, rights, node, "filter"):
        raise Refusal(Reason.ROLE, path=node.path, rule="filtering")


def demand_result(draft: Draft, node: PathNode) -> None:
    """An expression compares values at or below a node. In a filter its result chooses documents.

    Elsewhere the client is shown a result for each document, which takes the right to read the values in
    clear. Raises Refusal(ROLE). Cost: as above.
    """
    rights = draft.rights
    if rights is None or draft.filters:
        return
    if not _may(draft, rights, node, "read"):
        raise Refusal(Reason.ROLE, path=node.path, rule="the result of a comparison")


def demand_write(draft: Draft, node: PathNode) -> None:
    """Values at or below a node are written, replaced or taken away. Raises Refusal(ROLE). Cost: as above."""
    rights = draft.rights
    if rights is not None and not _may(draft, rights, node, "write"):
        raise Refusal(Reason.ROLE, path=node.path, rule="writing")


def demand_delete(draft: Draft, tree: PathNode, rule: str = "deleting") -> None:
    """Documents with these covered paths are deleted, and their values with them. Raises Refusal(ROLE)."""
    rights = draft.rights
    if rights is not None and not rights.deletes and not _may(draft, rights, tree, "write"):
        raise Refusal(Reason.ROLE, path=tree.path or draft.namespace, rule=rule)


def demand_definition(draft: Draft, tree: PathNode) -> None:
    """An index or a validator over documents with these covered paths is taken away or changed.

    Either may be what keeps values unique, or plaintext out: whoever may write or delete them has other ways
    to the same end. Raises Refusal(ROLE).
    """
    demand_delete(draft, tree, "changing what is defined")


def demand_role(draft: Draft) -> None:
    """A protected collection is reached. Raises Refusal(ROLE) for a client without a role."""
    rights = draft.rights
    if rights is not None and rights.is_empty:
        raise Refusal(Reason.ROLE, path=draft.namespace, rule=f"{draft.command} without {rights.lacks}")


_RIGHTS: Final[dict[str, Callable[[ClassAccess], bool]]] = {
    "read": lambda access: access.read.level is Level.CLEAR,
    "write": lambda access: access.writes,
    "filter": lambda access: access.filters,
}


def _may(draft: Draft, rights: Rights, node: PathNode, what: str) -> bool:
    """Whether the client may do so with the values of all classes at and below a node."""
    known = draft.work.known(what, node, node)
    if known is None:
        known = all(map(_RIGHTS[what], _accesses_at(draft, rights, node)))
        draft.work.learn(what, node, node, known)
    return known is True


def _accesses_at(draft: Draft, rights: Rights, node: PathNode) -> Iterator[ClassAccess]:
    """What may be done with the classes at and below a node, behind numbers too.

    Where nobody knows which ones are there, with every class.
    """
    for each in each_node(node, draft.work, behind=True):
        if each.leaf is not None:
            yield rights.access(each.leaf.name)
        elif each.opaque:
            yield from rights.every_access


# ---------------------------------------------------------------------------------------------- single values


def cover(walk: Walk, element: Element, node: PathNode) -> None:
    """Cover a value for what the walk's values are for. Raises Refusal, BsonError."""
    if walk.use is Use.STORE:
        store(walk, element, node)
    else:
        match(walk, element, node)


def store(walk: Walk, element: Element, node: PathNode) -> None:
    """Cover a value that is written at the leaf `node`; null stays as it is.

    A deterministic class covers an array element by element, at any depth. Raises Refusal(TYPE, GRID).
    """
    field_class = _leaf_class(node)
    if element.kind == kinds.NULL:
        return
    if walk.draft.rights is not None:
        _demand_store(walk, node)
    if _is_unstorable(element.kind):
        raise wrong_type(node)
    if field_class.mode is Mode.RANDOM:
        _check_random(walk.buf, element, node)
        _add(walk, element, node, Use.STORE, None)
        return
    if element.kind == kinds.ARRAY:
        inner = in_array(walk, element)
        for item in elements(walk.buf, element.value):
            store(inner, item, node)
        return
    value = None
    if field_class.stores(element.kind):
        validate_value(walk.buf, element)
    else:
        value = _coerced(walk.buf, element, field_class)
        if value is None:
            raise _without_equal(walk.buf, element, node)
        _check_zero(walk.buf, element, node)
    _add(walk, element, node, Use.STORE, value)


def match(walk: Walk, element: Element, node: PathNode, place: FormPlace = FormPlace.ALONE) -> None:
    """Cover a value that stored values at `node` are compared with; null stays as it is.

    A value whose type the class cannot hold equals nothing stored there: it is encrypted as it is and
    matches nothing, as it would in plaintext. So is any value where a pipeline has left none.
    Raises Refusal.
    """
    field_class = _leaf_class(node)
    if element.kind == kinds.NULL:
        return
    if walk.draft.rights is not None:
        _demand_match(walk, node)
    if field_class.mode is Mode.RANDOM and not node.absent:
        raise Refusal(Reason.RANDOM_EQUALITY, path=node.path)
    if element.kind == kinds.REGEX:
        raise Refusal(Reason.PATTERN, path=node.path)
    if _is_unstorable(element.kind):
        raise wrong_type(node)
    if element.kind == kinds.ARRAY:
        inner = in_array(walk, element)
        for item in elements(walk.buf, element.value):
            match(inner, item, node)
        return
    value = None
    if not field_class.stores(element.kind):
        value = _coerced(walk.buf, element, field_class)
        if value is None:
            if walk.use is Use.SEED:
                raise _without_equal(walk.buf, element, node)
            validate_value(walk.buf, element)
        elif walk.use is Use.SEED:
            _check_zero(walk.buf, element, node)
    note_comparison(walk.draft, node)
    _add(walk, element, node, Use.MATCH, value, place)


def match_range(walk: Walk, conditions: list[Element], node: PathNode, *, is_among: bool) -> None:
    """Cover range operators on one leaf: together they become one `$in`. Raises Refusal.

    With `is_among` an `$in` stands beside them already, and they become the same by `$not` and `$nin`.
    In an upsert's filter not for a single value: a server may take `$in` of one for an equality to store.
    """
    field_class = _leaf_class(node)
    domain = field_class.domain
    if domain is None or field_class.value_type is None or node.moved:
        raise Refusal(Reason.RANGE, path=node.path, rule=conditions[0].name.decode())
    operands = [(item.name, item.kind, walk.buf[item.value : item.end]) for item in conditions]
    found = ranges.find_positions(domain, field_class.kind, operands)
    if found is None:
        raise Refusal(Reason.RANGE, path=node.path, rule="a range with null, a pattern, MinKey or MaxKey")
    if walk.use is Use.SEED and len(found) == 1:
        raise Refusal(Reason.RANGE, path=node.path, rule="a range of one value in an upsert")
    if len(found) > domain.max_values:
        raise Refusal(Reason.RANGE_SIZE, path=node.path)
    draft = walk.draft
    draft.budget.spend(LISTED_BYTES * len(found), len(found))
    note_comparison(draft, node)
    draft.comparisons += len(conditions)
    place = ListPlace.BESIDE if is_among else ListPlace.OPERATOR
    draft.edits.append(RangeEdit(conditions, node, field_class, found, walk.parents, place))
    draft.replacements.extend(Replacement(item, walk.parents) for item in conditions[1:])


def note_comparison(draft: Draft, node: PathNode) -> None:
    """Note that stored values at a node are compared: a collation would matter, if any can be a string.

    Raises Refusal(ROLE).
    """
    if draft.rights is not None:
        demand_filter(draft, node)
    declared = None if node.leaf is None else node.leaf.value_type
    if declared is None or declared is ValueType.STRING:
        draft.compares = True


def note_equality(draft: Draft, node: PathNode, rule: str, keyed: frozenset[bytes] | None = None) -> None:
    """Note that stored values at a node are compared with each other, and not with constants.

    Within a document, or across documents with `keyed`: see `Contexts.check_equality`. Raises
    Refusal(ROLE, CONTEXT).
    """
    note_comparison(draft, node)
    if draft.contexts is not None and draft.contexts.check_equality(node, rule, keyed):
        draft.compares = True


def tell_apart(walk: Walk, node: PathNode, rule: str, keyed: frozenset[bytes]) -> None:
    """Note that documents are told apart by the values at a node, and by the fields `keyed`.

    Raises Refusal(RANDOM_EQUALITY, ROLE, CONTEXT).
    """
    if node.holds_random:
        raise Refusal(Reason.RANDOM_EQUALITY, path=node.path, rule=rule)
    if node.covers:
        note_equality(walk.draft, node, rule, keyed)


def tell_apart_by(walk: Walk, names: list[Element], rule: str) -> None:
    """Documents are told apart by the fields of these names.

    Raises Refusal(RANDOM_EQUALITY, CONTEXT, SHAPE).
    """
    keyed = frozenset(text_of(walk.buf, name) for name in names)
    for name in sorted(keyed):
        found = follow(walk.node, name)
        if found is not None:
            tell_apart(walk, found, rule, keyed)


def in_array(walk: Walk, array: Element) -> Walk:
    """The walk among the items of an array of values. Raises BsonError(BSON_DEPTH)."""
    if len(walk.parents) > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, array.start)
    return walk.in_arrays(1).inside(array.value)


def _demand_store(walk: Walk, node: PathNode) -> None:
    if walk.use is Use.STORE:
        demand_write(walk.draft, node)
    else:
        # a constant that an expression puts among stored values: its envelope would tell equality
        demand_filter(walk.draft, node)


def _demand_match(walk: Walk, node: PathNode) -> None:
    demand_filter(walk.draft, node)
    if walk.use is Use.SEED:
        demand_write(walk.draft, node)


def wrong_type(node: PathNode) -> Refusal:
    """The refusal of a value that the class of a path does not take, with the type that it declares."""
    declared = None if node.leaf is None else node.leaf.value_type
    if declared is None:
        return Refusal(Reason.TYPE, path=node.path)
    return Refusal(Reason.TYPE, path=node.path, wanted=f"declared: {declared.value}")


def _without_equal(buf: bytes, element: Element, node: PathNode) -> Refusal:
    """The refusal of a value that equals no value which the class of a path stores."""
    refusal = wrong_type(node)
    number = (
        ranges.read_number(element.kind, buf[element.value : element.end])
        if element.kind in ranges.NUMERIC
        else 0
    )
    if math.isnan(number) and _leaf_class(node).value_type is ValueType.DOUBLE:
        refusal.rule = "NaN"
        why = "NaN has many encodings that are equal, and their ciphertexts would differ"
        refusal.wanted = f"{refusal.wanted}; {why}"
    return refusal


def _is_unstorable(kind: int) -> bool:
    return kind in (kinds.UNDEFINED, kinds.MIN_KEY, kinds.MAX_KEY)


def _check_random(buf: bytes, element: Element, node: PathNode) -> None:
    validate_value(buf, element)
    if element.kind == kinds.ARRAY and _holds_null(buf, element):
        # `{field: null}` finds such an array, and would not find its ciphertext
        raise Refusal(Reason.TYPE, path=node.path, rule="null in an array")
    if element.kind == kinds.TIMESTAMP and not any(buf[element.value : element.end]):
        # the server puts its own time in the place of an empty one
        raise Refusal(Reason.TYPE, path=node.path, rule="an empty timestamp")


def _check_zero(buf: bytes, element: Element, node: PathNode) -> None:
    """Refuse to store a number that would come back as another: -0.0 becomes the 0 that it equals."""
    if is_negative_zero(element.kind, buf[element.value : element.end]):
        wanted = "-0.0 would come back as the 0 that it equals"
        raise Refusal(Reason.TYPE, path=node.path, rule="-0.0", wanted=wanted)


def _coerced(buf: bytes, element: Element, field_class: FieldClass) -> bytes | None:
    if field_class.value_type is None:
        return None
    return coerce(element.kind, buf[element.value : element.end], field_class.value_type)


def _add(
    walk: Walk,
    element: Element,
    node: PathNode,
    use: Use,
    value: bytes | None,
    place: FormPlace = FormPlace.ALONE,
) -> None:
    field_class = _leaf_class(node)
    kind = element.kind
    size = element.end - element.value if value is None else len(value)
    draft = walk.draft
    draft.budget.spend(ENVELOPE_BYTES + size)
    if draft.rights is not None and not (use is Use.STORE and walk.use is Use.STORE):
        draft.comparisons += 1
    if value is not None and field_class.kind:
        kind = field_class.kind
    if field_class.domain is not None and (use is Use.STORE or walk.use is Use.SEED):
        stored = value or walk.buf[element.value : element.end]
        _check_grid(field_class.domain, node, kind, stored, walk.arrays)
    context = None if field_class.per is None else context_at(walk, field_class, node, use)
    draft.edits.append(ValueEdit(element, node, field_class, use, kind, value, walk.parents, context, place))


def context_at(walk: Walk, field_class: FieldClass, node: PathNode, use: Use) -> tuple[bytes, bool]:
    """The context of a value of a class that has a key for each, and whether a value may be stored under it.

    Raises Refusal(CONTEXT).
    """
    contexts = walk.draft.contexts
    if contexts is None:
        raise unfixed(field_class.per or b"", node)
    found = contexts.of(field_class, node)
    if use is Use.MATCH and found[0] == kinds.STRING:
        walk.draft.compares = True  # under a collation, other contexts would be equal to this one
    return found, use is Use.STORE or walk.use is Use.SEED or contexts.is_kept


def _check_grid(domain: ranges.RangeDomain, node: PathNode, kind: int, value: bytes, arrays: int) -> None:
    """What ranges rely on: a stored value lies on the grid, and there is one at its path."""
    if arrays:
        raise Refusal(Reason.GRID, path=node.path, rule="an array", wanted=domain.grid)
    if not domain.holds(ranges.read_stored(kind, value)):
        raise Refusal(Reason.GRID, path=node.path, wanted=domain.grid)


def _holds_null(buf: bytes, array: Element) -> bool:
    return any(item.kind in (kinds.NULL, kinds.UNDEFINED) for item in elements(buf, array.value))


def _leaf_class(node: PathNode) -> FieldClass:
    if node.leaf is None:
        raise Refusal(Reason.COMPUTE, path=node.path)
    return node.leaf


# ---------------------------------- documents that are stored, or that stored sub-documents are compared with


def plan_stored_document(walk: Walk, start: int) -> None:
    """Cover the document at `start` that is stored as it is, and says its contexts itself.

    Raises Refusal, BsonError. Cost: O(bytes).
    """
    contexts = walk.draft.contexts
    known = walk.draft.work.known_fields(walk.node)
    if contexts is None:
        plan_document(walk, start, walk.node, known)
        return
    before = contexts.fixed
    said = fixed_in_document(walk.buf, start, contexts.fields.get("", ()))
    contexts.fixed, contexts.is_as_stored = contexts.entered("", said), True
    try:
        plan_document(walk, start, walk.node, known)
    finally:
        contexts.fixed, contexts.is_as_stored = before, False


def plan_document(walk: Walk, start: int, node: PathNode, known: list[KnownField] | None = None) -> None:
    """Cover the document at `start`, whose covered paths are `node`'s children.

    Every byte of the document is checked on the way, covered or not. `known` are the fields of the document
    before, and then of this one, as far as they are kept. Raises Refusal, BsonError. Cost: O(bytes).
    """
    if len(walk.parents) > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, start)
    inner = walk.inside(start)
    cursor = Cursor(walk.buf, start)
    place = 0
    while True:
        field = known[place] if known is not None and place < len(known) else None
        if field is not None and cursor.advance_as(field.head):
            name, target, is_checked = field.name, field.node, field.is_checked
        elif cursor.advance():
            field, name = None, cursor.name
            target, is_checked = _treatment(cursor.kind, name, node)
        else:
            return
        if target is not None:
            plan_value(inner, cursor.element(name), target)
        elif is_checked:
            validate_value(walk.buf, cursor.element(name))
        if field is None:
            if target is None and has_dot(name) and _reads_like_path(name, node):
                # stored as a name, no path would reach it
                raise Refusal(Reason.SHAPE, path=node.path, rule="a field name with a dot")
            if known is not None and place < MAX_ALIKE_FIELDS and len(name) <= MAX_ALIKE_NAME_BYTES:
                del known[place:]
                known.append(KnownField(cursor.kind, name, target, is_checked=is_checked))
        place += 1


def _treatment(kind: int, name: bytes, node: PathNode) -> tuple[PathNode | None, bool]:
    """By what a field's value is covered, or whether it has to be checked otherwise."""
    child = node.child(name)
    if child is not None:
        return child, False
    if kind in (kinds.OBJECT, kinds.ARRAY) and is_transparent(name):
        return node, False
    # of these, not all is known once their extent is
    return None, kind in (
        kinds.OBJECT,
        kinds.ARRAY,
        kinds.JAVASCRIPT_WITH_SCOPE,
        kinds.BOOL,
        kinds.BIN_DATA,
    )


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
