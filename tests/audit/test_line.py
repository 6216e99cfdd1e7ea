"""One line: its canonical form, its bounds, and what is none."""

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sealwire.audit.line import (
    FIRST_PREVIOUS,
    MAX_LINE_BYTES,
    Fields,
    NotALine,
    leaf_hash,
    read_line,
    write_line,
)

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
