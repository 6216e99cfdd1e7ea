"""Conditions below a negation, by the stored values that do not satisfy them.

`{f: {$not: C}}`, `{f: {$nin: [/x/]}}` and `{$nor: [{f: C}]}` let a document in because its values do not
satisfy C. A list of the values that satisfy it would let in a document whose value was stored after the
question. So the list has the values that do not, and a document is let in only if each of its values is in
that list, null or missing. Such a condition is about all values that a path leads to, so it does not fit into
the one on the field: it is put beside that, in the same filter (`plan.Outside`, docs/adr/0054).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.policies.filters.asking import (
    NOTHING_ASKED,
    AskedGroup,
    Groups,
    answer_to,
    asked_among,
    asks_equality,
    is_equality,
    is_null,
    may_ask,
    may_list,
    put_list,
    read_alone,
    read_asked,
    taken_over,
)
from sealwire.policies.planning.arguments import array_items, is_operator_document, named_parts
from sealwire.policies.planning.plan import ListPlace, Outside, RangeEdit, Replacement
from sealwire.policies.planning.rules import Rows
from sealwire.policies.planning.walk import LISTED_BYTES, Walk
from sealwire.policies.questions.asked import AskedOperator
from sealwire.policies.questions.conditions import Asks, HeldValue
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

_NAMES: Final = (b"$and", b"$or", b"$nor")
"""What may hold such a condition; a filter has room for one of each."""
_UNEQUAL: Final = {b"$ne": b"$eq", b"$nin": b"$in"}
_ANY: Final = b"\x10\0\0\0\x04$nin\0\5\0\0\0\0\0"
"""`{$nin: []}`."""


def plan_negated(walk: Walk, element: Element, target: PathNode, rows: Rows) -> frozenset[bytes] | None:
    """Cover what of a condition on a field is negated and needs an answer; the walk is in its filter.

    Returns the names of the operators that this has taken over; None if nothing else is left.
    Raises Refusal, ValuesUnknown. Cost: O(values that do not satisfy).
    """
    asking = walk.draft.asking
    if asking is None or not may_ask(walk, target):
        return NOTHING_ASKED
    is_alone = not is_operator_document(walk.buf, element) and is_equality(walk, element, target)
    if is_alone or element.kind == kinds.REGEX:
        if not asking.is_negated:
            return NOTHING_ASKED
        answer = answer_to(walk, target, (read_alone(walk, element, target),), is_outside=True)
        _put(walk, element, target, answer.each, is_negated=False)
        _satisfy(walk, element)
        return None
    if not is_operator_document(walk.buf, element):
        return NOTHING_ASKED
    inner = walk.within(element.value, target)
    names, kept = named_parts(walk.buf, element.value), NOTHING_ASKED
    if asking.is_negated:
        if _patterns(inner, names.get(b"$in")):
            # one list keeps documents out, and the other one lets them in
            instead = "write the pattern as a condition of its own"
            rule = "a pattern in $in below $nor"
            raise Refusal(Reason.QUESTION, path=target.path, rule=rule, instead=instead)
        taken = _plan_operators(walk, element, inner, names, rows)
        kept = _plan_unequal_below(inner, names)
    else:
        taken = _plan_not(walk, element, inner, names, rows)
        _plan_nin(walk, element, inner, names.get(b"$nin"))
        taken |= _plan_unequal(walk, element, inner, names)
    if not taken:
        return kept
    if taken >= names.keys():
        _satisfy(walk, element)
        return None
    walk.draft.replacements.extend(Replacement(names[name], inner.parents) for name in names if name in taken)
    return taken | kept


def plan_negated_item(walk: Walk, start: int, rows: Rows) -> frozenset[bytes]:
    """Cover `$not`, and patterns in `$nin`, of the operators at `start`, which are on one item of an array.

    An item is one value, so one list says that it does not satisfy: what it may be.
    Returns the names that this has taken over. Raises Refusal, ValuesUnknown.
    """
    if not may_list(walk, walk.node) or asks_equality(walk, walk.node):
        return NOTHING_ASKED
    names = named_parts(walk.buf, start)
    negation, unlisted = names.get(b"$not"), names.get(b"$nin")
    patterns = _patterns(walk, unlisted)
    operators = _negated_operators(walk, negation, rows)
    if patterns and unlisted is not None:
        if not {b"$not", b"$in"}.isdisjoint(names) or len(asked_among(walk, names, rows)) > 1:
            # there is room for one `$not`
            rule = "other operators beside patterns in $nin, in $elemMatch"
            raise Refusal(Reason.QUESTION, path=walk.node.path, rule=rule)
        found = _outside_all(walk, patterns)
        _leave_out(walk, unlisted, patterns)
        place = Element(kinds.NULL, b"", *[unlisted.end] * 3)
    elif operators and negation is not None:
        each = answer_to(walk, walk.node, operators, is_outside=True).each
        found = tuple(dict.fromkeys(held for listed in each for held in listed))
        place = negation
    else:
        return NOTHING_ASKED
    put_list(walk, [place], walk.node, found, ListPlace.ITEM_OUTSIDE)
    return frozenset({b"$not"}) if operators else NOTHING_ASKED


def _negated_operators(walk: Walk, negation: Element | None, rows: Rows) -> tuple[AskedOperator, ...]:
    """What `$not` negates, if it has to be asked for. Raises Refusal."""
    if negation is None:
        return ()
    if negation.kind == kinds.REGEX:
        return (read_alone(walk, negation, walk.node),)
    if negation.kind != kinds.OBJECT:
        return ()
    operators, below = named_parts(walk.buf, negation.value), walk.inside(negation.value)
    groups = asked_among(below, operators, rows)
    _check_alone(below, groups, operators)
    return read_asked(below, groups, operators)


def _check_alone(walk: Walk, groups: Groups, operators: dict[bytes, Element]) -> None:
    """Raises Refusal(QUESTION) if others are negated beside those that are asked for."""
    if groups and taken_over(groups) < operators.keys():
        # either of them may keep a document from being let in
        rule = f"other operators beside {next(iter(groups)).decode()} in $not"
        raise Refusal(Reason.QUESTION, path=walk.node.path, rule=rule)


def _outside_all(walk: Walk, patterns: Sequence[Element]) -> tuple[HeldValue, ...]:
    """The stored values that match none of these."""
    operators: tuple[AskedOperator, ...] = tuple(read_alone(walk, item, walk.node) for item in patterns)
    return answer_to(walk, walk.node, operators, is_outside=True).all


def _leave_out(walk: Walk, listed: Element, patterns: Sequence[Element]) -> None:
    """Take patterns out of a list, because they are covered elsewhere; the walk is around the list."""
    parents = walk.inside(listed.value).parents
    walk.draft.replacements.extend(Replacement(item, parents) for item in patterns)
    if walk.draft.asking is not None:
        walk.draft.asking.removed.update(item.start for item in patterns)


def _satisfy(walk: Walk, element: Element) -> None:
    """Let every value satisfy a condition of which nothing is left.

    If a filter on sub-documents began with an operator, it could be read as one on values.
    """
    walk.put(element, kinds.OBJECT, _ANY)


def _plan_operators(
    walk: Walk, field: Element, inner: Walk, names: dict[bytes, Element], rows: Rows
) -> frozenset[bytes]:
    """The asked operators among `names`, of which each has its own list: another value may satisfy it."""
    groups = asked_among(inner, names, rows)
    if groups:
        answer = answer_to(walk, inner.node, read_asked(inner, groups, names), is_outside=True)
        _put(walk, field, inner.node, answer.each, is_negated=False)
    return taken_over(groups)


def _plan_not(
    walk: Walk, field: Element, inner: Walk, names: dict[bytes, Element], rows: Rows
) -> frozenset[bytes]:
    negation = names.get(b"$not")
    if negation is not None and negation.kind == kinds.OBJECT:
        negated = named_parts(walk.buf, negation.value)
        if len(negated) == 1:
            _plan_nin(walk, field, inner.inside(negation.value), negated.get(b"$in"))
    operators = _negated_operators(inner, negation, rows)
    if not operators:
        return NOTHING_ASKED
    answer = answer_to(walk, inner.node, operators, is_outside=True)
    _put(walk, field, inner.node, answer.each, is_negated=True)
    return frozenset({b"$not"})


def _plan_unequal(
    walk: Walk, field: Element, inner: Walk, names: Mapping[bytes, Element]
) -> frozenset[bytes]:
    """`$ne` and `$nin`, where equality is asked about."""
    taken = _unequal(inner, names)
    for _, operators in taken.values():
        answer = answer_to(walk, inner.node, operators, is_outside=True)
        _put(walk, field, inner.node, answer.each, is_negated=True)
    return frozenset(taken)


def _plan_unequal_below(inner: Walk, names: Mapping[bytes, Element]) -> frozenset[bytes]:
    """The same below a negation: two negations are none, so values that are equal let a document in."""
    taken = _unequal(inner, names)
    if taken and _UNEQUAL.keys() <= names.keys():
        rule, instead = "$ne beside $nin below $nor", "write `$in` with all values, without the negations"
        raise Refusal(Reason.QUESTION, path=inner.node.path, rule=rule, instead=instead)
    for element, operators in taken.values():
        put_list(inner, [element], inner.node, answer_to(inner, inner.node, operators).all, ListPlace.UNEQUAL)
    return frozenset(taken)


def _unequal(
    inner: Walk, names: Mapping[bytes, Element]
) -> dict[bytes, tuple[Element, tuple[AskedOperator, ...]]]:
    """By their names, the operators that have to be asked about, each with the equality that it negates."""
    if not asks_equality(inner, inner.node):
        return {}
    found: dict[bytes, tuple[Element, tuple[AskedOperator, ...]]] = {}
    for name, equal in _UNEQUAL.items():
        element = names.get(name)
        if element is not None and not is_null(inner.buf, element):
            groups = {equal: AskedGroup(Asks.EQUAL, [element])}
            found[name] = element, read_asked(inner, groups, {equal: element})
    return found


def _patterns(walk: Walk, listed: Element | None) -> list[Element]:
    """Patterns in a list on the walk's node, unless all of the list is asked for."""
    if listed is None or listed.kind != kinds.ARRAY or asks_equality(walk, walk.node):
        return []
    return [item for item in array_items(walk.buf, listed) if item.kind == kinds.REGEX]


def _plan_nin(walk: Walk, field: Element, inner: Walk, listed: Element | None) -> None:
    """Take the patterns out of `$nin`, or of `$in` below `$not`: no value may match any of them."""
    patterns = _patterns(inner, listed)
    if listed is None or not patterns:
        return
    _put(walk, field, inner.node, (_outside_all(inner, patterns),), is_negated=True)
    _leave_out(inner, listed, patterns)


def _put(
    walk: Walk,
    field: Element,
    node: PathNode,
    lists: Sequence[tuple[HeldValue, ...]],
    *,
    is_negated: bool,
) -> None:
    """Behind a field of a filter, that some value of it is outside of each list, or that this is not so."""
    if node.leaf is None:
        raise TypeError("a question about no class")
    copies = field.name.count(b".") + 2
    listed = tuple(held for each in lists for held in each)
    made = sum(len(held.stored[1]) for held in listed) + LISTED_BYTES * len(listed)
    walk.draft.budget.spend(made * copies, len(listed) * copies)
    outside = Outside(free_name(walk, node), field.name, tuple(lists), is_negated)
    place = Element(kinds.NULL, b"", field.end, field.end, field.end)
    edit = RangeEdit([place], node, node.leaf, listed, walk.parents, ListPlace.BEYOND, outside)
    walk.draft.edits.append(edit)


def free_name(walk: Walk, node: PathNode) -> bytes:
    """A name that the filter does not have yet, for one more condition. Raises Refusal(QUESTION)."""
    asking, start = walk.draft.asking, walk.parents[-1]
    if asking is None:
        raise TypeError("nothing may be asked")
    if start not in asking.names:
        asking.names[start] = {element.name for element in elements(walk.buf, start)}
    present = asking.names[start]
    for name in _NAMES:
        if name not in present:
            present.add(name)
            return name
    rule = "so many conditions beside others in one filter, without an `$and` around each"
    instead = "put each condition into a document of its own, and all of them into one `$and`"
    raise Refusal(Reason.QUESTION, path=node.path, rule=rule, instead=instead)
