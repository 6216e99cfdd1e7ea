"""What leads a data key from one state to the next: one table, from which the picture in the docs is made.

A class of mode random takes a new key in one step: it is made active. A deterministic class never encrypts
with two keys at once, so that its new key is made pending and becomes active when the data has moved to it.
"""

from dataclasses import replace
from enum import Enum
from typing import Final, NamedTuple

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyState


class KeyEvent(Enum):
    """What changes a key's state. The value is what the picture says."""

    ACTIVATED = "activated"
    """All data has moved to it."""
    CANCELLED = "cancelled"
    """It was made by mistake, and no data has begun to move to it."""
    RENEWED = "pending again"
    """It was cancelled by mistake."""
    REPLACED = "replaced"
    """A newer key of its class is active."""
    RETIRED = "retired"
    """An operator says that nothing needs it any more."""
    RETURNED = "returned"
    """It is borrowed, and its class has no path any more: its lender goes on with it."""
    TAKEN_BACK = "taken back"
    """Something does."""
    DESTROYED = "destroyed"
    """The waiting period is over."""


class KeyMove(NamedTuple):
    """One row of the table."""

    before: KeyState
    event: KeyEvent
    after: KeyState


FIRST_STATES: Final = (KeyState.ACTIVE, KeyState.PENDING)
"""In which a key is made."""

KEY_MOVES: Final = (
    KeyMove(KeyState.PENDING, KeyEvent.ACTIVATED, KeyState.ACTIVE),
    KeyMove(KeyState.PENDING, KeyEvent.CANCELLED, KeyState.RETIRED),
    KeyMove(KeyState.RETIRED, KeyEvent.RENEWED, KeyState.PENDING),
    KeyMove(KeyState.ACTIVE, KeyEvent.REPLACED, KeyState.DECRYPT_ONLY),
    KeyMove(KeyState.DECRYPT_ONLY, KeyEvent.RETIRED, KeyState.RETIRED),
    KeyMove(KeyState.ACTIVE, KeyEvent.RETURNED, KeyState.RETIRED),
    KeyMove(KeyState.RETIRED, KeyEvent.TAKEN_BACK, KeyState.DECRYPT_ONLY),
    KeyMove(KeyState.RETIRED, KeyEvent.DESTROYED, KeyState.DESTROYED),
)

_AFTER: Final = {(before, event): after for before, event, after in KEY_MOVES}
_NEEDED: Final = {event: before for before, event, _ in KEY_MOVES}
_NEXT_STEPS: Final = {
    KeyState.PENDING: "move the data to it first: sealwire migrate reencrypt; or sealwire keys cancel",
    KeyState.ACTIVE: "make a newer key first: sealwire keys rotate",
    KeyState.DECRYPT_ONLY: "retire it first: sealwire keys retire",
    KeyState.RETIRED: "take it back first: sealwire keys retire --undo",
    KeyState.DESTROYED: "its material is gone; a backup of the keyring may still have it",
}


def move(key: DataKey, event: KeyEvent) -> DataKey:
    """`key` after `event`; an announced destruction ends with the state. Raises KeySettingError KEY_STATE."""
    after = _AFTER.get((key.state, event))
    if after is None:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"version {key.version} of class {key.class_name} is {key.state.value}, and only a key that is "
            f"{_NEEDED[event].value} can be {event.value}",
            _NEXT_STEPS[key.state],
        )
    material = None if after is KeyState.DESTROYED else key.material
    return replace(key, state=after, material=material, destroy_after=None, begun_in="")
