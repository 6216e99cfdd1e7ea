"""The search for the NUL that ends a name, as either core does it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.wire import nul
from sealwire.wire.nul import find_nul


@pytest.mark.parametrize(
    ("buf", "start", "limit", "found"),
    [
        (b"", 0, 0, -1),
        (b"\0", 0, 1, 0),
        (b"\0", 1, 1, -1),
        (b"name\0", 0, 5, 4),
        (b"name\0", 0, 4, -1),
        (b"\0a\0b", 1, 4, 2),
        (b"a" * 300 + b"\0", 0, 301, 300),
        (b"name", 1, 9, -1),
    ],
)
def test_finds_the_first_one_before_the_limit(buf: bytes, start: int, limit: int, found: int) -> None:
    assert find_nul(buf, start, limit) == found
    assert nul._scan(buf, start, limit) == found


@given(st.binary(max_size=64).map(lambda raw: raw.replace(b"\x01", b"\0")), st.data())
def test_answers_as_find_does(buf: bytes, data: st.DataObject) -> None:
    limit = data.draw(st.integers(0, len(buf) + 2))
    start = data.draw(st.integers(0, limit + 3))
    assert find_nul(buf, start, limit) == buf.find(0, start, limit)
    assert nul._scan(buf, start, limit) == buf.find(0, start, limit)
