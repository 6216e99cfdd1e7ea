"""Cover the values that an update writes, or refuse it.

An update is a replacement document, or operators on paths, or a pipeline. `$`, `$[]` and `$[id]` stand for
array elements, so a path with them covers what the path without them covers.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow, is_transparent, parts_of
from sealwire.policies.file.schema import Mode, PathNode
from sealwire.policies.filters.filters import (
    is_operator_condition,
    pass_condition,
    plan_element_filter,
    plan_operators,
    refuse_misplaced,
)
from sealwire.policies.planning.arguments import (
    Parents,
    array_items,
    check_nested,
    document_of,
    first_name,
    is_operator_document,
    named_parts,
    operator_name,
    printable,
)
from sealwire.policies.planning.documents import plan_document, plan_value
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.plan import Plan, Use
from sealwire.policies.planning.rules import Rule, encrypted, family, passed, refused
from sealwire.policies.planning.trees import same_values
from sealwire.policies.updates.update_pipelines import plan_update_pipeline
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes


@dataclass(slots=True)
class _Update:
    """One update statement: where its array filters' identifiers stand in the covered paths."""

    plan: Plan
    node: PathNode
    identifiers: dict[bytes, PathNode | None] = field(default_factory=dict)


def plan_update(
    plan: Plan, element: Element, node: PathNode, parents: Parents, array_filters: Element | None = None
) -> None:
    """Cover the update `element` (a document or a pipeline). Raises Refusal, BsonError."""
    if element.kind == kinds.ARRAY:
        if array_filters is not None and array_filters.kind != kinds.NULL:
            raise Refusal(Reason.SHAPE, rule="array filters beside a pipeline")
        plan_update_pipeline(plan, element, node, parents)
        return
    start = document_of(element, element)
    if not first_name(plan, start).startswith(b"$"):
        if array_filters is not None:
            raise Refusal(Reason.SHAPE, rule="array filters beside a replacement")
        plan_document(plan, start, node, parents, Use.STORE)
        return
    update = _Update(plan, node)
    inner = (*parents, start)
    for operator in elements(plan.buf, start):
        rule = OPERATORS.get(operator.name)
        if rule is None:
            raise Refusal(Reason.OPERATOR, rule=operator_name(operator))
        arguments = document_of(operator, operator)
        for argument in elements(plan.buf, arguments):
            rule.handler(update, operator, argument, (*inner, arguments))
    if array_filters is not None and array_filters.kind != kinds.NULL:
        _array_filters(update, array_filters, parents)


# A number is looked for in bytes at once (`paths.has_dot`).
_DOLLAR: Final = ord("$")

_POSITIONAL: Final = re.compile(rb"\$(\[([a-z][0-9A-Za-z]*)?\])?|\$(ref|id|db)")
"""What may begin with `$` in a path: places in an array, and the fields of a reference."""


def _target(update: _Update, path: bytes) -> PathNode | None:
    """The covered node a path writes to; remembers what each `$[id]` on the way stands for.

    Raises Refusal(SHAPE) for a covered path that the server would take for no path. Cost: O(path).
    """
    if _DOLLAR not in path:
        return follow(update.node, path)
    found: PathNode | None = update.node
    is_path = True
    for part in parts_of(path):
        if part.startswith(b"$"):
            is_path = is_path and _POSITIONAL.fullmatch(part) is not None
            if part.startswith(b"$[") and part.endswith(b"]") and len(part) > 3:
                known = update.identifiers.setdefault(part[2:-1], found)
                if known is not found:
                    raise Refusal(Reason.SHAPE, rule="an array filter used on different paths")
        # an update's paths lead through a policy's own tree, where each step can be taken by itself
        found = None if found is None else follow(found, part)
    if found is not None and not is_path:
        raise Refusal(Reason.SHAPE, path=found.path, rule="a path with an odd $")
    return found


def _set(update: _Update, operator: Element, argument: Element, parents: Parents) -> None:
    del operator
    target = _target(update, argument.name)
    if target is None:
        check_nested(update.plan, argument)
        return
    into_arrays = len([part for part in parts_of(argument.name) if is_transparent(part)])
    update.plan.arrays += into_arrays
    plan_value(update.plan, argument, target, parents, Use.STORE)
    update.plan.arrays -= into_arrays


def _unset(update: _Update, operator: Element, argument: Element, parents: Parents) -> None:
    """The server ignores the value; one that could be a stored value has no business in clear there."""
    del parents
    target = _target(update, argument.name)
    if target is not None and update.plan.buf[argument.value : argument.end] not in _UNSET_VALUES:
        raise Refusal(Reason.SHAPE, path=target.path, rule=operator_name(operator))
    check_nested(update.plan, argument)


# What drivers and people write behind a name in $unset: null, the empty string, true, false, 1 or 0 of any
# number type but decimal.
_UNSET_VALUES = frozenset(
    [
        b"",
        b"\1\0\0\0\0",
        b"\0",
        b"\1",
        bytes(4),
        b"\1\0\0\0",
        bytes(8),
        b"\1" + bytes(7),
        bytes(6) + b"\xf0\x3f",
    ]
)


def _uncovered_only(update: _Update, operator: Element, argument: Element, parents: Parents) -> None:
    """Operators that compute on the stored value."""
    del parents
    target = _target(update, argument.name)
    if target is not None:
        raise Refusal(Reason.OPERATOR, path=target.path, rule=operator_name(operator))
    check_nested(update.plan, argument)


def _rename(update: _Update, operator: Element, argument: Element, parents: Parents) -> None:
    """Fine between paths with the same coverage: the stored value moves as it is, ciphertext or not."""
    del parents
    if argument.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule="$rename")
    new_path = string_bytes(update.plan.buf, argument)
    source = _target(update, argument.name)
    target = _target(update, new_path)
    covered = source or target
    if covered is None:
        return
    if source is None or target is None or not same_values(source, target):
        raise Refusal(Reason.OPERATOR, path=covered.path, rule=operator_name(operator))
    if any(is_transparent(part) for part in (*argument.name.split(b"."), *new_path.split(b"."))):
        # a field whose name is a number may be anything that an element of an array may be
        raise Refusal(Reason.OPERATOR, path=covered.path, rule=operator_name(operator))


def _array_target(update: _Update, operator: Element, argument: Element) -> PathNode | None:
    target = _target(update, argument.name)
    if target is not None and (target.opaque or (target.leaf and target.leaf.mode is Mode.RANDOM)):
        raise Refusal(Reason.RANDOM_EQUALITY, path=target.path, rule=operator_name(operator))
    return target


def _push(update: _Update, operator: Element, argument: Element, parents: Parents) -> None:
    target = _array_target(update, operator, argument)
    if target is None:
        check_nested(update.plan, argument)
        return
    if operator.name == b"$addToSet" and target.holds_random:
        # an element with random ciphertext equals no stored one: the set would grow duplicates
        raise Refusal(Reason.RANDOM_EQUALITY, path=target.path, rule="$addToSet")
    plan = update.plan
    plan.compares = plan.compares or operator.name == b"$addToSet"
    plan.arrays += 1
    _pushed(plan, operator, argument, target, parents)
    plan.arrays -= 1


def _pushed(plan: Plan, operator: Element, argument: Element, target: PathNode, parents: Parents) -> None:
    """The value that is added, or the `$each` values and the modifiers beside them."""
    if not _has_each(plan, operator, argument):
        plan_value(plan, argument, target, parents, Use.STORE)
        return
    inner = (*parents, argument.value)
    for name, modifier in named_parts(plan, argument.value).items():
        rule = PUSH_MODIFIERS.get(name)
        if rule is None or (operator.name != b"$push" and name != b"$each"):
            raise Refusal(Reason.OPERATOR, path=target.path, rule=operator_name(modifier))
        rule.handler(plan, modifier, target, inner)


def _has_each(plan: Plan, operator: Element, argument: Element) -> bool:
    """Whether an argument brings modifiers: with `$each` in any place, in `$addToSet` in the first.

    Without it the server stores `{$slice: 1}` like any other document.
    """
    if argument.kind != kinds.OBJECT:
        return False
    if operator.name != b"$push":
        return first_name(plan, argument.value) == b"$each"
    return any(part.name == b"$each" for part in elements(plan.buf, argument.value))


def _each(plan: Plan, modifier: Element, target: PathNode, parents: Parents) -> None:
    items = (*parents, modifier.value)
    for item in array_items(plan, modifier):
        plan_value(plan, item, target, items, Use.STORE)


def _place(plan: Plan, modifier: Element, target: PathNode, parents: Parents) -> None:
    """Where in the array, and how much of it is kept: numbers that say nothing of the values."""
    del target, parents
    whole_number(plan, modifier)


def _push_sort(plan: Plan, modifier: Element, target: PathNode, parents: Parents) -> None:
    """Sorting the array is fine when no covered field takes part in the order."""
    del parents
    if modifier.kind != kinds.OBJECT:
        raise Refusal(Reason.SORT, path=target.path, rule="$sort")
    for key in elements(plan.buf, modifier.value):
        covered = follow(target, key.name)
        if covered is not None:
            raise Refusal(Reason.SORT, path=covered.path, rule="$sort")
        if whole_number(plan, key) not in (1, -1):
            raise Refusal(Reason.SHAPE, path=target.path, rule="a direction of $sort")


PUSH_MODIFIERS: dict[bytes, Rule[Callable[[Plan, Element, PathNode, Parents], None]]] = {
    b"$each": encrypted(_each),
    **family("$position $slice", passed(_place)),
    b"$sort": refused(_push_sort, Reason.SORT, "passes by fields that are not covered"),
}


def _pull(update: _Update, operator: Element, argument: Element, parents: Parents) -> None:
    """`$pull` takes a value, operators on the element, or a filter on the sub-document that it is."""
    target = _array_target(update, operator, argument)
    plan = update.plan
    if target is None:
        check_nested(plan, argument)
        if argument.kind == kinds.OBJECT:
            refuse_misplaced(plan, argument)
    elif is_operator_condition(plan, argument):
        plan_operators(plan, argument.value, target, parents)
    elif argument.kind == kinds.OBJECT and target.leaf is not None:
        # the server takes a document for conditions on fields, not for a value
        raise Refusal(Reason.BELOW_ENCRYPTED, path=target.path, rule="$pull")
    elif argument.kind == kinds.OBJECT:
        plan_element_filter(plan, argument.value, target, parents)
    elif argument.kind == kinds.REGEX and target.leaf is not None:
        raise Refusal(Reason.PATTERN, path=target.path, rule="$pull")
    else:
        plan_value(plan, argument, target, parents, Use.MATCH)


def _pull_all(update: _Update, operator: Element, argument: Element, parents: Parents) -> None:
    target = _array_target(update, operator, argument)
    if target is None:
        check_nested(update.plan, argument)
        return
    inner = (*parents, argument.value)
    for item in array_items(update.plan, argument):
        plan_value(update.plan, item, target, inner, Use.MATCH)


def _pop(update: _Update, operator: Element, argument: Element, parents: Parents) -> None:
    """Takes away the first element or the last: the number says which."""
    del parents
    target = _array_target(update, operator, argument)
    if target is None:
        check_nested(update.plan, argument)
    elif whole_number(update.plan, argument) not in (1, -1):
        raise Refusal(Reason.SHAPE, path=target.path, rule="$pop of neither 1 nor -1")


OPERATORS: dict[bytes, Rule[Callable[[_Update, Element, Element, Parents], None]]] = {
    **family("$set $setOnInsert", encrypted(_set)),
    b"$unset": passed(_unset),
    b"$push": encrypted(_push, "deterministic classes, and sub-documents with covered fields"),
    b"$addToSet": encrypted(_push, "deterministic classes"),
    b"$pull": encrypted(_pull, "deterministic classes"),
    b"$pullAll": encrypted(_pull_all, "deterministic classes"),
    b"$pop": passed(_pop, "deterministic classes"),
    b"$rename": passed(_rename, "between paths with the same classes; else refused [operator]"),
    **family("$inc $mul $min $max $bit $currentDate", refused(_uncovered_only, Reason.OPERATOR)),
}


def _array_filters(update: _Update, array_filters: Element, parents: Parents) -> None:
    """Each array filter is a filter whose paths begin with an identifier instead of the array's path."""
    plan = update.plan
    inner = (*parents, array_filters.value)
    for item in array_items(plan, array_filters):
        _array_filter(update, document_of(item, array_filters), inner)


def _array_filter(update: _Update, start: int, parents: Parents) -> None:
    plan = update.plan
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = (*parents, start)
    for element in elements(plan.buf, start):
        if element.name in (b"$and", b"$or", b"$nor"):
            for branch in array_items(plan, element):
                _array_filter(update, document_of(branch, element), (*inner, element.value))
            continue
        if element.name.startswith(b"$"):
            raise Refusal(Reason.OPERATOR, rule=operator_name(element))
        identifier, _, path = element.name.partition(b".")
        if identifier not in update.identifiers:
            # the server would refuse it too, but it would have read the value
            raise Refusal(Reason.SHAPE, rule="an array filter that the update does not use")
        node = update.identifiers[identifier]
        target = follow(node, path) if node is not None and path else node
        if target is None:
            pass_condition(plan, element)
        elif is_operator_document(plan, element):
            plan_operators(plan, element.value, target, inner)
        elif element.kind == kinds.REGEX and target.leaf is not None:
            raise Refusal(Reason.PATTERN, path=target.path, rule=printable(identifier))
        else:
            plan_value(plan, element, target, inner, Use.MATCH)
