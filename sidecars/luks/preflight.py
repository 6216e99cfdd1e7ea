"""What stands against setting up a volume, found before anything is changed."""

from collections.abc import Iterator
from pathlib import Path

from sealwire.sidecars.errors import CannotCreate, LuksReason, SidecarError, Unavailable, Unusable
from sealwire.sidecars.luks import tables
from sealwire.sidecars.luks.machine import Device, Machine, disks_below, look_at, mount_of, mounted_source
from sealwire.sidecars.luks.settings import FileSystem, VolumeSettings
from sealwire.sidecars.luks.volume import HEADER_BYTES, is_open

# The header, and what a file system needs for itself.
_OVERHEAD_BYTES = HEADER_BYTES + (16 << 20)
_OVERHEAD_FACTOR = 1.1
# mkfs.xfs makes nothing smaller; found here, and not when the service is stopped already.
SMALLEST_XFS_BYTES = 300 << 20
_OTHERS = 0o077

_PROGRAMS = {
    "cryptsetup": "apt-get install cryptsetup-bin, or dnf install cryptsetup",
    "rsync": "apt-get install rsync, or dnf install rsync",
    **dict.fromkeys(("lsblk", "wipefs", "findmnt"), "apt-get install util-linux"),
    **dict.fromkeys(("mount", "umount"), "apt-get install mount"),
    **dict.fromkeys(("chattr", "lsattr"), "apt-get install e2fsprogs"),
}
_LOOKING = ("cryptsetup", "lsblk", "wipefs", "findmnt", "systemctl")
# What reads crypttab at boot. Debian 13 has it in a package of its own, which cryptsetup does not pull in.
_GENERATORS = (
    "/usr/lib/systemd/system-generators/systemd-cryptsetup-generator",
    "/lib/systemd/system-generators/systemd-cryptsetup-generator",
)


def examine(
    machine: Machine, settings: VolumeSettings, *, erase: bool
) -> tuple[list[SidecarError], list[str]]:
    """The errors that setup would end with, and what is only to be read. Changes nothing.

    Reads the device's first blocks only. Raises CommandFailed when a program that has to look fails itself.
    """
    blocking = list(_machine_problems(machine, settings))
    # The rest needs the right to look, and what looks: a wrong device is to be named at once.
    if machine.is_root() and all(machine.has_program(name) for name in _LOOKING):
        blocking += _directory_problems(machine, settings)
        blocking += _device_problems(machine, settings, erase=erase)
        blocking += _key_file_problems(machine, settings)
    return blocking, list(_notes(machine, settings))


def require(machine: Machine, settings: VolumeSettings, *, erase: bool) -> list[str]:
    """`examine`, then raise the first error, or return what is to be read."""
    blocking, notes = examine(machine, settings, erase=erase)
    for error in blocking:
        raise error
    return notes


def require_programs(machine: Machine, settings: VolumeSettings) -> None:
    """What going on and going back need as well. Raises Unavailable."""
    for error in _machine_problems(machine, settings):
        raise error


def _machine_problems(machine: Machine, settings: VolumeSettings) -> Iterator[SidecarError]:
    if not machine.is_root():
        yield Unavailable(LuksReason.NOT_ROOT, "LUKS volumes need root", "run it with sudo")
    for name, hint in (*_PROGRAMS.items(), (f"mkfs.{settings.file_system.value}", _MKFS_HINT)):
        if not machine.has_program(name):
            yield Unavailable(LuksReason.PROGRAM_MISSING, f"{name} is not installed", hint)
    if machine.status(Path("/run/systemd/system")) is None:
        text = "systemd does not run this machine"
        yield Unavailable(LuksReason.NO_SYSTEMD, text, "see recovery.sh for doing it by hand")
    elif not any(machine.has_program(path) for path in _GENERATORS):
        text = "systemd cannot unlock volumes at boot: systemd-cryptsetup is not installed"
        hint = "apt-get install systemd-cryptsetup, or dnf install systemd-udev"
        yield Unavailable(LuksReason.PROGRAM_MISSING, text, hint)


_MKFS_HINT = "apt-get install xfsprogs, or give --file-system ext4"


def _directory_problems(machine: Machine, settings: VolumeSettings) -> Iterator[SidecarError]:
    data = settings.data_directory
    status = machine.status(data)
    if status is None or not status.is_directory or not machine.names_in(data):
        text = f"{data} is not a directory with data in it"
        yield CannotCreate(LuksReason.DATA_DIRECTORY, text, "name MongoDB's dbPath with --data-directory")
    elif mounted_source(machine, data) is not None:
        text = f"{data} is a mount point itself and cannot be moved aside"
        hint = "move its content into a directory of it and make that the dbPath: see docs/operations/luks.md"
        yield CannotCreate(LuksReason.DATA_IS_MOUNT, text, hint)
    if machine.status(settings.old_directory) is not None:
        text = f"{settings.old_directory} exists already: the plaintext data would be put there"
        yield CannotCreate(LuksReason.DATA_DIRECTORY, text, "move it away, or find out whose it is")
    if machine.run(["systemctl", "cat", settings.service]).code != 0:
        hint = "name the unit that runs MongoDB with --service"
        yield Unusable(LuksReason.SERVICE_UNKNOWN, f"systemd knows no {settings.service}", hint)


def _device_problems(machine: Machine, settings: VolumeSettings, *, erase: bool) -> Iterator[SidecarError]:
    path = settings.device
    found = look_at(machine, path)
    if settings.image_bytes is not None:
        yield from _image_problems(machine, settings)
    elif found is None or found.is_image:
        yield CannotCreate(
            LuksReason.DEVICE_MISSING if found is None else LuksReason.DEVICE_KIND,
            f"{path} is not a block device",
            "see `lsblk`; for a file image name a new file and give --image-size",
        )
    else:
        yield from _content_problems(path, found, erase=erase)
        yield from _space_problems(machine, settings, found.size_bytes)
    name_taken = tables.is_taken(tables.read(machine, tables.CRYPTTAB), settings.name, 0)
    place_taken = tables.is_taken(tables.read(machine, tables.FSTAB), str(settings.data_directory), 1)
    if name_taken or place_taken or is_open(machine, settings.name):
        text = f"a mapping {settings.name}, or a line for it or the directory in crypttab or fstab, exists"
        yield Unusable(LuksReason.NAME_TAKEN, text, "choose another --name, or take the line away")


def _content_problems(path: Path, found: Device, *, erase: bool) -> Iterator[SidecarError]:
    if found.mounted_at or found.parts:
        used = found.mounted_at or found.parts
        text = f"{path} is in use: {', '.join(used)}"
        yield CannotCreate(LuksReason.DEVICE_IN_USE, text, "unmount it, or name another")
    if found.is_read_only:
        yield CannotCreate(LuksReason.DEVICE_READ_ONLY, f"{path} is read-only", "name another device")
    if found.signatures and not erase:
        text = f"{path} is not empty: it holds {', '.join(found.signatures)}"
        hint = "look what it is; --erase overwrites it for good"
        yield CannotCreate(LuksReason.DEVICE_NOT_EMPTY, text, hint)


def _image_problems(machine: Machine, settings: VolumeSettings) -> Iterator[SidecarError]:
    path = settings.device
    if machine.status(path) is not None:
        text = f"{path} exists already"
        yield CannotCreate(LuksReason.DEVICE_NOT_EMPTY, text, "name a file that is not there yet")
    elif machine.status(path.parent) is None:
        text = f"{path.parent} does not exist"
        yield CannotCreate(LuksReason.DEVICE_MISSING, text, "make the directory first")
    elif path.is_relative_to(settings.data_directory):
        text = "the image would lie in the directory that it replaces"
        yield CannotCreate(LuksReason.DEVICE_KIND, text, "name another place")
    elif _is_read_only(machine, path.parent):
        text = f"{path.parent} is on a read-only file system"
        yield CannotCreate(LuksReason.DEVICE_READ_ONLY, text, "name another place")
    elif machine.free_bytes(path.parent) < (settings.image_bytes or 0):
        text = f"{path.parent} has no room for the image"
        yield CannotCreate(LuksReason.SPACE, text, "a smaller image, or another place")
    else:
        yield from _space_problems(machine, settings, settings.image_bytes or 0)


def _space_problems(machine: Machine, settings: VolumeSettings, size_bytes: int) -> Iterator[SidecarError]:
    if settings.file_system is FileSystem.XFS and size_bytes - HEADER_BYTES < SMALLEST_XFS_BYTES:
        yield CannotCreate(
            LuksReason.SPACE,
            f"{settings.device} has {size_bytes >> 20} MiB, too few for XFS",
            f"take {(SMALLEST_XFS_BYTES + HEADER_BYTES) >> 20} MiB or more, or --file-system ext4",
        )
    if machine.status(settings.data_directory) is None:
        return
    used = machine.used_bytes(settings.data_directory)
    needed = int(used * _OVERHEAD_FACTOR) + _OVERHEAD_BYTES
    if size_bytes < needed:
        text = f"{settings.device} has {size_bytes >> 20} MiB, the data needs {needed >> 20} MiB"
        yield CannotCreate(LuksReason.SPACE, text, "take a larger device")


def _key_file_problems(machine: Machine, settings: VolumeSettings) -> Iterator[SidecarError]:
    key_file = settings.key_file
    if key_file is None:
        return
    status = machine.status(key_file)
    if status is not None and (not status.is_regular or status.mode & _OTHERS or status.size_bytes < 32):
        text = f"{key_file} is not a private file of at least 32 bytes"
        hint = "chmod 400 it, or name a file that is not there yet: one is made"
        yield Unusable(LuksReason.KEY_FILE_PLACE, text, hint)
    if status is None and _is_read_only(machine, key_file):
        text = f"{key_file} cannot be written: read-only"
        yield Unusable(LuksReason.KEY_FILE_PLACE, text, "mount it writable")
    if machine.status(settings.device) is None and settings.image_bytes is None:
        return
    volume = disks_below(machine, settings.device)
    if volume & disks_below(machine, key_file):
        text = f"{key_file} would lie on the disk that it opens: whoever takes the disk has both"
        hint = "put it on another device, or leave --key-file out and give the passphrase at boot"
        yield Unusable(LuksReason.KEY_FILE_PLACE, text, hint)


def _is_read_only(machine: Machine, path: Path) -> bool:
    return "ro" in mount_of(machine, path, "OPTIONS").split(",")


def _notes(machine: Machine, settings: VolumeSettings) -> Iterator[str]:
    enforcing = (machine.read(Path("/sys/fs/selinux/enforce")) or b"").strip()
    if enforcing == b"1":
        where = settings.data_directory
        yield f"SELinux is enforcing: labels are copied; if MongoDB is denied, restorecon -R {where}"
    profiles = (machine.read(Path("/sys/kernel/security/apparmor/profiles")) or b"").decode(errors="replace")
    if "mongod" in profiles:
        yield "AppArmor has a profile for mongod: the paths stay the same, so it needs no change"
    if settings.key_file is None:
        yield "every boot asks for the passphrase at the console; the database waits for it"
        yield "one key slot only: add a second passphrase for recovery with `sealwire luks add-key`"
    if settings.discard:
        yield "discards are passed on: the disk shows which blocks of the volume are free"
    swaps = (machine.read(Path("/proc/swaps")) or b"").decode(errors="replace").splitlines()[1:]
    if swaps:
        yield "swap is on: what the database has in memory may reach the disk; encrypt swap or turn it off"
