"""What keeps a job from being made, found or carried on."""

from enum import Enum

from sealwire.sidecars.errors import SidecarError


class MigrationReason(Enum):
    """Stable names, for tests and scripts."""

    NOTHING = "nothing"
    NOT_COVERED = "not-covered"
    STILL_COVERED = "still-covered"
    DETERMINISTIC = "deterministic"
    CONTEXTS = "contexts"
    OBSTACLE = "obstacle"
    OTHER_MOVE = "other-move"
    UNLIKE = "unlike"
    WRONG_TYPE = "wrong-type"
    POLICY_CHANGED = "policy-changed"
    MISSING = "missing"
    DAMAGED = "damaged"
    TAKEN = "taken"
    NOT_CONFIRMED = "not-confirmed"
    UNANSWERED = "unanswered"
    LIFETIME = "lifetime"
    PROXIES = "proxies"
    EARLIER_WORKER = "earlier-worker"
    STILL_NEEDED = "still-needed"


class MigrationError(SidecarError[MigrationReason]):
    """The base."""


class MigrationRefused(MigrationError):
    """What was asked for does not fit the policy, the collections or the state of the job."""


class JobMissing(MigrationError):
    """The server has no job of this name."""


class JobDamaged(MigrationError):
    """The job's document was not written by a holder of the keyring, or is none."""


class JobTaken(MigrationError):
    """Another process has carried the job on meanwhile."""


class DecryptNotConfirmed(MigrationError):
    """The question whether to decrypt was not answered with the collection's name."""


class ServerFailed(MigrationError):
    """The server did not carry a step out, even after some waiting."""
