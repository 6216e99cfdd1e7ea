"""Patterns: what is read as the server reads it, what is refused, and what ends at a bound."""

import re
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.questions import ordering
from sealwire.policies.questions.collation import MARKS, PUNCTUATION, SIMPLE, STRENGTHS, collated, strength_of
from sealwire.policies.questions.ordering import Ranks, SortOrder, array_key, first_ranks, order_key
from sealwire.policies.questions.patterns import MAX_PATTERN_BYTES, MAX_TEXT_BYTES, Pattern, Undecided
from tests.policies.questions.test_conditions import value
from tests.support.reasons import raising


@given(
    st.text(st.sampled_from("aAb1 _.^$|-/"), min_size=1, max_size=12),
    st.sampled_from(["", "i", "u", "iu"]),
    st.text(st.sampled_from("aAbB1 _.^$|-/\n\0\x7f"), max_size=12),
)
def test_plain_patterns_find_in_ascii_what_pcre2_finds(pattern: str, options: str, text: str) -> None:
    found = Pattern(pattern.encode(), options.encode())
    assert found._alike is not None
    by_re = found.matches(text.encode())
    found._alike = None
    assert found.matches(text.encode()) is by_re


@pytest.mark.parametrize(
    ("pattern", "options"),
    [("a*", ""), ("a", "m"), ("a", "s"), ("a b", "x"), ("\\d", ""), ("[a]", ""), ("(a)", ""), ("ä", "i")],
)
def test_other_patterns_are_left_to_pcre2(pattern: str, options: str) -> None:
    assert Pattern(pattern.encode(), options.encode())._alike is None


@pytest.mark.parametrize(
    ("pattern", "options", "text", "found"),
    [
        ("^Sab", "", "Sabine", True),
        ("^sab", "", "Sabine", False),
        ("^sab", "i", "Sabine", True),
        ("^sä", "i", "SÄBINE", True),
        ("ine$", "", "Sabine\n", True),
        ("^b", "", "a\nb", False),
        ("^b", "m", "a\nb", True),
        ("a.b", "", "a\nb", False),
        ("a.b", "s", "a\nb", True),
        ("a b # c", "x", "ab", True),
        (r"\d", "", "\u0663", False),
        (r"\w", "", "ä", False),
        (r"^.$", "", "ä", True),
        (r"\Qa.b\E$", "", "a.b", True),
        (r"\Qa.b\E", "", "axb", False),
        (r"\x41", "u", "A", True),
        ("[]a]b", "", "]b", True),
        ("[[:upper:]]", "", "a", False),
        ("(?i:s)ab", "", "Sab", True),
        ("(?<=S)ab", "", "Sab", True),
        (r"(a)\1", "", "aa", True),
        ("", "", "", True),
        ("^a{2}b{1,}$", "", "aab", True),
        ("^a{x,2}{,}$", "", "a{x,2}{,}", True),
        (r"^\{,2}$", "", "{,2}", True),
        ("^[{,2}]$", "", "2", True),
        ("^[\u0431-\u044f]+$", "i", "\u0416\u0411", True),
        ("^[a-\uffff]$", "", "\u1c80", True),
        ("b-\u4e2d", "", "b-\u4e2d", True),
    ],
)
def test_finds_what_the_server_finds(pattern: str, options: str, text: str, found: bool) -> None:
    assert Pattern(pattern.encode(), options.encode()).matches(text.encode()) is found


@pytest.mark.parametrize(
    ("pattern", "options"),
    [
        (b"a", b"g"),
        (b"(*UTF)a", b""),
        (b"(*LIMIT_MATCH=100000000)a", b""),
        (rb"\x{e4}", b""),
        (rb"\u00e4", b""),
        (rb"\p{L}", b""),
        (rb"\X", b""),
        (rb"\C", b""),
        (rb"\K", b""),
        (rb"[\N{U+41}]", b""),
        (b"(?C1)a", b""),
        (b"(?R)", b""),
        (b"a\0b", b""),
        (b"#[\n(?R)]", b"x"),
        (b"(?mx)#[\n(?R)]", b""),
        (b"[\\Q\\E][](?R)", b""),
        (b"[[:](?R)]", b""),
        (b"[[.a.]](?R)", b""),
        (b"(?1)(a)", b""),
        (b"(?(1)a)", b""),
        (b"(?|a)", b""),
        (b"(?<=a+)b", b""),
        (b"(?<=a|bc)d", b""),
        (b"(?<!(?:a{1,2}))b", b""),
        (b"(", b""),
        (b"[a", b""),
        (b"\\", b""),
        (b"\xff", b""),
        ("\U00010d50".encode(), b"i"),
        *((each.encode(), b"i") for each in ("\uab70", "\u1e9e", "\u1fd3", "\ufb05", "[\u1c00-\u1d00]")),
        *((each, b"") for each in (b"a{,2}", b"a{ 1}", b"a{1, 2}", b"a{1 ,}", b"(?:a){\t1,2}")),
        ("a\u2028b".encode(), b"x"),
        (b"(?xx)[a b]", b""),
        (b"a" * (MAX_PATTERN_BYTES + 1), b""),
    ],
)
def test_refuses_what_servers_may_read_differently(pattern: bytes, options: bytes) -> None:
    with raising(Refusal, Reason.PATTERN):
        Pattern(pattern, options)


def test_ends_at_the_bound_of_steps() -> None:
    with pytest.raises(Undecided):
        Pattern(b"(a+)+$", b"").matches(b"a" * 60 + b"b")


@pytest.mark.parametrize(
    "text", [b"a" * (MAX_TEXT_BYTES + 1), b"a\xff", "a\U00010d70".encode(), "\u1fe3".encode()]
)
def test_does_not_decide_on_text_that_servers_may_read_differently(text: bytes) -> None:
    with pytest.raises(Undecided):
        Pattern(b"x", b"i").matches(text)


LITERAL = st.sampled_from(["a", "b", "B", "0", " ", r"\.", r"\d", r"\w", r"\s", ".", "[ab]", "[^a]", "[0-9]"])
PIECES = st.builds("{}{}".format, LITERAL, st.sampled_from(["", "?", "*", "+", "{1,2}", "*?"]))
PATTERNS = st.recursive(
    st.lists(PIECES, max_size=4).map("".join),
    lambda inner: st.builds("{}({}|{}){}".format, PIECES, inner, inner, st.sampled_from(["", "?", "$"])),
    max_leaves=4,
)


@given(PATTERNS, st.sampled_from(["", "i", "m", "s"]), st.text("aAbB0. \n", max_size=12))
def test_agrees_with_another_engine_on_what_both_know(pattern: str, options: str, text: str) -> None:
    flags = re.ASCII | {"": 0, "i": re.I, "m": re.M, "s": re.S}[options]
    found = re.compile(pattern, flags).search(text)
    assert Pattern(pattern.encode(), options.encode()).matches(text.encode()) is (found is not None)


# The order of values, and how many of the first ones a sorted command needs.


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


def ranks(order: SortOrder, *values: Any, nulls: int | None = None) -> tuple[Ranks, list[int]]:
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
    monkeypatch.setattr(ordering, "MAX_RANKS", 3)
    assert len(ranks(ASCENDING, *"abc")[1]) == 3
    assert len(ranks(SortOrder(False, 3, None), *"abcd")[1]) == 3
    with raising(Refusal, Reason.QUESTION):
        ranks(ASCENDING, *"abc", nulls=1)


# Strings under a collation: the order of the table of the Unicode Collation Algorithm 8.0, or nothing.


TABLE = Path(__file__).with_name("allkeys_8.txt")


@cache
def weights() -> dict[str, list[tuple[int, ...]]]:
    """By character its collation elements, of three levels each."""
    found = {}
    for line in TABLE.read_text().splitlines():
        code, _, said = line.partition(";")
        if not line.startswith("#"):
            each = re.findall(r"\[[.*]([0-9A-F]{4})\.([0-9A-F]{4})\.([0-9A-F]{4})\]", said)
            found[chr(int(code, 16))] = [tuple(int(level, 16) for level in element) for element in each]
    return found


def key(text: str, strength: int) -> tuple[list[int], ...]:
    """The sort key of the algorithm, with nothing ignored: the levels one after the other, without zeros."""
    elements = [element for character in text for element in weights()[character]]
    return tuple([element[level] for element in elements if element[level]] for level in range(strength))


def sign(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


# Symbols stand elsewhere in the root collation than in the table.
PLAIN = sorted(set(weights()) - set(MARKS) - set("`^+<=>|~$"))
TEXTS = st.text(st.sampled_from(PLAIN), max_size=4)
ALIKE = st.text(st.sampled_from("aAàÀáÁbB-"), max_size=4)


def test_each_two_characters_compare_as_in_the_table() -> None:
    for strength in STRENGTHS:
        ours = {each: collated(each.encode(), strength) or "" for each in PLAIN}
        for left, right in product(PLAIN, PLAIN):
            wanted = sign(key(left, strength), key(right, strength))
            assert sign(ours[left], ours[right]) == wanted, (left, right, strength)


@given(st.one_of(st.tuples(TEXTS, TEXTS), st.tuples(ALIKE, ALIKE)), st.sampled_from(STRENGTHS))
def test_texts_compare_as_in_the_table(pair: tuple[str, str], strength: int) -> None:
    left, right = pair
    ours = sign(collated(left.encode(), strength), collated(right.encode(), strength))
    assert ours == sign(key(left, strength), key(right, strength))


def test_all_characters_of_the_table_are_known_but_for_symbols() -> None:
    assert len(PLAIN) > 240
    assert set(PUNCTUATION) < set(PLAIN)


@pytest.mark.parametrize("text", ["ß", "æ", "a\u0301", "\u00ad", "a\0b", "1+1", "日", "\ufb01"])
def test_nothing_is_decided_about_other_characters(text: str) -> None:
    assert collated(text.encode(), 1) is None


def test_bytes_that_are_no_text_are_not_decided() -> None:
    assert collated(b"\xff", 1) is None


@pytest.mark.parametrize(
    ("said", "strength"),
    [
        ({"locale": "en"}, 3),
        ({"locale": "en_US", "strength": 2}, 2),
        ({"locale": "en", "strength": 1.0}, 1),
        ({"locale": "simple"}, SIMPLE),
        ({"locale": "sv", "strength": 2}, SIMPLE),
        ({"locale": "en", "strength": 4}, SIMPLE),
        ({"locale": "en", "strength": None}, SIMPLE),
        ({"locale": "en", "strength": 2, "numericOrdering": True}, SIMPLE),
        ({}, SIMPLE),
    ],
)
def test_a_collation_is_known_or_taken_for_none(said: dict[str, Any], strength: int) -> None:
    assert strength_of(said) == strength
