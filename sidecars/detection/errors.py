"""What keeps a watch or an incident's command from going on. No text has a value of a document."""

from enum import Enum

from sealwire.sidecars.errors import SidecarError


class DetectionReason(Enum):
    """Stable names, for tests and scripts."""

    RULES_FILE = "rules-file"
    SECRET = "secret"  # noqa: S105 - a name
    STATE_FOREIGN = "state-foreign"
    STATE_DAMAGED = "state-damaged"
    STATE_BUSY = "state-busy"
    MISSING = "missing"
    TRANSITION = "transition"
    NOT_WHOLE = "not-whole"
    OUTPUT = "output"
    UNREACHABLE = "unreachable"
    REJECTED = "rejected"


class DetectionError(SidecarError[DetectionReason]):
    """Base of the room."""


class UnusableWatchFile(DetectionError):
    """The file of the rules or a secret that it names is missing or not usable, or a report not writable."""


class StateProblem(DetectionError):
    """The file of alerts and incidents cannot be read or written just now."""


class StateDamaged(StateProblem):
    """The file of alerts and incidents is another program's, or is not what Sealwire wrote."""


class NoSuchRecord(DetectionError):
    """There is no alert or incident of this number."""


class WrongStep(DetectionError):
    """An incident is in a state from which the step does not lead, or something is missing for it."""


class UnprovedLog(DetectionError):
    """The audit log that a report would be made of is not whole."""


class DeliveryFailed(DetectionError):
    """An alert did not reach its target; it is tried again."""
