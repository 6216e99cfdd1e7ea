"""What can be wrong with keys. Every error has a stable reason and a next step, and shows no key material.

KeysError
|- KeySettingError    a setting or an argument is missing or malformed
|- UnsafeFile         a file with secrets is open to others, or not ours
|- DamagedFile        a file is not what Sealwire wrote
|- AlreadyExists      refuses to overwrite
|- KeyringBusy        another process is writing
|- KekUnavailable     a provider does not answer; trying again may help
|- KekDenied          a provider or a share does not give the key-encryption key
|  `- WrongKek        the key-encryption key or passphrase is not the right one
|- UnwrapFailed       a wrapped key does not open under this KEK
|- UnknownKey         no such class or version
|  `- KeyRetired      there is one, which opens nothing until it is taken back
`- KeyDestroyed       there was one
   `- ContextShredded  of a context, for which a value is to be stored
"""

from enum import Enum


class KeysReason(Enum):
    """Stable names of everything that this room refuses."""

    FILE_MISSING = "file-missing"
    FILE_UNREADABLE = "file-unreadable"
    FILE_UNWRITABLE = "file-unwritable"
    FILE_KIND = "file-kind"
    FILE_OWNER = "file-owner"
    FILE_PERMISSIONS = "file-permissions"
    FILE_TOO_LARGE = "file-too-large"
    FILE_EXISTS = "file-exists"
    NOT_JSON = "not-json"
    SCHEMA = "schema"
    FORMAT_VERSION = "format-version"
    TAMPERED = "tampered"
    ROLLED_BACK = "rolled-back"
    PROVIDER = "provider"
    VARIABLE_UNSET = "variable-unset"
    VARIABLE_MALFORMED = "variable-malformed"
    PASSPHRASE_MISSING = "passphrase-missing"  # noqa: S105 - a reason
    PASSPHRASE_WEAK = "passphrase-weak"  # noqa: S105 - a reason
    PASSPHRASE_WRONG = "passphrase-wrong"  # noqa: S105 - a reason
    SCRYPT_PARAMETERS = "scrypt-parameters"
    KEK_OTHER = "kek-other"
    KEK_UNREACHABLE = "kek-unreachable"
    MEMORY = "memory"
    UNWRAP = "unwrap"
    CLASS_NAME = "class-name"
    CLASS_COUNT = "class-count"
    CLASS_EXISTS = "class-exists"
    CLASS_UNKNOWN = "class-unknown"
    VERSION_UNKNOWN = "version-unknown"
    NO_ACTIVE_KEY = "no-active-key"
    RETIRED = "retired"
    DESTROYED = "destroyed"
    KEY_STATE = "key-state"
    LENT = "lent"
    DESTROY_EARLY = "destroy-early"
    VERSION_COUNT = "version-count"
    POLICY = "policy"
    WRITER = "writer"
    CACHE_TOO_OLD = "cache-too-old"
    VAULT_SETTING = "vault-setting"
    VAULT_LOGIN = "vault-login"
    VAULT_TOKEN = "vault-token"  # noqa: S105 - a reason
    VAULT_DENIED = "vault-denied"
    VAULT_PATH = "vault-path"
    VAULT_REQUEST = "vault-request"
    VAULT_KEY = "vault-key"
    VAULT_SEALED = "vault-sealed"
    VAULT_SLOW = "vault-slow"
    VAULT_TLS = "vault-tls"
    VAULT_FAILED = "vault-failed"
    SHARES = "shares"
    KMS_SETTING = "kms-setting"
    KMS_LOGIN = "kms-login"
    KMS_DENIED = "kms-denied"
    KMS_KEY = "kms-key"
    KMS_FAILED = "kms-failed"
    CONTEXTS = "contexts"
    CONTEXT_UNKNOWN = "context-unknown"
    CONTEXT_STATE = "context-state"


class KeysError(Exception):
    """Base of the room. `str()` is one line; `hint` is the next step, or empty."""

    def __init__(self, reason: KeysReason, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint


class KeySettingError(KeysError):
    """A setting, an environment variable, a class name or a file path is not usable."""


class UnsafeFile(KeysError):
    """A file that holds secrets can be read by others, belongs to somebody else, or may not be read by us."""


class DamagedFile(KeysError):
    """A keyring or key file is not what Sealwire wrote: malformed, altered, or an older copy."""


class AlreadyExists(KeysError):
    """A file or a class is there already; nothing is overwritten."""


class KeyringBusy(KeysError):
    """Another process holds the writer's lock."""


class KekUnavailable(KeysError):
    """The provider of the key-encryption key did not answer. Nothing says that the key is wrong."""

    def __init__(self, reason: KeysReason, message: str, hint: str = "", retry_after_s: float = 5.0) -> None:
        super().__init__(reason, message, hint)
        self.retry_after_s = retry_after_s


class KekDenied(KeysError):
    """A provider refuses us, or a share is not one of this export's."""


class WrongKek(KekDenied):
    """The wrong key-encryption key or passphrase."""


class UnwrapFailed(KeysError):
    """A wrapped key does not open: other KEK, other associated data, or altered bytes. Carries no cause."""

    def __init__(self) -> None:
        super().__init__(KeysReason.UNWRAP, "a wrapped key does not open under this key-encryption key")


class UnknownKey(KeysError):
    """The keyring holds no key for this class or version; a newer keyring may.

    `key` is the (class id, key version) that was asked for, where it was asked for by id.
    """

    def __init__(
        self, reason: KeysReason, message: str, hint: str = "", key: tuple[int, int] | None = None
    ) -> None:
        super().__init__(reason, message, hint)
        self.key = key


class KeyRetired(UnknownKey):
    """The keyring holds this key and opens nothing with it; a newer keyring may, if it was taken back."""


class KeyDestroyed(KeysError):
    """The keyring records that this key was destroyed; what it encrypted is gone for good."""


class ContextShredded(KeyDestroyed):
    """A value is to be stored for a context whose key was destroyed."""
