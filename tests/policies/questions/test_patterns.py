"""Patterns: what is read as the server reads it, what is refused, and what ends at a bound."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.questions.patterns import MAX_PATTERN_BYTES, MAX_TEXT_BYTES, Pattern, Undecided


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
    with pytest.raises(Refusal) as caught:
        Pattern(pattern, options)
    assert caught.value.reason is Reason.PATTERN


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
