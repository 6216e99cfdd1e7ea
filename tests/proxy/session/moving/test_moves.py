"""Holds that outlast their command, and classes that are followed, lost and forgotten."""

import pytest

from sealwire.keys.frontier.frontier import AFTER_ALL, Frontier, FrontierLost, Uses, Window, WindowMet
from sealwire.proxy.session.moving.moves import GRACE_S, MAX_CURSOR_S, MAX_TRANSACTION_S, Moves

QUIET = Frontier(7, 1, 2)
OPEN = Frontier(7, 1, 2, 2, Window(b"b", b"d"))


@pytest.fixture
def moves() -> Moves:
    made = Moves()
    made.follow("a", QUIET)
    return made


def acknowledged(moves: Moves, name: str = "a") -> int | None:
    uses = moves.classes[name]
    assert isinstance(uses, Uses)
    return uses.acknowledged()


def test_nothing_is_held_where_one_of_several_classes_has_to_wait(moves: Moves) -> None:
    moves.follow("b", OPEN)
    with pytest.raises(WindowMet):
        moves.begin({"a": None, "b": None})
    moves.follow("a", OPEN)
    assert acknowledged(moves) == OPEN.generation


def test_a_class_that_is_lost_is_refused_and_may_be_followed_again(moves: Moves) -> None:
    moves.lose("a")
    with pytest.raises(FrontierLost):
        moves.begin({"a": [b"c"]})
    moves.follow("a", OPEN)
    assert not moves.begin({"a": [b"z"]}).is_empty


def test_an_empty_hold_holds_nothing_up(moves: Moves) -> None:
    assert moves.begin({}).is_empty
    moves.is_current = lambda: False
    assert moves.begin({}).is_empty


def test_a_cursor_is_given_up_when_the_server_has_ended_it(moves: Moves) -> None:
    moves.tick(10.0)
    moves.cursors.keep(b"1", moves.begin({"a": None}))
    moves.follow("a", OPEN)
    moves.tick(10.0 + MAX_CURSOR_S - 1)
    assert acknowledged(moves) is None
    moves.tick(10.0 + MAX_CURSOR_S)
    assert acknowledged(moves) == OPEN.generation
    assert not moves.cursors.has(b"1")


def test_each_sign_of_life_keeps_it_longer(moves: Moves) -> None:
    moves.cursors.keep(b"1", moves.begin({"a": None}))
    moves.tick(1000.0)
    hold = moves.cursors.take(b"1")
    assert hold is not None
    moves.cursors.keep(b"1", hold)
    moves.follow("a", OPEN)
    moves.tick(MAX_CURSOR_S + 1)
    assert acknowledged(moves) is None


def test_all_of_a_transaction_is_held_together(moves: Moves) -> None:
    moves.transactions.keep(b"t", moves.begin({"a": [b"c"]}))
    moves.transactions.keep(b"t", moves.begin({"a": [b"x"]}))
    hold = moves.transactions.take(b"t")
    assert hold is not None
    moves.follow("a", OPEN)
    assert acknowledged(moves) is None
    hold.end()
    assert acknowledged(moves) == OPEN.generation
    uses = moves.classes["a"]
    assert uses is not None
    assert uses.is_idle


def test_what_was_left_is_waited_for_a_while(moves: Moves) -> None:
    for _ in range(2):
        moves.leave(moves.begin({"a": None}))
    moves.follow("a", OPEN)
    moves.tick(GRACE_S - 1)
    assert acknowledged(moves) is None
    moves.tick(GRACE_S)
    assert acknowledged(moves) == OPEN.generation


def test_what_is_adopted_is_held_in_every_class_that_is_followed(moves: Moves) -> None:
    moves.follow("b", OPEN)
    moves.lose("c")
    hold = moves.adopt()
    moves.follow("a", OPEN)
    assert (acknowledged(moves), acknowledged(moves, "b")) == (None, None)
    hold.end()
    assert (acknowledged(moves), acknowledged(moves, "b")) == (2, 2)


def test_a_loss_is_remembered_for_as_long_as_the_server_may_keep_it(moves: Moves) -> None:
    moves.tick(5.0)
    moves.cursors.keep(b"1", moves.begin({"a": None}))
    moves.transactions.keep(b"t", moves.begin({}))
    moves.lose("a")
    moves.forget("a")
    moves.tick(5.0 + MAX_TRANSACTION_S - 1)
    assert moves.transactions.is_lost(b"t")
    moves.tick(5.0 + MAX_TRANSACTION_S)
    assert not moves.transactions.is_lost(b"t")
    assert moves.cursors.is_lost(b"1")
    moves.tick(5.0 + MAX_CURSOR_S)
    assert not moves.cursors.is_lost(b"1")


def test_a_transaction_is_lost_with_the_lease_while_nothing_moves() -> None:
    moves = Moves()
    kept, under_way = moves.begin({}), moves.begin({})
    kept.transaction, under_way.transaction = b"kept", b"under way"
    moves.keep_for(kept, b"")
    moves.lapse()
    moves.leave(under_way)
    assert moves.transactions.is_lost(b"kept")
    assert moves.transactions.is_lost(b"under way")
    assert moves.transactions.is_idle


def test_a_transaction_that_is_open_when_a_class_is_first_followed_may_have_stored_any_value() -> None:
    moves = Moves()
    hold = moves.begin({})
    hold.transaction = b"t"
    moves.keep_for(hold, b"")
    moves.leave(moves.begin({}))
    moves.follow("a", QUIET)
    moves.follow("a", OPEN)
    moves.tick(GRACE_S)
    assert acknowledged(moves) is None
    taken = moves.transactions.take(b"t")
    assert taken is not None
    taken.end()
    assert acknowledged(moves) == OPEN.generation
    assert moves.is_idle


def test_cursors_without_a_mark_are_older_for_a_while_after_a_move(moves: Moves) -> None:
    moves.forget("a")
    assert (moves.marks_cursors, moves.have_begun) == (False, False)
    moves.tick(100.0)
    moves.mark_cursors(60.0)
    moves.mark_cursors(-5.0)
    assert (moves.marks_cursors, moves.have_begun) == (True, True)
    moves.tick(160.0)
    assert (moves.marks_cursors, moves.have_begun) == (False, False)


def test_whether_anything_has_moved(moves: Moves) -> None:
    assert not moves.have_begun
    moves.follow("a", QUIET.opened(AFTER_ALL))
    assert moves.have_begun
