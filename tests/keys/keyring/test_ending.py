"""The end of a key: each step, each step back, and none out of turn."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.ending import MINIMUM_WAIT, announce, cancel, destroy, retire, take_back
from tests.keys.samples import NOW

OLD = DataKey("a", 1, 1, KeyState.DECRYPT_ONLY, NOW, bytes(range(64)))
DAY = timedelta(days=1)


def reason_of(step: Callable[[], object]) -> KeysReason:
    with pytest.raises(KeySettingError) as caught:
        step()
    assert caught.value.hint
    return caught.value.reason


def test_retiring_keeps_the_material_and_can_be_undone() -> None:
    retired = retire(OLD)
    assert (retired.state, retired.material) == (KeyState.RETIRED, OLD.material)
    assert take_back(retired) == OLD


def test_a_destruction_waits_for_the_day() -> None:
    waiting = announce(retire(OLD), NOW)
    assert waiting.destroy_after == NOW + 30 * DAY
    assert waiting.material == OLD.material
    early = NOW + 30 * DAY - timedelta(seconds=1)
    assert reason_of(lambda: destroy(waiting, early)) is KeysReason.DESTROY_EARLY
    gone = destroy(waiting, NOW + 30 * DAY)
    assert (gone.state, gone.material, gone.destroy_after) == (KeyState.DESTROYED, None, None)


def test_what_was_announced_can_be_taken_back() -> None:
    waiting = announce(retire(OLD), NOW, DAY)
    assert cancel(waiting) == retire(OLD)
    assert take_back(waiting) == OLD


def test_no_step_is_taken_out_of_turn() -> None:
    retired = retire(OLD)
    for step in (
        lambda: announce(OLD, NOW),
        lambda: destroy(OLD, NOW),
        lambda: cancel(OLD),
        lambda: take_back(OLD),
        lambda: retire(retired),
        lambda: destroy(retired, NOW),
        lambda: cancel(retired),
        lambda: announce(announce(retired, NOW), NOW, DAY),
        lambda: destroy(destroy(announce(retired, NOW, 0 * DAY), NOW), NOW),
    ):
        assert reason_of(step) is KeysReason.KEY_STATE


def test_what_is_not_retired_is_to_be_retired_first() -> None:
    steps: tuple[Callable[[], DataKey], ...] = (
        lambda: announce(OLD, NOW),
        lambda: cancel(OLD),
        lambda: destroy(OLD, NOW),
    )
    for step in steps:
        with pytest.raises(KeySettingError) as caught:
            step()
        assert "sealwire keys retire" in caught.value.hint


def test_less_than_a_day_is_an_emergency() -> None:
    assert MINIMUM_WAIT == DAY
