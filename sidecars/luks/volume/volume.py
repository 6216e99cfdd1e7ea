"""Open, close and add keys to a volume, apart from setting one up."""

from pathlib import Path

from sealwire.sidecars.luks.errors import DeviceRefused, LuksError, LuksReason, LuksSettingError, WrongState
from sealwire.sidecars.luks.machine.device import mounted_source
from sealwire.sidecars.luks.machine.machine import Machine, must
from sealwire.sidecars.luks.settings import Pbkdf, VolumeSettings
from sealwire.sidecars.luks.volume import cryptsetup
from sealwire.sidecars.luks.volume.cryptsetup import Secret

_MOUNT_MODE = 0o700


def require_luks(machine: Machine, device: Path) -> cryptsetup.LuksHeader:
    """The header of `device`. Raises DeviceRefused DEVICE_MISSING, DEVICE_NOT_LUKS."""
    if machine.status(device) is None:
        raise DeviceRefused(LuksReason.DEVICE_MISSING, f"{device} does not exist", "see `lsblk`")
    header = cryptsetup.read_header(machine, device)
    if header is None:
        text = f"{device} has no LUKS2 header that can be read"
        hint = "check the device; if it is the right one, sealwire luks restore-header"
        raise DeviceRefused(LuksReason.DEVICE_NOT_LUKS, text, hint)
    return header


def require_openable(machine: Machine, device: Path, name: str) -> None:
    """Raises as `require_luks`; LuksSettingError NAME_TAKEN when there is a mapping of this name."""
    require_luks(machine, device)
    if cryptsetup.is_open(machine, name):
        text = f"/dev/mapper/{name} is open already"
        raise LuksSettingError(LuksReason.NAME_TAKEN, text, "close it, or choose another --name")


def require_open(machine: Machine, name: str) -> None:
    """Raises WrongState when there is no mapping of this name."""
    if not cryptsetup.is_open(machine, name):
        raise WrongState(LuksReason.JOURNAL_PHASE, f"/dev/mapper/{name} is not open", "check --name")


def open_and_mount(
    machine: Machine, wanted: VolumeSettings, secret: Secret, where: Path | None, *, read_only: bool
) -> None:
    """Map the device of `wanted` under its name, and mount it at `where` if that is given.

    Raises DeviceRefused, LuksSettingError NAME_TAKEN, LuksKeyDenied, CommandFailed
    """
    require_openable(machine, wanted.device, wanted.name)
    cryptsetup.open_volume(machine, wanted.device, wanted.name, secret, read_only=read_only)
    if where is not None:
        try:
            mount(machine, wanted.mapper, where, read_only=read_only)
        except LuksError:
            cryptsetup.close_volume(machine, wanted.name)
            raise


def mount(machine: Machine, mapper: Path, where: Path, *kind: str, read_only: bool = False) -> None:
    """Mount a mapping for whoever copies; `kind` are more options of mount(8). Raises CommandFailed."""
    machine.make_directory(where, _MOUNT_MODE)
    options = "nodev,nosuid,noexec" + (",ro" if read_only else "")
    must(machine, ["mount", *kind, "-o", options, str(mapper), str(where)])


def unmount_and_close(machine: Machine, name: str, service: str | None, where: Path | None) -> None:
    """Stop `service`, unmount `where` and close the mapping; what is not there is passed over.

    Raises WrongState when the mapping is not open; CommandFailed when somebody uses it
    """
    require_open(machine, name)
    if service is not None:
        must(machine, ["systemctl", "stop", service])
    if where is not None and mounted_source(machine, where) == f"/dev/mapper/{name}":
        must(machine, ["umount", str(where)])
    cryptsetup.ensure_closed(machine, name)


def add_key(machine: Machine, device: Path, present: Secret, new: Secret, pbkdf: Pbkdf) -> int:
    """Put `new` into a free key slot and prove that it opens; the number of key slots afterwards.

    Raises DeviceRefused, LuksKeyDenied, CommandFailed
    """
    require_luks(machine, device)
    cryptsetup.add_key(machine, device, present, new, pbkdf)
    cryptsetup.require_opens(machine, device, new)
    return len(require_luks(machine, device).key_slots)
