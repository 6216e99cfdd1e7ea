"""Cover the values that an update writes, or refuse it.

An update is a replacement document, or operators on paths, or a pipeline.
"""

from collections.abc import Callable
from struct import pack
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow, is_transparent, parts_of
from sealwire.policies.file.schema import BESIDE, ContextField, whole_path
from sealwire.policies.filters.filters import is_operator_condition, plan_condition, plan_element_filter
from sealwire.policies.filters.operands import refuse_misplaced
from sealwire.policies.planning.arguments import (
    array_items,
    check_nested,
    document_of,
    first_name,
    named_parts,
    operator_name,
)
from sealwire.policies.planning.contexts import (
    NO_FIELDS,
    Contexts,
    context_of,
    fixed_in_document,
    fixed_in_filter,
)
from sealwire.policies.planning.demands import demand_write
from sealwire.policies.planning.documents import plan_document, plan_value
from sealwire.policies.planning.plan import FormPlace, Use
from sealwire.policies.planning.rules import Rule, encrypted, family, passed, refused, without_row
from sealwire.policies.planning.trees import same_values
from sealwire.policies.planning.values import match, note_comparison, put, whole_number
from sealwire.policies.planning.walk import Walk
from sealwire.policies.updates.paths import (
    arrays_in,
    fixed_by_array_filters,
    identifiers_of,
    plan_array_filters,
    target_of,
)
from sealwire.policies.updates.update_pipelines import plan_update_pipeline
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

Handler = Callable[[Walk, Element], None]


# Updates where classes have a key for each context: what fixes it, and that the update leaves it alone.
#
# A stored value stays under the key that encrypted it. So nothing may change the field that says which
# one that is: afterwards the value would belong to another tenant or patient, and equality would not find
# it.

_SETTING: Final = frozenset({b"$set", b"$setOnInsert"})
_IDENTITY: Final = b"_id"


def plan_update_in_context(
    walk: Walk, update: Element, array_filters: Element | None, condition: Element | None, *, seeds: bool
) -> None:
    """As `plan_update`, for an update of the documents that `condition` finds; `seeds` of an upsert.

    Raises Refusal, BsonError.
    """
    contexts = walk.draft.contexts
    if contexts is None or not contexts.fields:
        plan_update(walk, update, array_filters)
        return
    fields = [(place, path) for place, paths in contexts.fields.items() for path in paths]
    if update.kind == kinds.ARRAY:
        # what it computes for the field, nobody follows
        rule = "an update by a pipeline"
        raise Refusal(Reason.CONTEXT, path=min(map(whole_path, fields)).decode("utf-8", "replace"), rule=rule)
    found: dict[bytes, bytes] = {}
    if condition is not None and condition.kind == kinds.OBJECT:
        paths = frozenset(map(whole_path, fields))
        found = fixed_in_filter(walk.buf, condition.value, paths, seeds=seeds)
    start = document_of(update, update)
    before = contexts.fixed, contexts.elements
    contexts.is_as_stored = True
    try:
        if first_name(walk.buf, start).startswith(b"$"):
            _check_operators(walk.buf, start, fields, found)
            contexts.fixed = {field: found[path] for field in fields if (path := whole_path(field)) in found}
            if array_filters is not None and array_filters.kind == kinds.ARRAY:
                contexts.elements = fixed_by_array_filters(
                    walk, array_filters, identifiers_of(walk, start), contexts
                )
        else:
            contexts.fixed = _in_replacement(walk.buf, start, contexts, found)
        if contexts.is_text:
            walk.draft.compares = True  # under a collation, the filter would find documents of others
        plan_update(walk, update, array_filters)
    finally:
        contexts.fixed, contexts.elements = before
        contexts.is_as_stored = False


def _in_replacement(
    buf: bytes, start: int, contexts: Contexts, found: dict[bytes, bytes]
) -> dict[ContextField, bytes]:
    """What a replacement says; of the `_id`, which it keeps if it has none itself, what the filter says."""
    paths = contexts.fields.get("", NO_FIELDS)
    said = fixed_in_document(buf, start, paths)
    if not any(element.name == _IDENTITY for element in elements(buf, start)):
        said |= {
            path: value
            for path, value in found.items()
            if path in paths and path.split(b".", 1)[0] == _IDENTITY
        }
    return contexts.entered("", said)


def _check_operators(buf: bytes, start: int, fields: list[ContextField], found: dict[bytes, bytes]) -> None:
    """Nothing is written to a context's field, but the very value that the filter demands there."""
    for operator in elements(buf, start):
        if operator.kind != kinds.OBJECT:
            continue  # the planner refuses it
        for argument in elements(buf, operator.value):
            for field in fields:
                path = whole_path(field)
                if operator.name == b"$rename" and _touches(string_bytes(buf, argument), field):
                    raise _changed(path, operator)
                if not _touches(argument.name, field):
                    continue
                is_same = argument.name == path and context_of(buf, argument) == found.get(path, b"")
                if operator.name not in _SETTING or not is_same:
                    raise _changed(path, operator)


def _touches(written: bytes, field: ContextField) -> bool:
    """Whether writing to a path changes the field, and leaves the document that has it.

    Who writes a whole sub-document writes its values anew. Numbers and their like lead to any element.
    """
    names = [part for part in parts_of(written) if not is_transparent(part)]
    whole = whole_path(field).split(b".")
    above = len(field[0].split(".")) if field[0] else 0
    length = min(len(names), len(whole))
    return length > above and names[:length] == whole[:length]


def _changed(path: bytes, operator: Element) -> Refusal:
    rule = f"{operator.name.decode('utf-8', 'replace')} of a context"
    return Refusal(Reason.CONTEXT, path=path.decode("utf-8", "replace"), rule=rule)


def plan_update(walk: Walk, element: Element, array_filters: Element | None = None) -> None:
    """Cover the update `element` (a document or a pipeline) of documents with the walk's covered paths.

    Raises Refusal, BsonError.
    """
    stored = walk.to(Use.STORE)
    if element.kind == kinds.ARRAY:
        if array_filters is not None and array_filters.kind != kinds.NULL:
            raise Refusal(Reason.SHAPE, rule="array filters beside a pipeline")
        plan_update_pipeline(stored, element)
        return
    start = document_of(element, element)
    if not first_name(walk.buf, start).startswith(b"$"):
        if array_filters is not None:
            raise Refusal(Reason.SHAPE, rule="array filters beside a replacement")
        demand_write(walk.draft, walk.node)  # what it does not name goes
        plan_document(stored, start, walk.node)
        return
    inner = stored.inside(start)
    for operator in elements(walk.buf, start):
        rule = OPERATORS.get(operator.name)
        if rule is None:
            _check_unknown(walk, operator)
        else:
            try:
                rule.handler(inner.inside(document_of(operator, operator)), operator)
            except Refusal as refusal:
                raise refusal.within(operator_name(operator)) from None
    if array_filters is not None and array_filters.kind != kinds.NULL:
        plan_array_filters(walk.to(Use.FIND), array_filters, identifiers_of(walk, start))


def _check_unknown(walk: Walk, operator: Element) -> None:
    """An operator without a row: the server says that it does not know it, if nothing in it is covered.

    Raises Refusal(OPERATOR, UNKNOWN_MODIFIER).
    """
    is_operator = operator.name.startswith(b"$") and operator.kind == kinds.OBJECT
    if not is_operator or any(target_of(walk, part.name) for part in elements(walk.buf, operator.value)):
        raise without_row(operator.name, Reason.UNKNOWN_MODIFIER, OPERATORS, reason=Reason.OPERATOR)
    check_nested(walk.buf, operator)


_Covered = Callable[[Walk, Element, Element], None]
"""Plans one argument of an operator on a covered path, which is the walk's node: `handler(walk, operator,
argument)`."""


def _on_covered(handler: _Covered) -> Handler:
    """A handler for each argument whose path is covered; the others are only checked."""

    def handle(walk: Walk, operator: Element) -> None:
        for argument in elements(walk.buf, operator.value):
            target = target_of(walk, argument.name)
            if target is None:
                check_nested(walk.buf, argument)
                continue
            demand_write(walk.draft, target)
            if (contexts := walk.draft.contexts) is None:
                handler(walk.at(target), operator, argument)
            else:
                before, contexts.fixed = contexts.fixed, contexts.written_at(argument.name, target)
                try:
                    handler(walk.at(target), operator, argument)
                finally:
                    contexts.fixed = before

    return handle


def _on_arrays(handler: _Covered) -> Handler:
    """The same for operators on arrays: in random mode an array is none to the server."""

    def handle(walk: Walk, operator: Element, argument: Element) -> None:
        if walk.node.is_random:
            raise Refusal(Reason.RANDOM_EQUALITY, path=walk.node.path, rule=operator_name(operator))
        handler(walk, operator, argument)

    return _on_covered(handle)


def _set(walk: Walk, operator: Element, argument: Element) -> None:
    del operator
    arrays = arrays_in(argument.name)
    plan_value(walk.in_arrays(arrays) if arrays else walk, argument, walk.node)


def _unset(walk: Walk, operator: Element, argument: Element) -> None:
    """The server ignores the value, which could be one that is stored: nothing goes in its place."""
    del operator
    check_nested(walk.buf, argument)
    if walk.buf[argument.value : argument.end] not in _USUAL:
        put(walk, argument, kinds.STRING, b"\1\0\0\0\0")


_USUAL: Final = frozenset(
    [b"", b"\1\0\0\0\0", b"\0", b"\1", *(pack(form, flag) for form in ("<i", "<q", "<d") for flag in (0, 1))]
)
"""What most write behind a name in `$unset`, whatever its type: null, "", false, true, 0 and 1."""


def _uncovered_only(walk: Walk, operator: Element, argument: Element) -> None:
    """Operators that compute on the stored value."""
    del argument
    raise Refusal(Reason.OPERATOR, path=walk.node.path, rule=operator_name(operator))


def _rename(walk: Walk, operator: Element) -> None:
    """Fine between paths with the same coverage: the stored value moves as it is, ciphertext or not."""
    for argument in elements(walk.buf, operator.value):
        if argument.kind != kinds.STRING:
            raise Refusal(Reason.SHAPE, rule="$rename")
        new_path = string_bytes(walk.buf, argument)
        source, target = target_of(walk, argument.name), target_of(walk, new_path)
        covered = source or target
        if covered is None:
            continue
        demand_write(walk.draft, covered)
        if covered.leaf is not None and (covered.leaf.per or b"").startswith(BESIDE):
            # the value would move, and the field beside it would stay
            raise Refusal(Reason.CONTEXT, path=covered.path, rule=operator_name(operator))
        numbered = any(map(is_transparent, (*argument.name.split(b"."), *new_path.split(b"."))))
        # a field whose name is a number may be anything that an element of an array may be
        if source is None or target is None or not same_values(source, target, walk.draft.work) or numbered:
            raise Refusal(Reason.OPERATOR, path=covered.path, rule=operator_name(operator))


def _push(walk: Walk, operator: Element, argument: Element) -> None:
    """The value that is added, or the `$each` values and the modifiers beside them."""
    if operator.name == b"$addToSet":
        # an element with random ciphertext equals no stored one: the set would grow duplicates
        if walk.node.holds_random:
            raise Refusal(Reason.RANDOM_EQUALITY, path=walk.node.path, rule="$addToSet")
        note_comparison(walk.draft, walk.node)
    walk = walk.in_arrays(1)
    if not _has_each(walk.buf, operator, argument):
        plan_value(walk, argument, walk.node)
        return
    inner = walk.inside(argument.value)
    for name, modifier in named_parts(walk.buf, argument.value).items():
        rule = PUSH_MODIFIERS.get(name)
        if rule is None or (operator.name != b"$push" and name != b"$each"):
            unknown, path = Reason.UNKNOWN_OPERATOR, walk.node.path
            raise without_row(name, unknown, PUSH_MODIFIERS, reason=Reason.OPERATOR, path=path)
        rule.handler(inner, modifier)


def _has_each(buf: bytes, operator: Element, argument: Element) -> bool:
    """Whether an argument brings modifiers: with `$each` in any place, in `$addToSet` in the first.

    Without it the server stores `{$slice: 1}` like any other document.
    """
    if argument.kind != kinds.OBJECT:
        return False
    if operator.name != b"$push":
        return first_name(buf, argument.value) == b"$each"
    return any(part.name == b"$each" for part in elements(buf, argument.value))


def _each(walk: Walk, modifier: Element) -> None:
    inner = walk.inside(modifier.value)
    for item in array_items(walk.buf, modifier):
        plan_value(inner, item, walk.node)


def _place(walk: Walk, modifier: Element) -> None:
    """Where in the array, and how much of it is kept: numbers that say nothing of the values."""
    whole_number(walk.buf, modifier)


def _push_sort(walk: Walk, modifier: Element) -> None:
    """Sorting the array is fine when no covered field takes part in the order."""
    path = walk.node.path
    if modifier.kind != kinds.OBJECT:
        raise Refusal(Reason.SORT, path=path, rule="$sort")
    for key in elements(walk.buf, modifier.value):
        covered = follow(walk.node, key.name)
        if covered is not None:
            raise Refusal(Reason.SORT, path=covered.path, rule="$sort")
        if whole_number(walk.buf, key) not in (1, -1):
            raise Refusal(Reason.SHAPE, path=path, rule="a direction of $sort")


PUSH_MODIFIERS: Final[dict[bytes, Rule[Handler]]] = {
    b"$each": encrypted(_each),
    **family("$position $slice", passed(_place)),
    b"$sort": refused(_push_sort, Reason.SORT, "passes by fields that are not covered"),
}


def _pull(walk: Walk, operator: Element) -> None:
    """`$pull` takes a value, operators on the element, or a filter on the sub-document that it is."""
    for argument in elements(walk.buf, operator.value):
        if argument.kind == kinds.OBJECT and target_of(walk, argument.name) is None:
            refuse_misplaced(walk.buf, argument)
    _PULLED(walk, operator)


def _pulled(walk: Walk, operator: Element, argument: Element) -> None:
    del operator
    walk, target = walk.to(Use.FIND), walk.node
    if argument.kind != kinds.OBJECT or is_operator_condition(walk.buf, argument):
        plan_condition(walk, argument, target, FormPlace.ELEMENT)
    elif target.leaf is not None:
        # the server takes a document for conditions on fields, not for a value
        raise Refusal(Reason.BELOW_ENCRYPTED, path=target.path, rule="$pull")
    else:
        plan_element_filter(walk, argument.value)


_PULLED: Final[Handler] = _on_arrays(_pulled)


def _pull_all(walk: Walk, operator: Element, argument: Element) -> None:
    del operator
    inner, items = walk.to(Use.FIND).items(argument)
    for item in items:
        if walk.node.leaf is not None and item.kind != kinds.ARRAY:
            match(inner, item, walk.node, FormPlace.ITEM)
        else:
            plan_value(inner, item, walk.node)


def _pop(walk: Walk, operator: Element, argument: Element) -> None:
    """Takes away the first element or the last: the number says which."""
    del operator
    if whole_number(walk.buf, argument) not in (1, -1):
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule="$pop of neither 1 nor -1")


OPERATORS: Final[dict[bytes, Rule[Handler]]] = {
    **family("$set $setOnInsert", encrypted(_on_covered(_set))),
    b"$unset": passed(_on_covered(_unset)),
    b"$push": encrypted(_on_arrays(_push), "deterministic classes, and sub-documents with covered fields"),
    b"$addToSet": encrypted(_on_arrays(_push), "deterministic classes"),
    b"$pull": encrypted(_pull, "deterministic classes"),
    b"$pullAll": encrypted(_on_arrays(_pull_all), "deterministic classes"),
    b"$pop": passed(_on_arrays(_pop), "deterministic classes"),
    b"$rename": passed(_rename, "between paths with the same classes; else refused [operator]"),
    **family("$inc $mul $min $max $bit $currentDate", refused(_on_covered(_uncovered_only), Reason.OPERATOR)),
}
