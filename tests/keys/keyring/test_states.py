"""The table of a key's states: what leads where, and that nothing else does."""

from itertools import product

import pytest

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.states import FIRST_STATES, KEY_MOVES, KeyEvent, move
from tests.keys.samples import NOW


def key(state: KeyState) -> DataKey:
    return DataKey("a", 1, 1, state, NOW, None if state is KeyState.DESTROYED else bytes(64))


TABLE = {(before, event): after for before, event, after in KEY_MOVES}


@pytest.mark.parametrize(("before", "event"), list(product(KeyState, KeyEvent)))
def test_a_key_moves_by_the_table_and_in_no_other_way(before: KeyState, event: KeyEvent) -> None:
    if (before, event) in TABLE:
        moved = move(key(before), event)
        assert moved.state is TABLE[before, event]
        assert (moved.material is None) == (moved.state is KeyState.DESTROYED)
        return
    with pytest.raises(KeySettingError) as caught:
        move(key(before), event)
    assert caught.value.reason is KeysReason.KEY_STATE
    assert before.value in str(caught.value)
    assert caught.value.hint


def test_every_state_can_be_reached_and_all_but_one_left() -> None:
    assert {*FIRST_STATES, *TABLE.values()} == set(KeyState)
    assert set(KeyState) - {before for before, _ in TABLE} == {KeyState.DESTROYED}


def test_an_announced_destruction_ends_with_the_state() -> None:
    waiting = DataKey("a", 1, 1, KeyState.RETIRED, NOW, bytes(64), NOW)
    assert move(waiting, KeyEvent.TAKEN_BACK).destroy_after is None
    assert move(waiting, KeyEvent.DESTROYED).destroy_after is None
