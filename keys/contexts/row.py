"""What a store keeps of the key of one context. The context itself stands nowhere in it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

TAG_BYTES = 16

CLASS_TAG = bytes(TAG_BYTES)
"""The tag of a class's own row, whose key makes the tags of all its contexts."""


@dataclass(frozen=True, slots=True)
class ContextRow:
    """The key of one context, wrapped. Shows ids, never material."""

    key_id: bytes
    """16 random bytes, which stand in every envelope of the context and say nothing of it."""
    class_id: int
    tag: bytes | None = field(repr=False)
    """16 bytes that only a holder of the class's key can make of the context; CLASS_TAG for the class's own
    row; None once another key may take the place of this one, which was destroyed."""
    wrap_version: int
    """The version of the class's key that wraps it."""
    wrapped: bytes | None = field(repr=False)
    """None exactly when destroyed."""
    created: datetime
    """UTC, whole seconds."""
    shred_after: datetime | None = None
    """When it may be destroyed, if that was announced."""
    destroyed: datetime | None = None
    """When it was."""

    @property
    def is_destroyed(self) -> bool:
        """Whether the key is gone."""
        return self.wrapped is None


def parse_moment(text: object) -> datetime:
    """A time as a store has it, in UTC. Raises ValueError for what is none."""
    if not isinstance(text, str):
        raise ValueError("not a time")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:
        raise ValueError("not a time that there is") from None
