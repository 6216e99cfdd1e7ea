"""Cover the values that an update writes, or refuse it.

An update is a replacement document, or operators on paths, or a pipeline.
"""

import re
from collections.abc import Callable, Iterator
from struct import pack
from typing import Final, NamedTuple

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import (
    BESIDE,
    ContextField,
    PathNode,
    follow,
    is_transparent,
    parts_of,
    whole_path,
)
from sealwire.policies.filters import filters
from sealwire.policies.filters.operands import BRANCHES, pass_condition, refuse_misplaced
from sealwire.policies.planning import arguments, values
from sealwire.policies.planning.contexts import (
    NO_FIELDS,
    Contexts,
    context_of,
    fixed_in_document,
    fixed_in_filter,
    unusable,
)
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.plan import FormPlace, Use
from sealwire.policies.planning.rules import Rule, encrypted, family, passed, refused, without_row
from sealwire.policies.planning.trees import same_values
from sealwire.policies.planning.walk import Walk
from sealwire.policies.updates.update_pipelines import plan_update_pipeline
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

# -------------------------------- paths, in which $, $[] and $[id] stand for elements of arrays; arrayFilters

# A number is looked for in bytes at once (`paths.has_dot`).
_DOLLAR: Final = ord("$")

_POSITIONAL: Final = re.compile(rb"\$(\[([a-z][0-9A-Za-z]*)?\])?|\$(ref|id|db)")
"""What may begin with `$` in a path: places in an array, and the fields of a reference."""


def target_of(walk: Walk, path: bytes) -> PathNode | None:
    """The covered node that a path writes to.

    Raises Refusal(SHAPE) for a covered path that the server would take for no path. Cost: O(path).
    """
    found = follow(walk.node, path)
    if found is not None and _DOLLAR in path:
        for part in parts_of(path):
            if part.startswith(b"$") and _POSITIONAL.fullmatch(part) is None:
                raise Refusal(Reason.SHAPE, path=found.path, rule="a path with an odd $")
    return found


def arrays_in(path: bytes) -> int:
    """How many arrays a path leads into by a number or a `$`."""
    return len([part for part in parts_of(path) if is_transparent(part)])


def identifiers_of(walk: Walk, update: int) -> dict[bytes, PathNode | None]:
    """Where in the covered paths the array stands that each `$[id]` of the update's paths goes through.

    Raises Refusal(SHAPE) for one that stands for elements of two arrays.
    """
    found: dict[bytes, PathNode | None] = {}
    for path in _paths_of(walk.buf, update):
        at: PathNode | None = walk.node
        for part in parts_of(path):
            if part.startswith(b"$[") and part.endswith(b"]") and len(part) > 3:
                known = found.setdefault(part[2:-1], at)
                if known is not at:
                    raise Refusal(Reason.SHAPE, rule="an array filter used on different paths")
            # an update's paths lead through a policy's own tree, where each step can be taken by itself
            at = None if at is None else follow(at, part)
    return found


def _paths_of(buf: bytes, update: int) -> Iterator[bytes]:
    for operator in elements(buf, update):
        if operator.kind == kinds.OBJECT:
            for argument in elements(buf, arguments.document_of(operator, operator)):
                yield argument.name


def plan_array_filters(walk: Walk, array_filters: Element, identifiers: dict[bytes, PathNode | None]) -> None:
    """Cover filters whose paths begin with an identifier; `identifiers` says what each stands for.

    Raises Refusal, BsonError.
    """
    contexts = walk.draft.contexts
    if contexts is None:
        _array_filters(walk, array_filters, _Identified(identifiers, NO_FIELDS), {})
        return
    before = contexts.fixed
    contexts.fixed = {field: value for field, value in before.items() if not field[0]}
    try:
        _array_filters(walk, array_filters, _identified(identifiers, contexts), {})
    finally:
        contexts.fixed = before


def fixed_by_array_filters(
    walk: Walk, array_filters: Element, identifiers: dict[bytes, PathNode | None], contexts: Contexts
) -> dict[bytes, bytes]:
    """The contexts that array filters fix by equality, by paths such as `e.patient_id`.

    Raises Refusal(SHAPE) where two of them fix one, as the server rejects two filters of one identifier.
    """
    paths = _identified(identifiers, contexts).paths
    found: dict[bytes, bytes] = {}
    for start in walk.documents(array_filters)[1]:
        for path, value in fixed_in_filter(walk.buf, start, paths).items():
            if path in found:
                raise Refusal(Reason.SHAPE, rule="two array filters for the same elements")
            found[path] = value
    return found


class _Identified(NamedTuple):
    """What identifiers stand for."""

    nodes: dict[bytes, PathNode | None]
    paths: frozenset[bytes]
    """The fields of contexts in their elements, as array filters name them."""


def _identified(identifiers: dict[bytes, PathNode | None], contexts: Contexts) -> _Identified:
    paths = frozenset(
        b"%b.%b" % (identifier, path)
        for identifier, node in identifiers.items()
        if node is not None and contexts.holds(node.path)
        for path in contexts.fields[node.path]
    )
    return _Identified(identifiers, paths)


def _array_filters(walk: Walk, several: Element, known: _Identified, said: dict[bytes, bytes]) -> None:
    """Filters of elements, of which `said` is fixed above them."""
    inner, starts = walk.documents(several)
    for start in starts:
        _array_filter(inner, start, known, said)


def _array_filter(walk: Walk, start: int, known: _Identified, said: dict[bytes, bytes]) -> None:
    inner = walk.inside(start)
    fixed = fixed_in_filter(walk.buf, start, known.paths)
    if len({path.partition(b".")[0] for path in fixed}) > 1:
        # the server rejects it too; copied for each branch, they could be many
        raise Refusal(Reason.SHAPE, rule="an array filter for two identifiers")
    said = said | fixed
    for element in elements(walk.buf, start):
        if element.name in BRANCHES:
            _array_filters(inner, element, known, said)
            continue
        if element.name.startswith(b"$"):
            raise filters.unlisted_operator(element)
        identifier, _, path = element.name.partition(b".")
        if identifier not in known.nodes:
            # the server would refuse it too, but it would have read the value
            raise Refusal(Reason.SHAPE, rule="an array filter that the update does not use")
        node = known.nodes[identifier]
        target = follow(node, path) if node is not None and path else node
        if target is None or node is None:
            pass_condition(walk.buf, element)
        else:
            _on_element(inner, element, node, target, said)


def _on_element(
    walk: Walk, element: Element, node: PathNode, target: PathNode, said: dict[bytes, bytes]
) -> None:
    """A condition on an element at `node`, or on what it holds."""
    contexts, place = walk.draft.contexts, node.path
    if contexts is None or not contexts.holds(place):
        filters.plan_condition(walk, element, target)
        return
    identifier, _, path = element.name.partition(b".")
    prefix = identifier + b"."
    before = contexts.fixed
    contexts.fixed = contexts.entered(
        place, {name: said[prefix + name] for name in contexts.fields[place] if prefix + name in said}
    )
    contexts.fixed = contexts.followed(place, path)
    try:
        filters.plan_condition(walk, element, target)
    finally:
        contexts.fixed = before


# ---------------------------------------------------------------------------------------------------- updates

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
        raise unusable(min(map(whole_path, fields)), "an update by a pipeline")
    found: dict[bytes, bytes] = {}
    if condition is not None and condition.kind == kinds.OBJECT:
        paths = frozenset(map(whole_path, fields))
        found = fixed_in_filter(walk.buf, condition.value, paths, seeds=seeds)
    start = arguments.document_of(update, update)
    before = contexts.fixed, contexts.elements
    contexts.is_as_stored = True
    try:
        if arguments.first_name(walk.buf, start).startswith(b"$"):
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
    return unusable(path, f"{operator.name.decode('utf-8', 'replace')} of a context")


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
    start = arguments.document_of(element, element)
    if not arguments.first_name(walk.buf, start).startswith(b"$"):
        if array_filters is not None:
            raise Refusal(Reason.SHAPE, rule="array filters beside a replacement")
        values.demand_write(walk.draft, walk.node)  # what it does not name goes
        values.plan_document(stored, start, walk.node)
        return
    inner = stored.inside(start)
    for operator in elements(walk.buf, start):
        rule = OPERATORS.get(operator.name)
        if rule is None:
            _check_unknown(walk, operator)
        else:
            try:
                rule.handler(inner.inside(arguments.document_of(operator, operator)), operator)
            except Refusal as refusal:
                raise refusal.within(arguments.operator_name(operator)) from None
    if array_filters is not None and array_filters.kind != kinds.NULL:
        plan_array_filters(walk.to(Use.FIND), array_filters, identifiers_of(walk, start))


def _check_unknown(walk: Walk, operator: Element) -> None:
    """An operator without a row: the server says that it does not know it, if nothing in it is covered.

    Raises Refusal(OPERATOR, UNKNOWN_MODIFIER).
    """
    is_operator = operator.name.startswith(b"$") and operator.kind == kinds.OBJECT
    if not is_operator or any(target_of(walk, part.name) for part in elements(walk.buf, operator.value)):
        raise without_row(operator.name, Reason.UNKNOWN_MODIFIER, OPERATORS, reason=Reason.OPERATOR)
    arguments.check_nested(walk.buf, operator)


_Covered = Callable[[Walk, Element, Element], None]
"""Plans one argument of an operator on a covered path, which is the walk's node: `handler(walk, operator,
argument)`."""


def _on_covered(handler: _Covered) -> Handler:
    """A handler for each argument whose path is covered; the others are only checked."""

    def handle(walk: Walk, operator: Element) -> None:
        for argument in elements(walk.buf, operator.value):
            target = target_of(walk, argument.name)
            if target is None:
                arguments.check_nested(walk.buf, argument)
                continue
            values.demand_write(walk.draft, target)
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
            raise Refusal(Reason.RANDOM_EQUALITY, path=walk.node.path, rule=arguments.operator_name(operator))
        handler(walk, operator, argument)

    return _on_covered(handle)


def _set(walk: Walk, operator: Element, argument: Element) -> None:
    del operator
    arrays = arrays_in(argument.name)
    values.plan_value(walk.in_arrays(arrays) if arrays else walk, argument, walk.node)


def _unset(walk: Walk, operator: Element, argument: Element) -> None:
    """The server ignores the value, which could be one that is stored: nothing goes in its place."""
    del operator
    arguments.check_nested(walk.buf, argument)
    if walk.buf[argument.value : argument.end] not in _USUAL:
        walk.put(argument, kinds.STRING, b"\1\0\0\0\0")


_USUAL: Final = frozenset(
    [b"", b"\1\0\0\0\0", b"\0", b"\1", *(pack(form, flag) for form in ("<i", "<q", "<d") for flag in (0, 1))]
)
"""What most write behind a name in `$unset`, whatever its type: null, "", false, true, 0 and 1."""


def _uncovered_only(walk: Walk, operator: Element, argument: Element) -> None:
    """Operators that compute on the stored value."""
    del argument
    raise Refusal(Reason.OPERATOR, path=walk.node.path, rule=arguments.operator_name(operator))


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
        values.demand_write(walk.draft, covered)
        if covered.leaf is not None and (covered.leaf.per or b"").startswith(BESIDE):
            # the value would move, and the field beside it would stay
            raise Refusal(Reason.CONTEXT, path=covered.path, rule=arguments.operator_name(operator))
        numbered = any(map(is_transparent, (*argument.name.split(b"."), *new_path.split(b"."))))
        # a field whose name is a number may be anything that an element of an array may be
        if source is None or target is None or not same_values(source, target, walk.draft.work) or numbered:
            raise Refusal(Reason.OPERATOR, path=covered.path, rule=arguments.operator_name(operator))


def _push(walk: Walk, operator: Element, argument: Element) -> None:
    """The value that is added, or the `$each` values and the modifiers beside them."""
    if operator.name == b"$addToSet":
        # an element with random ciphertext equals no stored one: the set would grow duplicates
        if walk.node.holds_random:
            raise Refusal(Reason.RANDOM_EQUALITY, path=walk.node.path, rule="$addToSet")
        values.note_comparison(walk.draft, walk.node)
    walk = walk.in_arrays(1)
    if not _has_each(walk.buf, operator, argument):
        values.plan_value(walk, argument, walk.node)
        return
    inner = walk.inside(argument.value)
    for name, modifier in arguments.named_parts(walk.buf, argument.value).items():
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
        return arguments.first_name(buf, argument.value) == b"$each"
    return any(part.name == b"$each" for part in elements(buf, argument.value))


def _each(walk: Walk, modifier: Element) -> None:
    inner = walk.inside(modifier.value)
    for item in arguments.array_items(walk.buf, modifier):
        values.plan_value(inner, item, walk.node)


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
    b"$each": encrypted(_each, named=True),
    **family("$position $slice", passed(_place, named=True)),
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
    if argument.kind != kinds.OBJECT or filters.is_operator_condition(walk.buf, argument):
        filters.plan_condition(walk, argument, target, FormPlace.ELEMENT)
    elif target.leaf is not None:
        # the server takes a document for conditions on fields, not for a value
        raise Refusal(Reason.BELOW_ENCRYPTED, path=target.path, rule="$pull")
    else:
        filters.plan_element_filter(walk, argument.value)


_PULLED: Final[Handler] = _on_arrays(_pulled)


def _pull_all(walk: Walk, operator: Element, argument: Element) -> None:
    del operator
    inner, items = walk.to(Use.FIND).items(argument)
    for item in items:
        if walk.node.leaf is not None and item.kind != kinds.ARRAY:
            values.match(inner, item, walk.node, FormPlace.ITEM)
        else:
            values.plan_value(inner, item, walk.node)


def _pop(walk: Walk, operator: Element, argument: Element) -> None:
    """Takes away the first element or the last: the number says which."""
    del operator
    if whole_number(walk.buf, argument) not in (1, -1):
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule="$pop of neither 1 nor -1")


OPERATORS: Final[dict[bytes, Rule[Handler]]] = {
    **family("$set $setOnInsert", encrypted(_on_covered(_set), named=True)),
    b"$unset": passed(_on_covered(_unset), named=True),
    b"$push": encrypted(
        _on_arrays(_push), "deterministic classes, and sub-documents with covered fields", named=True
    ),
    b"$addToSet": encrypted(_on_arrays(_push), "deterministic classes", named=True),
    b"$pull": encrypted(_pull, "deterministic classes", named=True),
    b"$pullAll": encrypted(_on_arrays(_pull_all), "deterministic classes", named=True),
    b"$pop": passed(_on_arrays(_pop), "deterministic classes", named=True),
    b"$rename": passed(_rename, "between paths with the same classes; else refused [operator]"),
    **family("$inc $mul $currentDate", refused(_on_covered(_uncovered_only), Reason.OPERATOR, named=True)),
    **family("$min $max $bit", refused(_on_covered(_uncovered_only), Reason.OPERATOR)),
}
