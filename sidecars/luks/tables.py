"""The lines that Sealwire adds to crypttab and fstab, and the drop-in of the service.

An entry is one line with a comment above it. Lines of others are never touched, and taking an entry away
gives back the text that was there before. Sources: crypttab(5), fstab(5), systemd.unit(5).
"""

from pathlib import Path

from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import FileSystem, VolumeSettings

CRYPTTAB = Path("/etc/crypttab")
FSTAB = Path("/etc/fstab")
_NEW_FILE_MODE = 0o644

# The mount waits for the unlocking, so its time is the longer one. Both run from boot, which nofail does not
# hold up, so they may be long: a slow disk or much Argon2id must not keep the database down.
_UNLOCK_SECONDS = 180
_MOUNT_SECONDS = 300


def crypttab_line(settings: VolumeSettings, uuid: str) -> str:
    """How the boot unlocks the volume.

    nofail: a machine without its key boots all the same, and only the database stays down.
    headless: a missing key file is an error, and no question that nobody at the console answers.
    """
    source = str(settings.device) if settings.image_bytes else f"UUID={uuid}"
    options = ["luks", "nofail", f"x-systemd.device-timeout={_UNLOCK_SECONDS}s"]
    options += ["headless=true"] if settings.key_file is not None else []
    options += ["discard"] if settings.discard else []
    return f"{settings.name} {source} {settings.key_file or 'none'} {','.join(options)}"


def fstab_line(settings: VolumeSettings) -> str:
    """How the boot mounts it: no programs, no devices, and no failed boot without it."""
    timeout = f"x-systemd.device-timeout={_MOUNT_SECONDS}s"
    options = f"noatime,nodev,nosuid,noexec,nofail,{timeout}"
    # XFS is checked by its own journal; ext4 by fsck, after the root.
    check = 2 if settings.file_system is FileSystem.EXT4 else 0
    kind = settings.file_system.value
    return f"{settings.mapper} {settings.data_directory} {kind} {options} 0 {check}"


def drop_in(settings: VolumeSettings) -> str:
    """Keeps the service from starting while its directory is not the mounted volume, or a rollback runs."""
    return (
        f"# Written by `sealwire luks setup`, volume {settings.name}.\n"
        "[Unit]\n"
        f"RequiresMountsFor={settings.data_directory}\n"
        f"ConditionPathIsMountPoint={settings.data_directory}\n"
        f"ConditionPathExists=!{settings.hold}\n"
    )


def with_entry(text: str, name: str, line: str) -> str:
    """`text` with our entry at its end, in place of an older one of ours."""
    text = without_entry(text, name)
    # The mark remembers a missing line end, so that taking the entry away gives back every byte.
    joint = "" if text.endswith("\n") or not text else "\n"
    return f"{text}{joint}{_mark(name, joint)}\n{line}\n"


def without_entry(text: str, name: str) -> str:
    """`text` without our entry; text without one is returned as it is."""
    for joint in ("", "\n"):
        mark = _mark(name, joint)
        before, found, after = text.partition(f"{joint}{mark}\n")
        if found:
            return before + after.partition("\n")[2]
    return text


def has_entry(text: str, name: str, line: str) -> bool:
    return any(f"{_mark(name, joint)}\n{line}\n" in text for joint in ("", "\n"))


def is_taken(text: str, field: str, column: int) -> bool:
    """Whether a line of crypttab or fstab, ours or another's, has `field` in this column."""
    rows = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    return any(len(row) > column and row[column] == field for row in rows)


def change(machine: Machine, path: Path, text: str) -> None:
    status = machine.status(path)
    machine.write(path, text.encode(), _NEW_FILE_MODE if status is None else status.mode)


def read(machine: Machine, path: Path) -> str:
    return (machine.read(path) or b"").decode(errors="surrogateescape")


def _mark(name: str, joint: str) -> str:
    return f"# sealwire luks {name}: the next line is removed by `sealwire luks rollback`" + (
        " (no line end before)" if joint else ""
    )
