"""A message in parts: nothing of it depends on where it was cut, and what was taken is gone."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.wire.long_message import SMALL_BYTES, LongMessage, regrouped


def _parts(data: bytes, size: int) -> LongMessage:
    parts = deque(data[start : start + size] for start in range(0, len(data), size))
    return LongMessage(parts, len(data))


@given(st.binary(min_size=8, max_size=60), st.integers(3, 70), st.data())
def test_what_it_holds_does_not_depend_on_the_cuts(data: bytes, size: int, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data) - 3))
    assert _parts(data, size).holds(data[start : start + 3])
    other = draw.draw(st.binary(min_size=3, max_size=3))
    assert _parts(data, size).holds(other) == (other in data)


def test_joined_it_is_in_one_piece_from_then_on() -> None:
    message = _parts(bytes(range(100)), 7)
    whole = message.joined()
    assert whole == bytes(range(100))
    assert list(message.parts) == [whole]
    assert message.joined() is whole
    assert message.head == bytes(range(7))


def test_it_is_complete_when_its_last_part_has_come() -> None:
    message = LongMessage(deque((bytes(30),)), 50)
    assert not message.complete
    message.add(bytes(20))
    assert message.complete
    message.parts.popleft()
    assert message.complete


def test_repr_shows_no_content() -> None:
    assert repr(_parts(b"secret" * 10, 20)) == "LongMessage(size=60, parts=3)"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([5], [5]),
        ([SMALL_BYTES], [SMALL_BYTES]),
        ([4, SMALL_BYTES - 4, 1], [SMALL_BYTES, 1]),
        ([4, 5 * SMALL_BYTES, 3, 2], [5 * SMALL_BYTES + 4, 5]),
        ([SMALL_BYTES - 1, SMALL_BYTES - 1, SMALL_BYTES - 1], [2 * SMALL_BYTES - 2, SMALL_BYTES - 1]),
    ],
)
def test_small_pieces_are_joined_and_taken(sizes: list[int], expected: list[int]) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]
    whole = b"".join(pieces)
    grouped = regrouped(pieces)
    assert [len(piece) for piece in grouped] == expected
    assert b"".join(grouped) == whole
    assert pieces == []


def test_a_piece_that_is_large_enough_is_not_copied() -> None:
    large = bytes(SMALL_BYTES)
    assert regrouped([large])[0] is large
