"""The form of one value; whole commands are in `test_lasting` and `test_in_clear`."""

import pytest
from bson.decimal128 import Decimal128
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.envelope import binary
from sealwire.keys.errors import KeysReason, UnknownKey
from sealwire.keys.frontier.frontier import (
    AFTER_ALL,
    BEFORE_ALL,
    Frontier,
    FrontierLost,
    Position,
    StoredForm,
    Uses,
    Window,
    WindowMet,
    position_of,
    position_of_plaintext,
    version_of,
)
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.moving.forms import MAX_NAMED, Forms
from sealwire.proxy.session.moving.moves import GRACE_S, MAX_CURSOR_S, MAX_TRANSACTION_S, Moves
from sealwire.wire import kinds
from tests.proxy.session.world import class_id_of, data_key, envelope, value_bytes
from tests.support.reasons import raising

KIND, VALUE = value_bytes("ann")
CLEAR = StoredForm(KIND, VALUE)
OLD = envelope("nhs", "ann")
HERE = position_of(OLD)
HERE_IN_CLEAR = position_of_plaintext(KIND, VALUE)


def keyring(*, old_is_plaintext: bool = False, new_is_plaintext: bool = False) -> Keyring:
    old = data_key("nhs", is_plaintext=old_is_plaintext)
    new = data_key("nhs", 2, KeyState.PENDING, is_plaintext=new_is_plaintext)
    return Keyring([old, new, data_key("visits"), data_key("total", is_plaintext=True)])


KEYRING = keyring()


def forms(start: Position, end: Position, keys: Keyring = KEYRING) -> Forms:
    moves = Moves()
    moves.follow("nhs", Frontier(class_id_of("nhs"), 1, 2, 2, Window(start, end)))
    return Forms(moves, keys)


def sealed(text: str, version: int = 1) -> StoredForm:
    return StoredForm(kinds.BIN_DATA, binary(envelope("nhs", text, version)))


def test_before_the_window_it_is_new_and_behind_it_old() -> None:
    past, ahead = forms(HERE + b"\0", HERE + b"\1"), forms(b"", HERE)
    assert past.valid("nhs", KIND, VALUE) == sealed("ann", 2)
    assert ahead.valid("nhs", KIND, VALUE) == sealed("ann")
    assert past.named == ahead.named == {"nhs": frozenset({HERE})}


def test_a_class_that_is_taken_in_is_clear_behind_the_window() -> None:
    keys = keyring(old_is_plaintext=True)
    past = forms(HERE_IN_CLEAR + b"\0", HERE_IN_CLEAR + b"\1", keys)
    ahead = forms(BEFORE_ALL, HERE_IN_CLEAR, keys)
    assert past.valid("nhs", KIND, VALUE) == sealed("ann", 2)
    assert ahead.valid("nhs", KIND, VALUE) == CLEAR
    assert past.named == ahead.named == {"nhs": frozenset({HERE_IN_CLEAR})}
    assert (past.in_clear, ahead.in_clear) == (0, 1)


def test_a_class_that_is_given_back_is_clear_before_the_window() -> None:
    keys = keyring(new_is_plaintext=True)
    past, ahead = forms(HERE + b"\0", HERE + b"\1", keys), forms(BEFORE_ALL, HERE, keys)
    assert past.valid("nhs", KIND, VALUE) == CLEAR
    assert ahead.valid("nhs", KIND, VALUE) == sealed("ann")
    assert past.named == ahead.named == {"nhs": frozenset({HERE})}
    assert (past.in_clear, ahead.in_clear) == (1, 0)


@given(st.lists(st.text(max_size=3), min_size=3, max_size=8), st.booleans(), st.booleans(), st.data())
def test_whatever_the_frontier_exactly_the_valid_form_is_sent(
    texts: list[str], old_is_plaintext: bool, new_is_plaintext: bool, data: st.DataObject
) -> None:
    keys = keyring(old_is_plaintext=old_is_plaintext, new_is_plaintext=new_is_plaintext)

    def place(text: str) -> Position:
        kind, value = value_bytes(text)
        return position_of_plaintext(kind, value) if old_is_plaintext else position_of(envelope("nhs", text))

    bounds = sorted([BEFORE_ALL, AFTER_ALL, *map(place, texts)])
    ends = st.integers(0, len(bounds) - 1)
    first, last = sorted((data.draw(ends), data.draw(ends)))
    start, end = bounds[first], bounds[last]
    present = forms(start, end, keys)
    for text in texts:
        clear, here = StoredForm(*value_bytes(text)), place(text)
        if start <= here < end:
            with pytest.raises(WindowMet):
                present.valid("nhs", *clear)
        elif here < start:
            expected = clear if new_is_plaintext else sealed(text, 2)
            assert present.valid("nhs", *clear) == expected
        else:
            assert present.valid("nhs", *clear) == (clear if old_is_plaintext else sealed(text))


def test_what_the_class_cannot_hold_is_compared_as_it_is_where_values_are_in_clear() -> None:
    kind, value = value_bytes(Decimal128("1.5"))
    taken_in, given_back = keyring(old_is_plaintext=True), keyring(new_is_plaintext=True)
    # it has no place, so no window holds it up
    within = forms(BEFORE_ALL, AFTER_ALL, taken_in)
    assert within.valid("nhs", kind, value, is_of_class=False) == StoredForm(kind, value)
    assert within.named == {}
    ahead = forms(BEFORE_ALL, BEFORE_ALL, given_back).valid("nhs", kind, value, is_of_class=False)
    assert ahead == version_of(given_back, "nhs").stored(kind, value)


@pytest.mark.parametrize(
    ("keys", "is_clear"),
    [
        (KEYRING, (False, False)),
        (keyring(new_is_plaintext=True), (False, True)),
        (keyring(old_is_plaintext=True), (True, True)),
    ],
    ids=["to a key", "to plaintext", "from plaintext"],
)
def test_what_the_class_cannot_hold_has_a_form_before_and_behind_the_window(
    keys: Keyring, is_clear: tuple[bool, bool]
) -> None:
    """Never in clear where a value of the class would still be under a key."""
    values: tuple[object, ...] = ({}, {"a": 1}, [], True, 7, Decimal128("1"))
    for value in values:
        kind, data = value_bytes(value)
        found = [
            forms(end, end, keys).valid("nhs", kind, data, is_of_class=False)
            for end in (BEFORE_ALL, AFTER_ALL)
        ]
        assert tuple(form == StoredForm(kind, data) for form in found) == is_clear


def test_the_form_of_a_class_that_does_not_move_is_that_of_its_version() -> None:
    other = forms(BEFORE_ALL, HERE + b"\0")
    kind, value = value_bytes(7)
    expected = StoredForm(kinds.BIN_DATA, binary(envelope("visits", 7)))
    assert other.valid("visits", kind, value) == expected
    assert other.valid("total", kind, value) == StoredForm(kind, value)
    assert (other.named, other.in_clear) == ({}, 1)
    assert [other.is_settled(name) for name in ("nhs", "visits", "total")] == [False, True, False]


def test_only_a_class_that_is_all_in_clear_is_asked_for_ranges_as_they_are() -> None:
    taken_in = forms(BEFORE_ALL, BEFORE_ALL, keyring(old_is_plaintext=True))
    assert [taken_in.passes_range(name) for name in ("nhs", "visits", "total")] == [False, False, True]
    assert taken_in.in_clear == 1


def test_a_list_does_not_tell_the_order_of_its_values() -> None:
    texts = [f"{number:03}" for number in range(100)]
    values = [value_bytes(text)[1] for text in texts]
    middle = position_of_plaintext(KIND, values[50])
    taken_in = forms(middle, middle, keyring(old_is_plaintext=True))
    found = taken_in.listed("nhs", [(KIND, value) for value in values])
    assert found == sorted(found)
    ciphertexts = [form for form in found if form.kind == kinds.BIN_DATA]
    assert ciphertexts != [sealed(text, 2) for text in texts[:50]]
    assert set(found) == {*ciphertexts, *(StoredForm(KIND, value) for value in values[50:])}
    # a range counts as one value, and not as one in clear
    assert taken_in.in_clear == 0


def test_who_names_very_many_values_uses_any() -> None:
    past = forms(b"\xfe", AFTER_ALL)
    for number in range(MAX_NAMED):
        past.valid("nhs", *value_bytes(str(number)))
    assert len(past.named["nhs"] or ()) == MAX_NAMED
    past.valid("nhs", KIND, VALUE)
    assert past.named == {"nhs": None}


@pytest.mark.parametrize("old_is_plaintext", [False, True])
def test_in_the_window_it_waits_and_names_nothing(old_is_plaintext: bool) -> None:
    here = HERE_IN_CLEAR if old_is_plaintext else HERE
    within = forms(here, here + b"\0", keyring(old_is_plaintext=old_is_plaintext))
    with pytest.raises(WindowMet):
        within.valid("nhs", KIND, VALUE)
    assert within.named == {}


def test_a_keyring_without_the_new_key_guesses_nothing() -> None:
    for is_plaintext in (False, True):
        keys = Keyring([data_key("nhs", is_plaintext=is_plaintext)])
        here = HERE_IN_CLEAR if is_plaintext else HERE
        with pytest.raises(FrontierLost):
            forms(here + b"\0", here + b"\1", keys).valid("nhs", KIND, VALUE)


@pytest.mark.parametrize("keys", [keyring(old_is_plaintext=True), keyring(new_is_plaintext=True)])
def test_without_a_lease_nothing_is_guessed(keys: Keyring) -> None:
    moves = Moves()
    moves.lose("nhs")
    with pytest.raises(FrontierLost):
        Forms(moves, keys).valid("nhs", KIND, VALUE)


def test_a_random_class_never_takes_a_key_that_opens_nothing() -> None:
    present = Forms(Moves(), KEYRING)
    assert present.random_cipher("visits") is KEYRING.cipher_for("visits")
    for name, reason in (("total", KeysReason.NO_ACTIVE_KEY), ("secret", KeysReason.CLASS_UNKNOWN)):
        with raising(UnknownKey, reason):
            present.random_cipher(name)


def test_a_class_with_contexts_says_where_a_value_is_in_clear_and_no_more() -> None:
    keys = keyring(old_is_plaintext=True)
    past = forms(HERE_IN_CLEAR + b"\0", HERE_IN_CLEAR + b"\1", keys)
    ahead, there = forms(BEFORE_ALL, HERE_IN_CLEAR, keys), forms(HERE_IN_CLEAR, AFTER_ALL, keys)
    assert past.clear_form("nhs", KIND, VALUE) is None
    assert ahead.clear_form("nhs", KIND, VALUE) == CLEAR
    assert past.named == ahead.named == {"nhs": frozenset({HERE_IN_CLEAR})}
    assert (past.in_clear, ahead.in_clear) == (0, 1)
    with pytest.raises(WindowMet):
        there.clear_form("nhs", KIND, VALUE)
    # what is no value of the class stands nowhere, and one that does not move is in clear
    assert there.clear_form("nhs", KIND, VALUE, is_of_class=False) == CLEAR
    assert there.clear_form("total", KIND, VALUE) == CLEAR
    assert (there.is_moving("nhs"), there.is_moving("total")) == (True, False)


def test_a_class_with_contexts_that_is_put_back_is_in_clear_before_its_envelope_s_place() -> None:
    keys = keyring(new_is_plaintext=True)
    own = b"an envelope of its context"
    here = position_of(own)
    past, ahead = forms(here + b"\0", here + b"\1", keys), forms(BEFORE_ALL, here, keys)
    assert past.clear_form("nhs", KIND, VALUE, own) == CLEAR
    assert ahead.clear_form("nhs", KIND, VALUE, own) is None
    assert past.named == ahead.named == {"nhs": frozenset({here})}
    assert (past.in_clear, ahead.in_clear) == (1, 0)
    with pytest.raises(WindowMet):
        forms(here, AFTER_ALL, keys).clear_form("nhs", KIND, VALUE, own)
    assert past.leaves_envelopes("nhs")
    taken_in = forms(BEFORE_ALL, BEFORE_ALL, keyring(old_is_plaintext=True))
    assert not any(taken_in.leaves_envelopes(name) for name in ("nhs", "total", "visits"))


@pytest.mark.parametrize(
    ("keys", "envelope_there"),
    [
        (keyring(), None),
        (keyring(), b"an envelope"),
        (keyring(new_is_plaintext=True), None),
        (keyring(old_is_plaintext=True), b"an envelope"),
    ],
    ids=["turning", "turning-with", "leaving-without", "taken-in-with"],
)
def test_where_a_value_of_a_class_with_contexts_stands_is_not_guessed(
    keys: Keyring, envelope_there: bytes | None
) -> None:
    with pytest.raises(FrontierLost):
        forms(BEFORE_ALL, BEFORE_ALL, keys).clear_form("nhs", KIND, VALUE, envelope_there)


# Holds that outlast their command, and classes that are followed, lost and forgotten.


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
