"""Where values stand, and how a frontier goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, Form, Frontier, Window, position_of

BEGINNING = Frontier(7, 1, 2)
ENVELOPES = st.binary(min_size=30, max_size=80)


@given(ENVELOPES, ENVELOPES)
def test_positions_have_the_order_in_which_the_server_sorts_binaries(first: bytes, second: bytes) -> None:
    before = (len(first), first) < (len(second), second)
    assert (position_of(first) < position_of(second)) is before
    assert BEFORE_ALL < position_of(first) < AFTER_ALL


@given(st.lists(ENVELOPES, min_size=3, max_size=3, unique=True))
def test_the_form_goes_by_the_window(envelopes: list[bytes]) -> None:
    low, middle, high = sorted(map(position_of, envelopes))
    opened = Frontier(7, 1, 2, 5, Window(middle, high))
    assert [opened.form(each) for each in (low, middle, high)] == [Form.NEW, Form.MOVING, Form.OLD]
    closed = opened.moving().closed()
    assert [closed.form(each) for each in (low, middle, high)] == [Form.NEW, Form.NEW, Form.OLD]


def test_a_move_begins_with_everything_old_and_ends_with_everything_new() -> None:
    place = position_of(bytes(30))
    assert BEGINNING.form(place) is Form.OLD
    assert not BEGINNING.has_begun
    opened = BEGINNING.opened(AFTER_ALL)
    assert opened.has_begun
    over = opened.moving().closed()
    assert (over.form(place), over.is_over, over.generation) == (Form.NEW, True, 4)
    assert not BEGINNING.is_over


def test_a_window_is_withdrawn_only_before_it_moves() -> None:
    opened = BEGINNING.opened(b"\0")
    back = opened.withdrawn()
    assert (back.window, back.generation) == (BEGINNING.window, 3)
    with pytest.raises(ValueError, match="withdrawn"):
        opened.moving().withdrawn()
    with pytest.raises(ValueError, match="withdrawn"):
        back.withdrawn()


def test_no_step_is_left_out() -> None:
    opened = BEGINNING.opened(b"\0")
    with pytest.raises(ValueError, match="window"):
        opened.opened(b"\1")
    with pytest.raises(ValueError, match="window"):
        BEGINNING.opened(BEFORE_ALL)
    with pytest.raises(ValueError, match="window"):
        opened.closed()
    with pytest.raises(ValueError, match="moves"):
        opened.moving().moving()


@pytest.mark.parametrize(
    "wrong",
    [
        (0, 1, 2),
        (7, 0, 2),
        (7, 2, 2),
        (7, 3, 2),
        (2**32, 1, 2),
        (7, 1, 2, 0),
        (7, 1, 2, 1, Window(b"", b""), True),
    ],
)
def test_numbers_that_no_frontier_has(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"range|later|moves"):
        Frontier(*wrong)  # type: ignore[arg-type]


def test_a_window_does_not_end_before_it_starts() -> None:
    with pytest.raises(ValueError, match="ends"):
        Window(b"b", b"a")


def test_what_meets_a_window() -> None:
    window, nothing = Window(b"b", b"d"), Window(b"b", b"b")
    assert [window.meets([each]) for each in (b"a", b"b", b"c", b"d")] == [False, True, True, False]
    assert (window.meets(None), window.meets([])) == (True, False)
    assert not nothing.meets(None)
    assert not nothing.meets([b"b"])
