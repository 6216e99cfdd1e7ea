"""The errors of sidecars: the class says what kind of trouble it is, and so the exit code.

The reason says which. No text shows a secret, a value, a person or a part of a connection string.
"""

from enum import Enum


class SidecarError(Exception):
    """`reason` has a stable name; `str()` is one line; `hint` is the next step, or empty."""

    def __init__(self, reason: Enum, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint


class Unsound(SidecarError):
    """What is there is not what it has to be.

    - A backup is not what was sealed: altered, cut short, put together, or not a backup at all.
    - A backup is authentic, but what is inside does not add up to its manifest.
    - A backup is not signed by a key that the caller trusts, or would lose its signature.
    - Backups that are not encrypted are still there after the end of the transition.
    - A file of holds, alerts or incidents, a journal, a receipt or a job is not what Sealwire wrote.
    - The audit log that a report would be made of is not whole.
    - A copy, a header backup or a mounted volume is not what it has to be.
    """


class Missing(SidecarError):
    """What a command names is not there.

    - There is no backup, job, alert or incident of this name, or a backup's sidecar is not beside it.
    - No document has the identifier.
    """


class Unavailable(SidecarError):
    """What is needed does not answer, or stops.

    - The server does not answer, does not offer what was asked for, or did not carry a step out.
    - A restore could not go on; what is in place is said, and a second run continues.
    - The Vault server is sealed, not initialised, initialised already, or not set up.
    - The place where backups are kept does not answer, refuses access, or is full.
    - The file of alerts and incidents cannot be read or written just now.
    - What judges identifiers is an extra, and not installed.
    - A program, systemd or a privilege that LUKS volumes need is missing; nothing was changed.
    """


class CannotCreate(SidecarError):
    """What was to be made has no place.

    - A backup of this name, or a collection where a restored one would go, is there already.
    - The device or data directory may not be used: not empty, in use, read-only, too small.
    - A share or a credential could not be encrypted or handed over.
    - The Vault server holds another thing of this name, which no set-up may change.
    - A report or the metrics of `tls verify` cannot be written, or their address cannot be bound.
    """


class Denied(SidecarError):
    """A right, a key or a confirmation is missing.

    - None of the given keys opens this backup, or no key slot of the volume.
    - A backup is not deleted: there is no other that could be restored in its place.
    - What would decrypt or destroy data was not confirmed word for word.
    - The server refuses the login, or a command that is needed to look at its collections.
    - A legal hold stands.
    """


class Unusable(SidecarError):
    """A setting, a file or a step is not usable as things are.

    - An option, a name, the address of a store or a key of a holder is malformed or does not fit.
    - What was asked for does not fit the policy, the collections or the state of a job, or erases too much.
    - The journal of the volume, the file of holds or the incident says that this is not the step to take.
    - A connection string cannot be read, or leads to Sealwire instead of the server, or past it.
    - A target of `tls verify` is no connection string, https:// URL or HOST:PORT, or its options clash.
    - A file of authorities, a client certificate, or a watch's file of rules or a secret is not usable.
    """


class CommandFailed(SidecarError):
    """A program of the system failed; its last line is in the message."""


class DeliveryFailed(SidecarError):
    """An alert did not reach its target; it is tried again."""


class JobTaken(SidecarError):
    """Another process has carried a job on meanwhile."""


# The reasons of each room: stable names, for tests and scripts.


class DirectReason(Enum):
    """Why a server cannot be asked."""

    URI = "uri"
    UNREACHABLE = "unreachable"
    DENIED = "denied"
    SEALWIRE = "sealwire"
    NOT_SEALWIRE = "not-sealwire"


class CoverageReason(Enum):
    """Why fields cannot be judged."""

    EXTRA = "extra"


class BackupReason(Enum):
    """What is wrong with a backup, its store or a server."""

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


class DetectionReason(Enum):
    """What keeps a watch, an alert or an incident from going on."""

    RULES_FILE = "rules-file"
    SECRET = "secret"  # noqa: S105 - a name
    STATE_FOREIGN = "state-foreign"
    STATE_DAMAGED = "state-damaged"
    STATE_BUSY = "state-busy"
    MISSING = "missing"
    TRANSITION = "transition"
    NOT_WHOLE = "not-whole"
    UNREACHABLE = "unreachable"
    REJECTED = "rejected"


class ErasureReason(Enum):
    """What keeps a person's data from being found or erased."""

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


class LuksReason(Enum):
    """What keeps a volume from being encrypted or opened."""

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


class MigrationReason(Enum):
    """What keeps a job from being made, found or carried on."""

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


class TlsCheckReason(Enum):
    """Why a verification cannot start. What is wrong with a server is a finding, and no error."""

    TARGET = "target"
    TARGET_OPTIONS = "target-options"
    TARGET_LOOKUP = "target-lookup"
    NO_TARGETS = "no-targets"
    AUTHORITIES = "authorities"
    CLIENT_CERTIFICATE = "client-certificate"
    OUTPUT = "output"
    METRICS_ADDRESS = "metrics-address"


class SetupReason(Enum):
    """What stops the set-up of a Vault server. Errors of the connection and the login are those of `keys`."""

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
