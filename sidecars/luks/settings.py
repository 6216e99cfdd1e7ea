"""What an operator wants: which device, for which directory and service, unlocked how."""

import re
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path

from sealwire.keys.strict_json import Fields
from sealwire.sidecars.errors import LuksReason, Unusable

CIPHER = "aes-xts-plain64"
# XTS has two keys: 512 bits are AES-256.
KEY_BITS = 512
KEY_FILE_BYTES = 64

MIN_IMAGE_BYTES = 64 << 20
MAX_IMAGE_BYTES = 1 << 50

# No dash: systemd writes it as \x2d in the names of units.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9@_.-]{0,120}\.service")
# crypttab and fstab separate by blanks and have escapes of their own; unit files have % specifiers.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./:+@-]{1,200}")
_SYSTEM = tuple(
    Path(path) for path in ("/", "/usr", "/etc", "/var", "/var/lib", "/run", "/boot", "/dev", "/proc", "/sys")
)


class FileSystem(Enum):
    """What the volume is formatted with. MongoDB's makers recommend XFS."""

    XFS = "xfs"
    EXT4 = "ext4"


@dataclass(frozen=True, slots=True)
class Pbkdf:
    """Cost of one guess at a passphrase, Argon2id; None leaves it to cryptsetup, which measures the machine.

    Small values are for tests and for machines that cannot spare the memory at boot.
    """

    memory_kib: int | None = None
    iterations: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Raises Unusable SETTING outside what cryptsetup takes."""
        bounds = ((self.memory_kib, 32, 4 << 20), (self.iterations, 4, 1 << 20), (self.threads, 1, 4))
        if any(value is not None and not low <= value <= high for value, low, high in bounds):
            raise _bad("the Argon2id costs are out of bounds", "memory 32 to 4194304 KiB, iterations from 4")

    @property
    def arguments(self) -> tuple[str, ...]:
        given = (
            ("--pbkdf-memory", self.memory_kib),
            ("--pbkdf-force-iterations", self.iterations),
            ("--pbkdf-parallel", self.threads),
        )
        costs = [text for option, value in given if value is not None for text in (option, str(value))]
        return ("--pbkdf", "argon2id", *costs)


NO_DEVICE = Path("/dev/null")


@dataclass(frozen=True, slots=True)
class VolumeSettings:
    """One volume and what it is for. Holds no secret."""

    device: Path = NO_DEVICE
    """A block device, or a file image; NO_DEVICE where none is named."""
    name: str = "mongodb"
    """The name of the mapping: /dev/mapper/NAME."""
    data_directory: Path = Path("/var/lib/mongodb")
    service: str = "mongod.service"
    key_file: Path | None = None
    """Opens the volume at boot; without it the boot asks for the passphrase."""
    file_system: FileSystem = FileSystem.XFS
    discard: bool = False
    """Pass discards on to the disk: faster SSDs, but the disk then shows which blocks are free."""
    image_bytes: int | None = None
    """Make a file image of this size at `device`."""
    pbkdf: Pbkdf = field(default_factory=Pbkdf)

    def __post_init__(self) -> None:
        """Raises Unusable SETTING."""
        if not _NAME.fullmatch(self.name):
            raise _bad("the name of the volume is not usable", "lower-case letters, digits and _, at most 32")
        if not _SERVICE.fullmatch(self.service):
            raise _bad("the name of the service is not usable", "name the unit in full: mongod.service")
        for path in (self.device, self.data_directory, self.key_file):
            if path is not None and (not _PLAIN_PATH.fullmatch(str(path)) or ".." in path.parts):
                hint = "an absolute path of letters, digits and _ . / : + @ -"
                raise _bad(f"the path {str(path)!r} is not usable", hint)
        if self.data_directory in _SYSTEM:
            raise _bad(f"{self.data_directory} is no data directory", "name MongoDB's dbPath")
        if self.key_file is not None and self.key_file.is_relative_to(self.data_directory):
            raise _bad("the key file would lie in the volume that it opens", "put it on another device")
        if self.image_bytes is not None and not MIN_IMAGE_BYTES <= self.image_bytes <= MAX_IMAGE_BYTES:
            raise _bad("the size of the image is out of bounds", "at least 64 MiB")

    @property
    def mapper(self) -> Path:
        return Path("/dev/mapper") / self.name

    @property
    def cryptsetup_unit(self) -> str:
        return f"systemd-cryptsetup@{self.name}.service"

    @property
    def old_directory(self) -> Path:
        """Where the plaintext data waits until the operator has it wiped."""
        return self.data_directory.with_name(f"{self.data_directory.name}.plain")

    @property
    def staging(self) -> Path:
        """Where the volume is mounted while data is copied in or out."""
        return Path("/run/sealwire-luks") / self.name

    @property
    def hold(self) -> Path:
        """While this file is there the service does not start, mounted or not. A reboot removes it."""
        return Path("/run/sealwire-luks") / f"{self.name}.hold"

    @property
    def drop_in(self) -> Path:
        return Path("/etc/systemd/system") / f"{self.service}.d" / "sealwire-luks.conf"


def to_json(settings: VolumeSettings) -> dict[str, object]:
    """The settings as the journal keeps them."""
    return {
        **asdict(settings),
        "device": str(settings.device),
        "data_directory": str(settings.data_directory),
        "key_file": None if settings.key_file is None else str(settings.key_file),
        "file_system": settings.file_system.value,
        "discard": int(settings.discard),
        "image_bytes": settings.image_bytes or 0,
        "pbkdf": {cost: value or 0 for cost, value in asdict(settings.pbkdf).items()},
    }


def from_fields(fields: Fields) -> VolumeSettings:
    """Read what `to_json` made. Raises DamagedFile, Unusable."""
    key_file, costs = fields.optional_text("key_file"), fields.object("pbkdf")
    try:
        file_system = FileSystem(fields.text("file_system"))
    except ValueError:
        fields.refuse("has an unknown file_system")
    names = ("memory_kib", "iterations", "threads")
    settings = VolumeSettings(
        device=Path(fields.text("device")),
        name=fields.text("name"),
        data_directory=Path(fields.text("data_directory")),
        service=fields.text("service"),
        key_file=None if key_file is None else Path(key_file),
        file_system=file_system,
        discard=bool(fields.integer("discard", 0, 1)),
        image_bytes=fields.integer("image_bytes", 0, MAX_IMAGE_BYTES) or None,
        pbkdf=Pbkdf(**{name: costs.integer(name, 0, 4 << 20) or None for name in names}),
    )
    costs.done()
    fields.done()
    return settings


def _bad(message: str, hint: str) -> Unusable:
    return Unusable(LuksReason.SETTING, message, hint)
