"""A write of one document in the order of a field of which the server is asked.

The first document that meets the filter has the first value. So the server is asked for that value, the
filter gets a condition that says it, and the sort goes on with the other keys. A write that then finds
nothing is asked about again before it is answered (`sides.ask_again`).
"""

from typing import Final

from sealwire.policies.aggregation.sorting import (
    Among,
    OrderUnknown,
    asked_keys,
    chooses_by_chance,
    direction_of,
    enclosed,
)
from sealwire.policies.aggregation.stage_arguments import plan_sort_key
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.filters.negations import free_name
from sealwire.policies.planning.arguments import given, named_parts
from sealwire.policies.planning.plan import ListPlace, RangeEdit, Replacement
from sealwire.policies.planning.values import is_given, note_comparison
from sealwire.policies.planning.walk import LISTED_BYTES, Walk
from sealwire.policies.questions.asked import ValuesQuestion, ValuesUnknown
from sealwire.policies.questions.ordering import SortOrder
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element

_QUERY: Final = b"query"
"""The one filter that may be missing."""


def check_sorted_write(walk: Walk, statement: dict[bytes, Element], constants: bytes, *, seeds: bool) -> None:
    """Raises Refusal(QUESTION) for what the question, or a filter with one more condition, does not know."""
    asking = walk.draft.asking
    if asking is None:
        raise TypeError("nothing may be asked")
    refused = {
        "an upsert": seeds,
        "multi": is_given(walk.buf, statement.get(b"multi")),
        "a hint": given(statement, b"hint") is not None,
        "a collation": given(statement, b"collation") is not None,
        "variables": constants in statement or b"let" in walk.draft.arguments,
        "other statements in the command": asking.written.count > 0 or bool(asking.namespace),
    }
    for what, is_there in refused.items():
        if is_there:
            raise Refusal(Reason.QUESTION, path=walk.node.path, rule=f"{what} beside a sort by stored values")
    asking.sorts_write = True


def plan_sorted_write(walk: Walk, sort: Element, statement: dict[bytes, Element], filter_name: bytes) -> None:
    """Find the first document by its value; the filter is planned already, and the walk is in the statement.

    Raises Refusal, OrderUnknown. Cost: O(equal values).
    """
    draft, buf = walk.draft, walk.buf
    first, *others = named_parts(buf, sort.value).values()
    asked = asked_keys(walk, [first.name, *(key.name for key in others)])
    (_, node), asking, leaf = asked[0], draft.asking, asked[0][1].leaf
    if asking is None or leaf is None:
        raise TypeError("nothing may be asked")
    if len(asked) > 1 or asked[0][0] != first.name:
        rule = "a write that is sorted by stored values behind another key"
        raise Refusal(Reason.QUESTION, path=node.path, rule=rule)
    for key in others:
        plan_sort_key(walk, key)
    note_comparison(draft, node)
    query = given(statement, filter_name)
    if (query is None and (filter_name != _QUERY or filter_name in statement)) or (
        query is not None and query.kind != kinds.OBJECT
    ):
        raise Refusal(Reason.SHAPE, path=node.path, rule="a sorted write without a filter")
    if query is not None and chooses_by_chance(buf, query):
        raise Refusal(
            Reason.QUESTION, path=node.path, rule="a choice by chance beside a sort by stored values"
        )
    part = None if query is None else (query.value, query.end)
    order = SortOrder(direction_of(walk, first) < 0, 1, part)
    question = ValuesQuestion(draft.namespace, node.path, leaf.name, (), order=order)
    try:
        answer = asking.answers.of(question)
    except ValuesUnknown:
        raise OrderUnknown(question, None if part is None else _among(walk, part)) from None
    draft.budget.spend(sum(len(held.stored[1]) + LISTED_BYTES for held in answer.all), len(answer.all))
    if query is None:
        name, offset, parents = filter_name, sort.start, walk.parents
    else:
        inside = walk.within(query.value, walk.node)
        name, offset, parents = free_name(inside, node), query.end - 1, inside.parents
    place = Element(kinds.NULL, name, *[offset] * 3)
    draft.edits.append(RangeEdit([place], node, leaf, answer.all, parents, ListPlace.FIRST, answer.ranks))
    left = b"".join(buf[key.start : key.end] for key in others)
    draft.replacements.append(
        Replacement(sort, walk.parents, b"\x03sort\0" + enclosed(left) if left else b"")
    )


def _among(walk: Walk, part: tuple[int, int]) -> Among:
    start, end = part
    edits = [each for each in walk.draft.edits if start <= each.element.start < end]
    replacements = [each for each in walk.draft.replacements if start <= each.element.start < end]
    return Among(walk.buf, edits, replacements, walk.parents, is_filter=True)
