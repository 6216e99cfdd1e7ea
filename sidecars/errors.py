"""The shape of every sidecar's errors, and what keeps a tool from working on the server itself."""

from enum import Enum
from typing import Generic, TypeVar

R = TypeVar("R", bound=Enum)


class SidecarError(Exception, Generic[R]):
    """`reason` has a stable name; `str()` is one line; `hint` is the next step, or empty. Shows no secret."""

    def __init__(self, reason: R, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint


class DirectReason(Enum):
    """Stable names, for tests and scripts."""

    URI = "uri"
    UNREACHABLE = "unreachable"
    DENIED = "denied"
    SEALWIRE = "sealwire"
    NOT_SEALWIRE = "not-sealwire"


class DirectError(SidecarError[DirectReason]):
    """No text holds any part of the connection string: it may be the password."""


class UnusableUri(DirectError):
    """The connection string cannot be read, or leads to Sealwire instead of the server, or past it."""


class ServerUnreachable(DirectError):
    """The server that the connection string names does not answer."""


class ServerDenied(DirectError):
    """The server refuses the login, or a command that is needed to look at its collections."""


class CoverageReason(Enum):
    """Stable names, for tests and scripts."""

    EXTRA = "extra"


class LibraryMissing(SidecarError[CoverageReason]):
    """What judges identifiers is an extra, and not installed."""


# What can be wrong with a backup. Every error has a stable reason and a next step, and shows no value.


class BackupReason(Enum):
    """Stable names of everything that is refused."""

    # settings
    ADDRESS = "address"
    NAME = "name"
    RECIPIENT = "recipient"
    RETENTION = "retention"
    SCHEDULE = "schedule"
    EXTRA_MISSING = "extra-missing"
    # what is there, and what is not
    MISSING = "missing"
    SIDECAR_MISSING = "sidecar-missing"
    EXISTS = "exists"
    LAST_GOOD = "last-good"
    # damage
    NOT_A_BACKUP = "not-a-backup"
    FORMAT_VERSION = "format-version"
    HEADER = "header"
    SIDECAR = "sidecar"
    SIDECAR_OTHER = "sidecar-other"
    TRUNCATED = "truncated"
    ALTERED = "altered"
    TOO_LARGE = "too-large"
    COMPRESSION = "compression"
    ARCHIVE = "archive"
    BSON = "bson"
    MANIFEST = "manifest"
    # keys
    KEY_OTHER = "key-other"
    NO_KEY = "no-key"
    UNSIGNED = "unsigned"
    SIGNATURE = "signature"
    # inside and manifest differ
    MEMBER_MISSING = "member-missing"
    MEMBER_UNKNOWN = "member-unknown"
    CHECKSUM = "checksum"
    COUNT = "count"
    # the store
    STORE_FULL = "store-full"
    STORE_DENIED = "store-denied"
    STORE_UNREACHABLE = "store-unreachable"
    # the server that is read
    SELECTION = "selection"
    SNAPSHOT_REFUSED = "snapshot-refused"
    SNAPSHOT_OLD = "snapshot-old"
    SOURCE_LOST = "source-lost"
    DUMPER = "dumper"
    # the server that is restored into
    RENAME = "rename"
    TARGET_OCCUPIED = "target-occupied"
    TARGET_REFUSED = "target-refused"
    JOURNAL = "journal"
    JOURNAL_OTHER = "journal-other"
    # the transition from plaintext backups
    OVERDUE = "overdue"


class BackupError(SidecarError[BackupReason]):
    """Its base."""


class BackupSettingError(BackupError):
    """An option of a backup command, the address of a store or a policy of retention is not usable."""


class BackupMissing(BackupError):
    """There is no backup of this name, or its sidecar is not beside it."""


class BackupExists(BackupError):
    """A backup of this name is there already; nothing is overwritten."""


class BackupKept(BackupError):
    """A backup is not deleted: there is no other that could be restored in its place."""


class BackupDamaged(BackupError):
    """A backup is not what was sealed: altered, cut short, put together, or not a backup at all."""


class BackupKeyDenied(BackupError):
    """None of the given keys opens this backup."""


class BackupUnsigned(BackupError):
    """A backup is not signed by a key that the caller trusts, or would lose its signature."""


class BackupIncomplete(BackupError):
    """A backup is authentic, but what is inside does not add up to its manifest."""


class StoreUnavailable(BackupError):
    """The place where backups are kept does not answer, refuses access, or is full."""


class SourceFailed(BackupError):
    """The server that is backed up stops answering, or does not offer what was asked for."""


class TargetOccupied(BackupError):
    """The server that is restored into already has collections where the backup's would go."""


class RestoreStopped(BackupError):
    """A restore could not go on; what is in place is said, and a second run continues."""


class PlaintextOverdue(BackupError):
    """Backups that are not encrypted are still there after the end of the transition."""


# What keeps a watch or an incident's command from going on. No text has a value of a document.


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
    """Its base."""


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


# What keeps a person's data from being found or erased. No text shows the person or a value.


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
    """Its base."""


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


# What can be wrong with a LUKS volume. Every error has a stable reason and a next step.


class LuksReason(Enum):
    """Stable names of everything that is refused."""

    SETTING = "setting"
    SECRET_SOURCE = "secret-source"  # noqa: S105 - a reason
    NOT_ROOT = "not-root"
    NO_SYSTEMD = "no-systemd"
    PROGRAM_MISSING = "program-missing"
    DEVICE_MISSING = "device-missing"
    DEVICE_KIND = "device-kind"
    DEVICE_IN_USE = "device-in-use"
    DEVICE_READ_ONLY = "device-read-only"
    DEVICE_NOT_EMPTY = "device-not-empty"
    DEVICE_NOT_LUKS = "device-not-luks"
    SPACE = "space"
    DATA_DIRECTORY = "data-directory"
    DATA_IS_MOUNT = "data-is-mount"
    SERVICE_UNKNOWN = "service-unknown"
    NAME_TAKEN = "name-taken"
    KEY_FILE_PLACE = "key-file-place"
    KEY_WRONG = "key-wrong"
    COMMAND = "command"
    COPY_DIFFERS = "copy-differs"
    NOT_ENCRYPTED = "not-encrypted"
    SERVICE_DOWN = "service-down"
    HEADER_FILE = "header-file"
    HEADER_OTHER = "header-other"
    JOURNAL_MISSING = "journal-missing"
    JOURNAL_PHASE = "journal-phase"
    CONFIRMATION = "confirmation"


class LuksError(SidecarError[LuksReason]):
    """Its base."""


class LuksSettingError(LuksError):
    """A setting of a LUKS volume is malformed, or does not fit this machine."""


class MachineUnfit(LuksError):
    """A program, systemd or a privilege that LUKS volumes need is missing; nothing was changed."""


class DeviceRefused(LuksError):
    """The device or data directory may not be used: not empty, in use, read-only, too small."""


class LuksKeyDenied(LuksError):
    """No key slot of the volume opens with this passphrase or key file."""


class CommandFailed(LuksError):
    """A program of the system failed; its last line is in the message."""


class VerificationFailed(LuksError):
    """A copy, a header backup or a mounted volume is not what it has to be."""


class WrongState(LuksError):
    """The journal of the volume says that this is not the moment for the command."""


class NotConfirmed(LuksError):
    """What would destroy data was not confirmed word for word."""


# What keeps a job from being made, found or carried on.


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
    """Its base."""


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


# What keeps a verification from starting. What is wrong with a server is a finding, not an error.


class TlsCheckReason(Enum):
    """Stable names, for tests and scripts."""

    TARGET = "target"
    TARGET_OPTIONS = "target-options"
    TARGET_LOOKUP = "target-lookup"
    NO_TARGETS = "no-targets"
    AUTHORITIES = "authorities"
    CLIENT_CERTIFICATE = "client-certificate"
    OUTPUT = "output"
    METRICS_ADDRESS = "metrics-address"


class TlsCheckError(SidecarError[TlsCheckReason]):
    """Its base. No text quotes a target, which may hold a password."""


class UnusableTarget(TlsCheckError):
    """A target of `tls verify` is no connection string, https:// URL or HOST:PORT, or its options clash."""


class UnusableFile(TlsCheckError):
    """A file of authorities or the client certificate for `tls verify` is missing or not usable."""


class OutputProblem(TlsCheckError):
    """A report or the metrics of `tls verify` cannot be written, or their address cannot be bound."""


# What stops a Vault set-up. Every error has a stable reason and a next step, and shows no secret.
#
# Errors of the connection and the login are those of sealwire.keys.


class SetupReason(Enum):
    """Stable names, for tests and scripts."""

    NAME = "name"
    PERIOD = "period"
    SHARES = "shares"
    HOLDER = "holder"
    AUTH = "auth"
    NOT_A_TERMINAL = "not-a-terminal"
    ALREADY_INITIALISED = "already-initialised"
    NOT_INITIALISED = "not-initialised"
    SEALED = "sealed"
    SHARE_REFUSED = "share-refused"
    NOT_SET_UP = "not-set-up"
    AGE_MISSING = "age-missing"
    AGE_FAILED = "age-failed"
    FIXED = "fixed"
    OUTPUT = "output"


SET_UP_FIRST = "set it up first: sealwire vault setup"


class VaultSetupError(SidecarError[SetupReason]):
    """Its base."""


class UnusableSetting(VaultSetupError):
    """A name, a period, a number of shares or a holder's public key cannot be used."""


class ServerState(VaultSetupError):
    """The Vault server is sealed, not initialised, initialised already, or not set up."""


class HandOverFailed(VaultSetupError):
    """A share or a credential could not be encrypted or handed over."""


class NotChangeable(VaultSetupError):
    """The Vault server holds another thing of this name, which no set-up may change."""
