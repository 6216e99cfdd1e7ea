"""The form of one value; whole commands are in `test_lasting`."""

import pytest

from sealwire.keys.frontier.frontier import AFTER_ALL, Frontier, Window, position_of
from sealwire.keys.frontier.uses import FrontierLost, WindowMet
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.moving.forms import MAX_NAMED, Forms
from sealwire.proxy.session.moving.moves import Moves
from tests.proxy.session.world import class_id_of, data_key, envelope, value_bytes

KIND, VALUE = value_bytes("ann")
OLD = envelope("nhs", "ann")
HERE = position_of(OLD)
KEYRING = Keyring([data_key("nhs"), data_key("nhs", 2, KeyState.PENDING), data_key("visits")])


def forms(start: bytes, end: bytes, keyring: Keyring = KEYRING) -> Forms:
    moves = Moves()
    moves.follow("nhs", Frontier(class_id_of("nhs"), 1, 2, 2, Window(start, end)))
    return Forms(moves, keyring)


def test_before_the_window_it_is_new_and_behind_it_old() -> None:
    past, ahead = forms(HERE + b"\0", HERE + b"\1"), forms(b"", HERE)
    assert past.valid("nhs", OLD, KIND, VALUE) == envelope("nhs", "ann", 2)
    assert ahead.valid("nhs", OLD, KIND, VALUE) == OLD
    assert past.named == ahead.named == {"nhs": frozenset({HERE})}


def test_who_names_very_many_values_uses_any() -> None:
    past = forms(b"\xfe", AFTER_ALL)
    for number in range(MAX_NAMED):
        kind, value = value_bytes(str(number))
        past.valid("nhs", envelope("nhs", str(number)), kind, value)
    assert len(past.named["nhs"] or ()) == MAX_NAMED
    past.valid("nhs", OLD, KIND, VALUE)
    assert past.named == {"nhs": None}


def test_in_the_window_it_waits_and_names_nothing() -> None:
    within = forms(HERE, HERE + b"\0")
    with pytest.raises(WindowMet):
        within.valid("nhs", OLD, KIND, VALUE)
    assert within.named == {}


def test_a_class_that_does_not_move_stays_as_it_is() -> None:
    other = forms(b"", HERE + b"\0")
    assert other.valid("visits", b"any", KIND, VALUE) == b"any"
    assert other.named == {}


def test_a_keyring_without_the_new_key_guesses_nothing() -> None:
    with pytest.raises(FrontierLost):
        forms(HERE + b"\0", HERE + b"\1", Keyring([data_key("nhs")])).valid("nhs", OLD, KIND, VALUE)
