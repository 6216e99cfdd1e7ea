"""Conditions on one value and the order of several: within types, `$mod`, bits, and what cannot be told."""

import math
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.questions import conditions
from sealwire.policies.questions.conditions import (
    MAX_BITS,
    Ranks,
    SortOrder,
    Value,
    among,
    array_key,
    bits,
    compared,
    compared_across,
    first_ranks,
    in_arrays,
    matched,
    modulo,
    order_key,
)
from sealwire.policies.questions.patterns import Undecided
from sealwire.wire.raw_bson import elements
from tests.support.reasons import raising
from tests.support.rows import rows


def value(given: Any) -> Value:
    buf = encode({"": given}, codec_options=CodecOptions(tz_aware=True))
    element = next(elements(buf, 0))
    return element.kind, buf[element.value : element.end]


def holds(operator: str, operand: Any, stored: Any) -> bool:
    return compared(operator.encode(), *value(operand))(*value(stored))


@rows(
    "operand, less, other_types",
    ("b", "a", [1, True, None, Binary(b"a")]),
    ("\U00010000", "\uffff", [b"x"]),
    (2, 1.5, ["1", False]),
    (Int64(2**53 + 1), Int64(2**53), []),
    (2.5, 2, ["2"]),
    (Decimal128("1E+400"), Int64(5), []),
    (math.inf, 1e308, []),
    (True, False, [0, 1]),
    (ObjectId("b" * 24), ObjectId("a" * 24), ["a" * 24]),
    (Timestamp(2, 0), Timestamp(1, 9), [1]),
    (Binary(b"a"), Binary(b""), ["a"]),
    (Binary(b"a", 5), Binary(b"z", 0), []),
)
def test_compares_within_a_type(operand: Any, less: Any, other_types: list[Any]) -> None:
    for stored, sign in ((less, -1), (operand, 0)):
        assert holds("$lt", operand, stored) is (sign < 0)
        assert holds("$lte", operand, stored)
        assert holds("$gte", operand, stored) is (sign == 0)
        assert not holds("$gt", operand, stored)
        assert holds("$gt", stored, operand) is (sign < 0)
    for stored in other_types:
        assert not any(holds(operator, operand, stored) for operator in ("$gt", "$gte", "$lt", "$lte"))


IN_ORDER: list[list[Any]] = [
    [None],
    [-5, Int64(-5), -5.0, Decimal128("-5")],
    [0, -0.0, Decimal128("-0")],
    [2],
    [""],
    ["a"],
    [[], [1], ["zz"], [None]],
    [b"a", Binary(b"a", 0)],
    [Binary(b"a", 5)],
    [ObjectId("a" * 24)],
    [False],
    [True],
    [datetime(1950, 1, 1)],
    [datetime(1970, 1, 1)],
    [Timestamp(1, 1)],
]
"""Values of the types that may be judged; those of one line are equal to an operand of that line."""


def test_an_expression_compares_across_types() -> None:
    flat = [(rank, each) for rank, equals in enumerate(IN_ORDER) for each in equals]
    operands = [(rank, each) for rank, each in flat if each is not None and not isinstance(each, list)]
    for bound, operand in operands:
        for rank, stored in flat:
            found = [
                compared_across(operator, *value(operand))(*value(stored))
                for operator in (b"$lt", b"$lte", b"$gte", b"$gt")
            ]
            assert found == [rank < bound, rank <= bound, rank >= bound, rank > bound], (operand, stored)


@pytest.mark.parametrize("stored", [{"a": 1}, MinKey(), MaxKey(), Regex("a")])
def test_does_not_decide_on_types_without_a_place(stored: Any) -> None:
    with pytest.raises(Undecided):
        compared_across(b"$gt", *value("a"))(*value(stored))


def test_nan_is_a_number_beside_other_types_alone() -> None:
    assert compared_across(b"$lt", *value("a"))(*value(math.nan))
    with pytest.raises(Undecided):
        compared_across(b"$lt", *value(1))(*value(math.nan))


@rows("operand", None, {"a": 1}, [1], MinKey(), MaxKey(), Regex("a"), math.nan, Decimal128("NaN"))
def test_refuses_bounds_without_an_order_within_their_type(operand: Any) -> None:
    with raising(Refusal, Reason.RANGE):
        compared(b"$gt", *value(operand))


@rows(
    "operand, stored",
    (1, math.nan),
    (1, Decimal128("NaN")),
    (Decimal128("0.1"), 0.1),
    (0.1, Decimal128("0.1")),
)
def test_does_not_decide_where_servers_round(operand: Any, stored: Any) -> None:
    with pytest.raises(Undecided):
        holds("$gt", operand, stored)


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.integers(-(2**53), 2**53).map(float),
    st.integers(-(10**20), 10**20).map(lambda number: Decimal128(Decimal(number))),
)


@given(NUMBERS, NUMBERS)
def test_numbers_of_all_types_have_one_order(left: Any, right: Any) -> None:
    plain = [each.to_decimal() if isinstance(each, Decimal128) else each for each in (left, right)]
    assert holds("$lt", right, left) is (plain[0] < plain[1])
    assert holds("$gte", right, left) is (plain[0] >= plain[1])


def test_a_pattern_is_for_strings() -> None:
    found = matched(b"^a", b"")
    assert found(*value("ab"))
    assert not found(*value(Binary(b"ab")))
    with pytest.raises(Undecided):
        found(*value(Regex("^a")))


@rows(
    "divisor, remainder, stored, found",
    (4, 1, 5, True),
    (4, -1, -5, True),
    (4, 3, -5, False),
    (-4, 1, 5, True),
    (4.9, 1, 5.9, True),
    (4, 0, Decimal128("8"), True),
    (4, 0, math.inf, False),
    (4, 0, math.nan, False),
    (4, 0, 1e300, False),
    (4, 0, "8", False),
    (4, 0, Int64(2**62), True),
    (Int64(2**62), Int64(2**53 + 1), Int64(2**53 + 1), True),
    (Int64(2**62), Int64(-(2**53) - 1), Int64(-(2**53) - 1), True),
    (Int64(2**62), Int64(2**53), Int64(2**53 + 1), False),
)
def test_modulo_is_that_of_c(divisor: Any, remainder: Any, stored: Any, found: bool) -> None:
    assert modulo(value(divisor), value(remainder))(*value(stored)) is found


@pytest.mark.parametrize("operands", [(0, 1), (0.5, 1), ("4", 1), (4, None), (math.nan, 1), (4, math.inf)])
def test_refuses_a_modulo_that_the_server_refuses(operands: tuple[Any, Any]) -> None:
    with raising(Refusal, Reason.SHAPE):
        modulo(*map(value, operands))


@rows(
    "operator, positions, stored, found",
    ("$bitsAllSet", [0, 2], 5, True),
    ("$bitsAllSet", [0, 1], 5, False),
    ("$bitsAnySet", [0, 1], 5, True),
    ("$bitsAllClear", [1, 3], 5, True),
    ("$bitsAnyClear", [0, 2], 5, False),
    ("$bitsAllSet", [0, 200], -1, True),
    ("$bitsAnySet", [64], 5, False),
    ("$bitsAllSet", [9], Binary(b"\x00\x02"), True),
    ("$bitsAllClear", [99], Binary(b"\xff"), True),
    ("$bitsAnySet", [7], Binary(b"\x80"), True),
    ("$bitsAllClear", [8, 2**31 - 1], Binary(b"\xff" * 1_000_000, 5), False),
    ("$bitsAllSet", [0], 5.0, True),
    ("$bitsAllClear", [1], 5.5, False),
    ("$bitsAllClear", [0], 1e300, False),
    ("$bitsAllClear", [0], "a", False),
    ("$bitsAllSet", [], 1, True),
    ("$bitsAnySet", [], 1, False),
)
def test_looks_at_bits(operator: str, positions: list[int], stored: Any, found: bool) -> None:
    assert bits(operator.encode(), positions)(*value(stored)) is found


def test_does_not_decide_on_bits_of_decimals_with_a_fraction() -> None:
    with pytest.raises(Undecided):
        bits(b"$bitsAllSet", [0])(*value(Decimal128("5.5")))


def test_bits_of_long_binary_data_are_not_copied() -> None:
    found, stored = bits(b"$bitsAllSet", range(MAX_BITS)), value(Binary(b"\xff" * 1_000_000))
    tracemalloc.start()
    assert found(*stored)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_refuses_bits_without_end() -> None:
    with raising(Refusal, Reason.SHAPE):
        bits(b"$bitsAllSet", range(MAX_BITS + 1))


@rows(
    "operand, equal, others",
    (5, [5, Int64(5), 5.0, Decimal128("5.0")], [6, "5", True, math.nan, [5]]),
    (0.0, [-0.0, 0], [math.nan, None]),
    ("a", ["a"], ["A", b"a", "ab", Regex("a")]),
    (True, [True], [1, False]),
    (b"a", [b"a"], [Binary(b"a", 5), "a"]),
    (Timestamp(1, 1), [Timestamp(1, 1)], [Timestamp(1, 2)]),
    (Regex("^a", "i"), ["Ab"], ["b", 1]),
)
def test_equality_is_that_of_the_server(operand: Any, equal: list[Any], others: list[Any]) -> None:
    test = among([value("no such value"), value(operand)])
    found = [each for each in (*equal, *others) if value(each)[0] != 11 and test(*value(each))]
    assert found == equal


@pytest.mark.parametrize("operand", [None, [1], {"a": 1}, math.nan, MinKey()])
def test_refuses_equality_with_what_is_compared_otherwise(operand: Any) -> None:
    with raising(Refusal, Reason.QUESTION):
        among([value(operand)])


def test_equality_is_not_decided_where_servers_round() -> None:
    with pytest.raises(Undecided):
        among([value(0.1)])(*value(Decimal128("0.1")))


def test_an_array_satisfies_by_an_item_and_not_by_an_item_of_an_item() -> None:
    test = in_arrays(among([value(5)]))
    assert [test(*value(each)) for each in (5, [1, 5], [[5]], [], {"a": 5})] == [
        True,
        True,
        False,
        False,
        False,
    ]


# The order of values, and how many of the first ones a sorted command needs.


ASCENDING, DESCENDING = SortOrder(False, None, None), SortOrder(True, None, None)
AS_SORTED: list[Any] = [
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


def ranks(order: SortOrder, *values: Any, nulls: int | None = None) -> tuple[Ranks, list[int]]:
    counted = [each if isinstance(each, tuple) else (each, 1) for each in values]
    return first_ranks([(order_key(value(each)), amount) for each, amount in counted], nulls, order)


def test_values_stand_as_mongodb_sorts_them() -> None:
    places = list(range(len(AS_SORTED)))
    assert ranks(ASCENDING, *AS_SORTED) == (Ranks(tuple(places), None, False), places)
    assert ranks(DESCENDING, *AS_SORTED) == (Ranks(tuple(places), None, False), places[::-1])


def test_equal_values_share_a_rank() -> None:
    assert ranks(ASCENDING, 7, 5, Int64(5), 5.0, Decimal128("5")) == (
        Ranks((0, 0, 0, 0, 1), None, False),
        [1, 2, 3, 4, 0],
    )


def test_null_and_missing_come_first_or_last() -> None:
    assert ranks(ASCENDING, "a", nulls=2) == (Ranks((1,), 0, False), [0])
    assert ranks(DESCENDING, "a", nulls=2) == (Ranks((0,), 1, False), [0])
    assert ranks(ASCENDING) == (Ranks((), None, False), [])


def test_documents_without_a_value_may_be_none_or_more_than_are_known() -> None:
    assert ranks(ASCENDING, "a", nulls=0) == (Ranks((1,), 0, False), [0])
    assert ranks(SortOrder(False, 2, None), *"cab", nulls=0) == (Ranks((1, 2), 0, True), [1, 2])
    assert ranks(SortOrder(True, 2, None), *"cab", nulls=0) == (Ranks((0, 1), None, True), [0, 2])


def test_an_array_stands_where_one_of_its_values_does() -> None:
    said: list[Any] = [[], [None, "b"], ["b", "a"], ["a"], ["b"]]
    nothing, low, high = order_key(value(None)), order_key(value("a")), order_key(value("b"))
    assert [array_key(value(each)[1], ASCENDING) for each in said[1:]] == [nothing, low, low, high]
    assert [array_key(value(each)[1], DESCENDING) for each in said[1:]] == [high, high, low, high]
    for order in (ASCENDING, DESCENDING):
        assert array_key(value([])[1], order) < nothing < low < high


def test_an_empty_array_stands_beyond_null() -> None:
    for order, found in (
        (ASCENDING, (Ranks((0, 2), 1, False), [1, 0])),
        (DESCENDING, (Ranks((0, 2), 1, False), [0, 1])),
    ):
        assert (
            first_ranks([(order_key(value("a")), 1), (array_key(b"\5\0\0\0\0", order), 1)], 3, order) == found
        )


def test_arrays_of_numbers_that_servers_round_do_not_stand_anywhere() -> None:
    for odd in ([0.1, Decimal128("0.1")], [1.0, float("nan")], [[1]], [{"a": 1}]):
        with pytest.raises(Undecided):
            array_key(value(odd)[1], ASCENDING)


@rows(
    "enough, descending, found",
    (1, False, (Ranks((), 0, True), [])),
    (2, False, (Ranks((), 0, True), [])),
    (3, False, (Ranks((1,), 0, True), [1])),
    (6, False, (Ranks((1, 2), 0, False), [1, 0])),
    (99, False, (Ranks((1, 2), 0, False), [1, 0])),
    (1, True, (Ranks((0,), None, True), [0])),
    (2, True, (Ranks((0, 1), None, True), [0, 1])),
    (5, True, (Ranks((0, 1), 2, False), [0, 1])),
)
def test_the_first_values_are_as_many_as_a_window_needs(
    enough: int, descending: bool, found: tuple[Ranks, list[int]]
) -> None:
    assert ranks(SortOrder(descending, enough, None), ("b", 1), ("a", 3), nulls=2) == found


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), min_size=20, max_size=60),
    st.none() | st.integers(0, 2),
    st.booleans(),
    st.integers(1, 12),
)
def test_the_first_of_many_values_are_those_of_all(
    values: list[tuple[int, int]], nulls: int | None, descending: bool, enough: int
) -> None:
    keyed = [(order_key(value(Int64(each))), count) for each, count in values]
    all_ranks, places = first_ranks(keyed, nulls, SortOrder(descending, None, None))
    counts: dict[int, int] = dict.fromkeys(range(60), 0)
    if all_ranks.nulls is not None:
        counts[all_ranks.nulls] += nulls or 0
    for rank, place in zip(all_ranks.numbers, places, strict=True):
        counts[rank] += keyed[place][1]
    wanted = next(
        rank
        for rank in range(60)
        if sum(counts[each] for each in range(rank)) >= min(enough, sum(counts.values()))
    )
    found, first = first_ranks(keyed, nulls, SortOrder(descending, enough, None))
    number = sum(rank < wanted for rank in all_ranks.numbers)
    assert (found.numbers, first) == (all_ranks.numbers[:number], places[:number])
    has_nulls = all_ranks.nulls is not None and all_ranks.nulls < wanted
    assert found.nulls == (all_ranks.nulls if has_nulls else None)
    assert found.is_cut == (number + has_nulls < len(keyed) + (all_ranks.nulls is not None))


@pytest.mark.parametrize("odd", [{"a": 1}, [1], Regex("a"), float("nan"), Decimal128("NaN")])
def test_what_servers_order_in_several_ways_is_not_ordered(odd: Any) -> None:
    with pytest.raises(Undecided):
        ranks(ASCENDING, odd)


def test_decimals_do_not_stand_beside_doubles_with_a_fraction() -> None:
    with pytest.raises(Undecided):
        ranks(ASCENDING, 0.1, Decimal128("0.1"))


@pytest.mark.plain_core(reason="it lowers a constant")
def test_ranks_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "MAX_RANKS", 3)
    assert len(ranks(ASCENDING, *"abc")[1]) == 3
    assert len(ranks(SortOrder(False, 3, None), *"abcd")[1]) == 3
    with raising(Refusal, Reason.QUESTION):
        ranks(ASCENDING, *"abc", nulls=1)
