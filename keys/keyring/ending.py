"""The end of an old key, step by step: retired, announced for destruction, destroyed; and each step back.

A destruction takes two steps. `announce` writes down from when it is allowed, and `destroy` does it then. In
between, `cancel` and `take_back` undo what was done. Each function takes a key and gives it as it is after
the step; `turning.change_version` writes that into a keyring. All raise KeySettingError KEY_STATE for a key
in another state.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyEvent, KeyState, move, whole_seconds
from sealwire.keys.keyring.record import format_time

DEFAULT_WAIT = timedelta(days=30)
"""Whatever runs once a month has then missed a key that it still needs."""
MINIMUM_WAIT = timedelta(days=1)
"""Less is for an emergency, and has to be confirmed."""


def retire(key: DataKey) -> DataKey:
    """A decrypt-only key then opens nothing any more; nor does an active one that is borrowed.

    Who retires an active key has seen that no policy names its class: what it opened, its lender opens, and
    nothing encrypts for the class any more.
    """
    is_returned = key.lender is not None and key.state is KeyState.ACTIVE
    return move(key, KeyEvent.RETURNED if is_returned else KeyEvent.RETIRED)


def take_back(key: DataKey) -> DataKey:
    """A retired key then decrypts again, and its destruction is off."""
    return move(key, KeyEvent.TAKEN_BACK)


def announce(key: DataKey, now: datetime, wait: timedelta = DEFAULT_WAIT) -> DataKey:
    """A retired key may then be destroyed after `wait`; refused where that was announced already."""
    move(key, KeyEvent.DESTROYED)
    if key.destroy_after is not None:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"version {key.version} of class {key.class_name} waits for its destruction already, after "
            f"{format_time(key.destroy_after)}",
            "sealwire keys destroy --cancel takes that back",
        )
    return replace(key, destroy_after=whole_seconds(now + wait))


def cancel(key: DataKey) -> DataKey:
    """The key then stays retired, without an end. Refused where nothing was announced."""
    _announced(key)
    return replace(key, destroy_after=None)


def destroy(key: DataKey, now: datetime) -> DataKey:
    """The key then has no material. Older copies of the keyring still have it.

    Raises KeySettingError DESTROY_EARLY before the announced time, KEY_STATE where nothing was announced.
    """
    allowed = _announced(key)
    if now < allowed:
        raise KeySettingError(
            KeysReason.DESTROY_EARLY,
            f"version {key.version} of class {key.class_name} is kept until {format_time(allowed)}",
            "wait until then, or take it back: sealwire keys destroy --cancel",
        )
    return move(key, KeyEvent.DESTROYED)


def _announced(key: DataKey) -> datetime:
    move(key, KeyEvent.DESTROYED)
    if key.destroy_after is None:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"no destruction of version {key.version} of class {key.class_name} was announced",
            "sealwire keys destroy announces it, and destroys after the waiting period",
        )
    return key.destroy_after
