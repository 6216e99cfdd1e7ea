"""The order of stored values, as MongoDB sorts them, and the first of them that a sorted command needs.

A command sorts by the ranks of values instead of the values. Equal values of several types, or in several
forms, share one rank, so that the other keys of the sort decide between their documents.

Source: MongoDB's manual on comparison order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from heapq import nlargest, nsmallest
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import NUMERIC
from sealwire.policies.questions.collation import SIMPLE
from sealwire.policies.questions.conditions import (
    BRACKETS,
    KEYS,
    TEXTS,
    Value,
    alike,
    collated_text,
    finite_value,
    items_of,
)
from sealwire.policies.questions.patterns import Undecided
from sealwire.wire import kinds

MAX_RANKS: Final = 10_000
"""Values that one command sorts by. It has each of them twice, so it takes some 2 MB."""

_FEW: Final = 10
"""If less than one value in so many is wanted, the others are not sorted."""

DISTURBED: Final = b"Sealwire: documents that the command sorts were changed meanwhile"
"""The rank that is no number, behind all others: the server's error quotes it."""

_NUMBERS: Final = BRACKETS[kinds.LONG]

OrderKey = tuple[int, object]
"""Type and value: compares as MongoDB sorts, with the keys of other values."""
_NULL: Final[OrderKey] = BRACKETS[kinds.NULL], 0
_EMPTY: Final[OrderKey] = _NULL[0] - 1, 0
"""An empty array stands before null."""


@dataclass(frozen=True, slots=True)
class SortOrder:
    """That a field's values are asked for to sort by them."""

    is_descending: bool
    enough: int | None
    """How many documents with the first values are enough; None where all are wanted."""
    among: tuple[int, int] | None
    """Where in the message the stages lie that documents pass before; None where all documents count."""
    strength: int = SIMPLE
    """How strong the collation of the command is."""
    takes_arrays: bool = False
    """Whether an array has the place of one of its values, as in a `$sort`."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The ranks of the first values, which are listed in the order of the reply."""

    numbers: tuple[int, ...]
    """The rank of each value: equal values share one."""
    nulls: int | None
    """The rank of null and of missing values; None where they are not wanted."""
    is_cut: bool
    """Whether there are more values."""


def order_key(value: Value, strength: int = SIMPLE) -> OrderKey:
    """Where a stored value stands. Raises Undecided for what servers order in several ways."""
    kind, data = value
    if kind == kinds.NULL:
        return _NULL
    if kind in NUMERIC:
        return _NUMBERS, finite_value(kind, data)
    key = KEYS.get(kind)
    if key is None:
        raise Undecided
    return BRACKETS[kind], collated_text(data, strength) if strength and kind in TEXTS else key(data)


def array_key(array: bytes, order: SortOrder) -> OrderKey:
    """Where an array stands: where its least value does, or its greatest if it descends. Raises Undecided."""
    keys = [order_key(item, order.strength) for item in items_of(array)]
    _check_numbers(keys)
    return (max if order.is_descending else min)(keys, default=_EMPTY)


def first_ranks(
    values: Sequence[tuple[OrderKey, int]], nulls: int | None, order: SortOrder
) -> tuple[Ranks, list[int]]:
    """The ranks that a sorted command needs, and the places of the values that have them.

    Each value comes with a number of documents that it has at least; `nulls` have none. None: all have one.
    Raises Undecided; Refusal(QUESTION) for too many ranks.
    Cost: O(values log values), with few of them wanted O(values).
    """
    keys = [key for key, _ in values]
    _check_numbers(keys)
    counted = values if nulls is None else [*values, (_NULL, nulls)]
    places = _in_order([key for key, _ in counted], order)
    groups: list[list[int]] = []
    before: OrderKey | None = None
    for place in places:
        key = counted[place][0]
        if key != before:
            groups.append([])
        groups[-1].append(place)
        before = key
    counts = [sum(counted[place][1] for place in group) for group in groups]
    wanted = _wanted(counts, order.enough)
    if wanted > MAX_RANKS:
        raise Refusal(Reason.QUESTION, rule=f"a sort by more than {MAX_RANKS} values")
    ranked = {place: rank for rank, group in enumerate(groups[:wanted]) for place in group}
    is_cut = len(ranked) < len(counted)
    null_rank = ranked.pop(len(values), None)
    return Ranks(tuple(ranked.values()), null_rank, is_cut), list(ranked)


def _in_order(keys: list[OrderKey], order: SortOrder) -> list[int]:
    """The places of keys in their order, or of those that may be wanted.

    Null may have no document, each other value has one: so one more than `enough` are taken, and equals.
    """
    first = nlargest if order.is_descending else nsmallest
    if order.enough is None or order.enough >= len(keys) // _FEW:
        among = list(range(len(keys)))
    else:
        last = first(order.enough + 1, keys)[-1]
        is_descending = order.is_descending
        among = [at for at, key in enumerate(keys) if key == last or (key > last) is is_descending]
    return sorted(among, key=keys.__getitem__, reverse=order.is_descending)


def _wanted(counts: Sequence[int], enough: int | None) -> int:
    """How many ranks have so many documents."""
    if enough is None:
        return len(counts)
    documents = 0
    for rank, count in enumerate(counts):
        if documents >= enough:
            return rank
        documents += count
    return len(counts)


def _check_numbers(keys: Sequence[OrderKey]) -> None:
    """Raises Undecided for decimals beside doubles with a fraction: servers round one of them."""
    numbers = [number for bracket, number in keys if bracket == _NUMBERS]
    decimal = next((each for each in numbers if isinstance(each, Decimal)), None)
    if decimal is not None:
        for each in numbers:
            if isinstance(each, float):
                alike(decimal, each)
