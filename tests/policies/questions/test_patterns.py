"""Patterns: what is read as the server reads it, what is refused, and what ends at a bound."""

import re
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.questions.collation import MARKS, PUNCTUATION, SIMPLE, STRENGTHS, collated, strength_of
from sealwire.policies.questions.patterns import MAX_PATTERN_BYTES, MAX_TEXT_BYTES, Pattern, Undecided
from tests.support.reasons import raising
from tests.support.rows import rows


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


@rows(
    "pattern, options",
    ("a*", ""),
    ("a", "m"),
    ("a", "s"),
    ("a b", "x"),
    ("\\d", ""),
    ("[a]", ""),
    ("(a)", ""),
    ("ä", "i"),
)
def test_other_patterns_are_left_to_pcre2(pattern: str, options: str) -> None:
    assert Pattern(pattern.encode(), options.encode())._alike is None


@rows(
    "pattern, options, text, found",
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
)
def test_finds_what_the_server_finds(pattern: str, options: str, text: str, found: bool) -> None:
    assert Pattern(pattern.encode(), options.encode()).matches(text.encode()) is found


@rows(
    "pattern, options",
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
)
def test_refuses_what_servers_may_read_differently(pattern: bytes, options: bytes) -> None:
    with raising(Refusal, Reason.PATTERN):
        Pattern(pattern, options)


def test_ends_at_the_bound_of_steps() -> None:
    with pytest.raises(Undecided):
        Pattern(b"(a+)+$", b"").matches(b"a" * 60 + b"b")


@rows("text", b"a" * (MAX_TEXT_BYTES + 1), b"a\xff", "a\U00010d70".encode(), "\u1fe3".encode())
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


@rows(
    "said, strength",
    ({"locale": "en"}, 3),
    ({"locale": "en_US", "strength": 2}, 2),
    ({"locale": "en", "strength": 1.0}, 1),
    ({"locale": "simple"}, SIMPLE),
    ({"locale": "sv", "strength": 2}, SIMPLE),
    ({"locale": "en", "strength": 4}, SIMPLE),
    ({"locale": "en", "strength": None}, SIMPLE),
    ({"locale": "en", "strength": 2, "numericOrdering": True}, SIMPLE),
    ({}, SIMPLE),
)
def test_a_collation_is_known_or_taken_for_none(said: dict[str, Any], strength: int) -> None:
    assert strength_of(said) == strength
