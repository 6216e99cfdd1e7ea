"""The mark of a store of context keys that moves to another place, or that keys are moved into.

Who has a store open does not learn of the move by itself. So the mark stands in the store, and every store
sees to it: from the moment it is left, no row is made or changed there, and what is not there is not said to
be nowhere, since the other place may have it. One that is being filled is opened by nobody but the mover.
"""

from dataclasses import dataclass
from enum import Enum

from sealwire.keys.errors import KekUnavailable, KeySettingError, KeysReason


class MarkKind(Enum):
    """How a store takes part in a move; one without a mark is in use."""

    ARRIVING = "arriving"
    """Keys are moved into it, and not all are there."""
    LEAVING = "leaving"
    """Its keys are on their way. It may be taken back."""
    LEFT = "left"
    """All of them are at the other place, which is in use."""


@dataclass(frozen=True, slots=True)
class StoreMark:
    """What a store says of its move."""

    kind: MarkKind
    other: str
    """The other place, as a setting would name it."""
    token: str = ""
    """Which move it is: one that was called off does not end a later one."""

    def names(self, kind: MarkKind, other: str) -> bool:
        """Whether it is one of this kind, for this place."""
        return (self.kind, self.other) == (kind, other)

    @property
    def is_closed(self) -> bool:
        """Whether no row may be made or changed any more."""
        return self.kind is not MarkKind.ARRIVING


def require_usable(place: str, mark: StoreMark | None) -> None:
    """For whoever opens a store to use it. Raises KekUnavailable CONTEXTS, KeySettingError CONTEXTS."""
    if mark is None or mark.kind is MarkKind.LEAVING:
        return
    if mark.kind is MarkKind.ARRIVING:
        raise KekUnavailable(
            KeysReason.CONTEXTS,
            f"{place}: keys are being moved here from {mark.other}, and not all have arrived",
            f"go on: sealwire keys move-contexts --contexts {mark.other} --to {place}",
        )
    raise KeySettingError(
        KeysReason.CONTEXTS,
        f"{place}: its keys were moved to {mark.other}",
        f"set keys.contexts to {mark.other}",
    )


def closed(place: str, mark: StoreMark) -> KekUnavailable:
    """What is said where a marked store does not have, or may not keep, what was asked of it."""
    if not mark.is_closed:
        return KekUnavailable(
            KeysReason.CONTEXTS,
            f"{place}: keys are being moved here from {mark.other}",
            "wait for the end of the move",
        )
    return KekUnavailable(
        KeysReason.CONTEXTS,
        f"{place}: its keys move to {mark.other}, and none is made or changed here any more",
        f"when the move is over, set keys.contexts to {mark.other} and restart",
    )
