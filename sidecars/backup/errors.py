"""What can be wrong with a backup. Every error has a stable reason and a next step, and shows no value."""

from enum import Enum

from sealwire.sidecars.errors import SidecarError


class BackupReason(Enum):
    """Stable names of everything that this room refuses."""

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
    """Base of the room."""


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
