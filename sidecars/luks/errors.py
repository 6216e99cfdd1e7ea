"""What can be wrong with a LUKS volume. Every error has a stable reason and a next step."""

from enum import Enum

from sealwire.sidecars.errors import SidecarError


class LuksReason(Enum):
    """Stable names of everything that this room refuses."""

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
    """Base of the room."""


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
