"""What keeps a person's data from being found or erased. No text shows the person or a value."""

from enum import Enum

from sealwire.sidecars.errors import SidecarError


class ErasureReason(Enum):
    """Stable names, for tests and scripts."""

    NOBODY = "nobody"
    TOO_MANY = "too-many"
    SHARED = "shared"
    READABLE = "readable"
    CONTEXTS = "contexts"
    VIEW = "view"
    HELD = "held"
    CASE = "case"
    HOLD_MISSING = "hold-missing"
    RELEASED = "released"
    OTHER_ERASURE = "other-erasure"
    DAMAGED = "damaged"
    SERVER = "server"


class ErasureError(SidecarError[ErasureReason]):
    """The base."""


class SubjectMissing(ErasureError):
    """No document has the identifier."""


class ErasureRefused(ErasureError):
    """What was asked for would erase too much or too little, or does not fit the policy."""


class SubjectHeld(ErasureError):
    """A legal hold stands."""


class HoldProblem(ErasureError):
    """A hold cannot be placed or released as asked."""


class ErasureDamaged(ErasureError):
    """A file of holds, a journal or a receipt is not what Sealwire wrote."""


class ErasureFailed(ErasureError):
    """The server did not carry a step out."""
