"""Tests for sealwire.audit.line."""

import json
from hashlib import sha256
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sealwire.audit.line import (
    FIRST_PREVIOUS,
    MAX_LINE_BYTES,
    MOST,
    Fields,
    NotALine,
    NotNext,
    Tail,
    Tree,
    before,
    canonical,
    leaf_hash,
    read_line,
    write_line,
)
from tests.audit.logs import event

ASCII = st.text(st.characters(max_codepoint=127))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(1 - MOST, MOST - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ASCII, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_it_is_the_form_of_the_library(value: Any) -> None:
    assert canonical(value).encode() == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [1.5, MOST, -MOST, {"ä": 1}, {1: 2}, [b"x"], {"a": [{"b": 2.0}]}, "\ud800"])
def test_what_has_another_form_or_none_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - UnicodeEncodeError is one
        canonical(value)


# One line: its canonical form, its bounds, and what is none.

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_NAMES = st.text(st.characters(codec="ascii"), min_size=1, max_size=10).filter(
    lambda n: n not in ("n", "prev")
)
_INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
_OBJECTS = st.dictionaries(st.text(st.characters(codec="ascii"), max_size=10), _INTEGERS, max_size=3)
_VALUES = _TEXT | st.booleans() | _INTEGERS | st.lists(_TEXT, max_size=3) | _OBJECTS


@given(st.dictionaries(_NAMES, _VALUES, max_size=6), st.integers(0, 2**40))
def test_a_line_has_the_canonical_form_of_the_standard(fields: Fields, number: int) -> None:
    data = write_line(number, FIRST_PREVIOUS, fields)
    whole = {**fields, "n": number, "prev": "0" * 64}
    assert data == rfc8785.dumps(whole) + b"\n"
    line = read_line(data)
    assert (line.number, line.previous, dict(line.fields)) == (number, FIRST_PREVIOUS, whole)


@pytest.mark.parametrize(
    "fields",
    [
        *({"x": 2**53}, {"x": -(2**53)}, {"é": 1}, {"x": "y" * MAX_LINE_BYTES}),
        *({"x": {"y": 2**53}}, {"x": {"é": 1}}),
    ],
)
def test_what_has_no_canonical_form_or_no_end_is_not_written(fields: Fields) -> None:
    with pytest.raises(ValueError, match=r"canonical form|bytes"):
        write_line(0, FIRST_PREVIOUS, fields)


def test_what_utf8_cannot_write_is_replaced() -> None:
    data = write_line(0, FIRST_PREVIOUS, {"x": "a\ud800b"})
    assert read_line(data).fields["x"] == "a?b"


GOOD = write_line(7, leaf_hash(b"x\n"), {"event": "refused", "user": "é"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"[]\n",
        b"7\n",
        GOOD[:-1],
        GOOD[:-2] + b"\n",
        b" " + GOOD,
        GOOD.replace(b'":', b'": ', 1),
        GOOD.replace("é".encode(), b"\\u00e9"),
        GOOD.replace(b'"n":7', b'"n":7.0'),
        GOOD.replace(b'"n":7', b'"n":-7'),
        GOOD.replace(b'"n":7', b'"n":true'),
        GOOD.replace(b'"n":7', b'"m":7'),
        GOOD.replace(b'"prev"', b'"prov"'),
        GOOD.replace(b'"prev":"', b'"prev":"00'),
        json.dumps({"n": 0, "prev": "A" * 64}, separators=(",", ":")).encode() + b"\n",
        json.dumps({"n": 0, "prev": "zz" * 32}, separators=(",", ":")).encode() + b"\n",
        json.dumps({"n": 0, "prev": 1}, separators=(",", ":")).encode() + b"\n",
        b'{"n":0,"n":0,"prev":"' + b"0" * 64 + b'"}\n',
        b"[" * 100_000 + b"\n",
        b"{" + b" " * MAX_LINE_BYTES + b"}\n",
        b'{"n":0,"prev":"' + b"0" * 64 + b'","x":NaN}\n',
        b"\xff\n",
    ],
)
def test_other_bytes_are_no_line(data: bytes) -> None:
    with pytest.raises(NotALine):
        read_line(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_another_byte_gives_another_hash(place: int, change: int) -> None:
    other = bytearray(GOOD)
    other[place] ^= change
    assert leaf_hash(bytes(other)) != leaf_hash(GOOD)


# The tree over lines, held against its definition.


def by_definition(leaves: list[bytes]) -> bytes:
    """The hash of a list of leaf hashes, as RFC 9162 section 2.1.1 has it."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\1" + by_definition(leaves[:half]) + by_definition(leaves[half:])).digest()


def tree_of(leaves: list[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf)
    return tree


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 100, 257])
def test_the_root_is_the_one_of_the_definition(size: int) -> None:
    leaves = [leaf_hash(b"%d\n" % number) for number in range(size)]
    assert tree_of(leaves).root() == by_definition(leaves)


def test_roots_that_certificate_transparency_publishes() -> None:
    assert Tree().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    root = tree_of([leaf_hash(b"")]).root().hex()
    assert root == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


@given(st.integers(0, 70), st.integers(0, 70))
def test_a_tree_goes_on_from_its_peaks(before: int, after: int) -> None:
    leaves = [leaf_hash(b"%d\n" % number) for number in range(before + after)]
    first = tree_of(leaves[:before])
    again, copied = Tree(first.size, first.peaks), first.copy()
    for leaf in leaves[before:]:
        again.append(leaf)
        copied.append(leaf)
    assert again.root() == copied.root() == by_definition(leaves)
    assert first.size == before
    assert again.size == before + after


@pytest.mark.parametrize(
    ("size", "peaks"), [(0, [bytes(32)]), (3, [bytes(32)]), (1, [bytes(31)]), (-1, []), (-1, [bytes(32)])]
)
def test_peaks_that_do_not_fit_are_no_tree(size: int, peaks: list[bytes]) -> None:
    with pytest.raises(ValueError, match="peaks"):
        Tree(size, peaks)


# The end of a log: what may follow on it, and what a file's first line says of the lines before.


def behind(lines: int) -> tuple[Tail, bytes]:
    """The tail behind so many lines, and the last of them."""
    tail, data = Tail(), b""
    for number in range(lines):
        data = tail.written(event(number))
    return tail, data


def test_a_line_that_was_written_can_be_followed() -> None:
    writer, reader = Tail(), Tail()
    for number in range(5):
        reader.follow(writer.written(event(number)))
    assert (reader.size, reader.is_at(writer)) == (5, True)


def test_a_line_that_does_not_follow_changes_nothing() -> None:
    tail, last = behind(5)
    there = tail.copy()
    wrong_number = write_line(6, tail.previous, event(0))
    wrong_previous = write_line(5, bytes(32), event(0))
    for data in (last, wrong_number, wrong_previous):
        with pytest.raises(NotNext):
            tail.follow(data)
    with pytest.raises(NotALine):
        tail.follow(b"{}\n")
    assert tail.is_at(there)


def test_a_copy_goes_its_own_way() -> None:
    tail, _ = behind(3)
    other = tail.copy()
    other.written(event(0))
    assert (tail.size, other.size, tail.is_at(other)) == (3, 4, False)


@pytest.mark.parametrize("lines", [0, 1, 2, 7, 64])
def test_the_first_line_of_a_file_says_what_comes_before_it(lines: int) -> None:
    tail, _ = behind(lines)
    there = tail.copy()
    opened = before(tail.opening({"time": "now"}))
    assert opened.is_at(there)
    assert opened.tree.root() == there.tree.root()


def test_what_does_not_open_a_file() -> None:
    tail, last = behind(3)
    opening = tail.copy().opening({})
    fields = json.loads(opening)
    wrong = [
        last,
        opening.replace(b'"event":"file"', b'"event":"fine"'),
        opening.replace(fields["peaks"].encode(), b"00"),
        opening.replace(fields["peaks"].encode(), b"zz"),
        opening.replace(b'"peaks":"' + fields["peaks"].encode() + b'"', b'"peaks":7'),
        opening.replace(b'"n":3', b'"n":4'),
        opening.replace(fields["prev"].encode(), b"0" * 64),
        Tail(Tree(), b"x" * 32).opening({}),
    ]
    for data in wrong:
        with pytest.raises(NotALine):
            before(data)


def test_a_tail_shows_its_size_only() -> None:
    assert repr(behind(2)[0]) == "Tail(size=2)"
