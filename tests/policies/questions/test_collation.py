"""Strings under a collation: the order of the table of the Unicode Collation Algorithm 8.0, or nothing."""

import re
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.questions.collation import (
    MARKS,
    PUNCTUATION,
    SIMPLE,
    STRENGTHS,
    collated,
    strength_of,
)

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
