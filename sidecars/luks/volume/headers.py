"""Back up the header of a volume, sealed, and put it back."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sealwire.keys.kek.kek import KeyEncryptionKey
from sealwire.keys.keyring.record import format_time
from sealwire.sidecars.luks.errors import DeviceRefused, LuksReason, LuksSettingError, VerificationFailed
from sealwire.sidecars.luks.machine import device
from sealwire.sidecars.luks.machine.machine import Machine
from sealwire.sidecars.luks.volume import cryptsetup, header_file
from sealwire.sidecars.luks.volume.volume import require_luks

# In memory, never on a disk: an unsealed header must not lie where it can be found later.
_MEMORY = Path("/run/sealwire-luks")
_SEALED_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Restorable:
    """A header that was opened and checked, and what it would replace."""

    raw: bytes
    header: cryptsetup.LuksHeader
    replaced: cryptsetup.LuksHeader | None


def look(machine: Machine, volume: Path, target: Path) -> cryptsetup.LuksHeader:
    """The header of `volume`, which could be written to the new file `target`. Changes nothing.

    Raises as `require_luks`; LuksSettingError when `target` exists
    """
    _require_new(machine, target)
    return require_luks(machine, volume)


def back_up(machine: Machine, volume: Path, target: Path, kek: KeyEncryptionKey) -> cryptsetup.LuksHeader:
    """Seal the header of `volume` into the new file `target`.

    Raises as `look`; CommandFailed
    """
    header = look(machine, volume, target)
    with _file_in_memory(machine) as plain:
        cryptsetup.save_header(machine, volume, plain)
        raw = machine.read(plain, header_file.MAX_RAW_BYTES) or b""
    created = format_time(datetime.now(UTC))
    machine.write(target, header_file.seal(raw, header.uuid, created, kek), _SEALED_MODE)
    return header


def open_backup(machine: Machine, volume: Path, source: Path, kek: KeyEncryptionKey) -> Restorable:
    """Unseal `source` and check that it belongs on `volume`. Changes nothing.

    Raises DeviceRefused in use, LuksSettingError, DamagedFile, KekDenied, UnwrapFailed,
    VerificationFailed HEADER_FILE, HEADER_OTHER
    """
    sealed = _read_sealed(machine, source)
    found = device.look_at(machine, volume)
    if found is None:
        raise DeviceRefused(LuksReason.DEVICE_MISSING, f"{volume} is no device or image", "see `lsblk`")
    if found.parts or found.mounted_at:
        text = f"{volume} is open: {', '.join(found.parts)}"
        raise DeviceRefused(LuksReason.DEVICE_IN_USE, text, "sealwire luks close")
    raw = header_file.unseal(sealed, kek, str(source))
    named = header_file.read_head(sealed, str(source)).uuid
    with _file_in_memory(machine) as plain:
        machine.write(plain, raw, _SEALED_MODE)
        header = cryptsetup.read_header(machine, plain)
    if header is None or header.uuid != named:
        text = f"{source} does not hold the LUKS2 header that it names"
        raise VerificationFailed(LuksReason.HEADER_FILE, text, "another copy")
    replaced = cryptsetup.read_header(machine, volume)
    if replaced is not None and replaced.uuid != header.uuid:
        text = f"{source} is of volume {header.uuid}, and {volume} is {replaced.uuid}"
        hint = "find the backup of this volume: another one's header would destroy it"
        raise VerificationFailed(LuksReason.HEADER_OTHER, text, hint)
    if found.size_bytes <= len(raw):
        text = f"{volume} is smaller than the header: not the volume"
        raise DeviceRefused(LuksReason.SPACE, text, "check the device")
    return Restorable(raw, header, replaced)


def unseal(
    machine: Machine, source: Path, target: Path, kek: KeyEncryptionKey, *, dry_run: bool = False
) -> str:
    """Write the header in `source` to the new file `target` in clear; the UUID of its volume.

    With `dry_run` the source is opened and nothing is written.
    Raises as `open_backup`, apart from what concerns the device.
    """
    _require_new(machine, target)
    sealed = _read_sealed(machine, source)
    raw = header_file.unseal(sealed, kek, str(source))
    if not dry_run:
        machine.write(target, raw, _SEALED_MODE)
    return header_file.read_head(sealed, str(source)).uuid


def free_name(machine: Machine, beside: Path) -> Path:
    """A name beside `beside` at which nothing stands yet, for the header that is replaced."""
    moment = format_time(datetime.now(UTC)).replace(":", "")
    names = (beside.with_name(f"{beside.name}.replaced-{moment}{extra}") for extra in ("", "-2", "-3", "-4"))
    for name in names:
        if machine.status(name) is None:
            return name
    raise LuksSettingError(LuksReason.SETTING, f"no free name beside {beside}", "move older ones away")


def restore(machine: Machine, volume: Path, restorable: Restorable) -> None:
    """Write the header. The caller has asked. Raises CommandFailed."""
    with _file_in_memory(machine) as plain:
        machine.write(plain, restorable.raw, _SEALED_MODE)
        cryptsetup.restore_header(machine, volume, plain)
    # The links of udev by UUID come back only when it looks again; without udev there are none.
    if machine.has_program("udevadm"):
        machine.run(["udevadm", "trigger", "--settle", str(volume)])


def _require_new(machine: Machine, target: Path) -> None:
    if machine.status(target) is not None:
        raise LuksSettingError(LuksReason.SETTING, f"{target} exists already", "name another file")


def _read_sealed(machine: Machine, source: Path) -> bytes:
    sealed = machine.read(source, header_file.MAX_FILE_BYTES)
    if sealed is None:
        raise LuksSettingError(LuksReason.SETTING, f"{source} does not exist", "check the path")
    return sealed


@contextmanager
def _file_in_memory(machine: Machine) -> Iterator[Path]:
    """A path below /run that nothing stands at; what was written there is removed at the end."""
    machine.make_directory(_MEMORY, 0o700)
    path = _MEMORY / f"header-{secrets.token_hex(8)}"
    try:
        yield path
    finally:
        machine.remove(path)
