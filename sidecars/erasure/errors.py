"""What keeps a person's data from being found or erased. No text shows the person or a value."""

from enum import Enum

from sealwire.sidecars.errors import SidecarError


class ErasureReason(Enum):
    """Stable names, for tests and scripts."""

    CASE = "case"
    HOLD_MISSING = "hold-missing"
    RELEASED = "released"
    DAMAGED = "damaged"


class ErasureError(SidecarError[ErasureReason]):
    """The base."""


class HoldProblem(ErasureError):
    """A hold cannot be placed or released as asked."""


class ErasureDamaged(ErasureError):
    """A file of holds is not what Sealwire wrote."""
