"""The order of values, and how many of the first ones a sorted command needs."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex, Timestamp

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.questions import ordering
from sealwire.policies.questions.ordering import Ranks, SortOrder, first_ranks, order_key
from sealwire.policies.questions.patterns import Undecided
from tests.policies.questions.test_conditions import value

ASCENDING, DESCENDING = SortOrder(False, None, None), SortOrder(True, None, None)
IN_ORDER = [
    float("-inf"),
    Int64(-5),
    0,
    0.5,
    2**40,
    float("inf"),
    "",
    "S",
    "Sa",
    "s",
    "\uffff",
    "\U0001f600",
    b"",
    b"z",
    b"aa",
    Binary(b"aa", 128),
    ObjectId("0" * 24),
    ObjectId("f" * 24),
    False,
    True,
    datetime(1969, 1, 1, tzinfo=UTC),
    datetime(2020, 1, 1, tzinfo=UTC),
    Timestamp(1, 2),
    Timestamp(2, 1),
]
"""As MongoDB sorts them."""


def ranks(order: SortOrder, *values: Any, nulls: int = 0) -> tuple[Ranks, list[int]]:
    counted = [each if isinstance(each, tuple) else (each, 1) for each in values]
    return first_ranks([(order_key(value(each)), amount) for each, amount in counted], nulls, order)


def test_values_stand_as_mongodb_sorts_them() -> None:
    places = list(range(len(IN_ORDER)))
    assert ranks(ASCENDING, *IN_ORDER) == (Ranks(tuple(places), None, False), places)
    assert ranks(DESCENDING, *IN_ORDER) == (Ranks(tuple(places), None, False), places[::-1])


def test_equal_values_share_a_rank() -> None:
    assert ranks(ASCENDING, 7, 5, Int64(5), 5.0, Decimal128("5")) == (
        Ranks((0, 0, 0, 0, 1), None, False),
        [1, 2, 3, 4, 0],
    )


def test_null_and_missing_come_first_or_last() -> None:
    assert ranks(ASCENDING, "a", nulls=2) == (Ranks((1,), 0, False), [0])
    assert ranks(DESCENDING, "a", nulls=2) == (Ranks((0,), 1, False), [0])
    assert ranks(ASCENDING) == (Ranks((), None, False), [])


@pytest.mark.parametrize(
    ("enough", "descending", "found"),
    [
        (1, False, (Ranks((), 0, True), [])),
        (2, False, (Ranks((), 0, True), [])),
        (3, False, (Ranks((1,), 0, True), [1])),
        (6, False, (Ranks((1, 2), 0, False), [1, 0])),
        (99, False, (Ranks((1, 2), 0, False), [1, 0])),
        (1, True, (Ranks((0,), None, True), [0])),
        (2, True, (Ranks((0, 1), None, True), [0, 1])),
        (5, True, (Ranks((0, 1), 2, False), [0, 1])),
    ],
)
def test_the_first_values_are_as_many_as_a_window_needs(
    enough: int, descending: bool, found: tuple[Ranks, list[int]]
) -> None:
    assert ranks(SortOrder(descending, enough, None), ("b", 1), ("a", 3), nulls=2) == found


@pytest.mark.parametrize("odd", [{"a": 1}, [1], Regex("a"), None, float("nan"), Decimal128("NaN")])
def test_what_servers_order_in_several_ways_is_not_ordered(odd: Any) -> None:
    with pytest.raises(Undecided):
        ranks(ASCENDING, odd)


def test_decimals_do_not_stand_beside_doubles_with_a_fraction() -> None:
    with pytest.raises(Undecided):
        ranks(ASCENDING, 0.1, Decimal128("0.1"))


@pytest.mark.plain_core(reason="it lowers a constant")
def test_ranks_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "MAX_RANKS", 3)
    assert len(ranks(ASCENDING, *"abc")[1]) == 3
    assert len(ranks(SortOrder(False, 3, None), *"abcd")[1]) == 3
    with pytest.raises(Refusal) as caught:
        ranks(ASCENDING, *"abc", nulls=1)
    assert caught.value.reason is Reason.QUESTION
