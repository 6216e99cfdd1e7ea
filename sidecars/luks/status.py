"""Does what the database has open really lie on dm-crypt? Asked of the kernel, not of configuration files.

A file's device number leads to /sys/dev/block/MAJOR:MINOR. A mapping of LUKS has a dm/uuid that begins with
CRYPT-LUKS; anything stacked on one (LVM, a partition, RAID) lists what is below it in `slaves`, and counts
as encrypted when all of those are. What cannot be followed counts as not encrypted.
"""

from dataclasses import dataclass
from pathlib import Path

from sealwire.sidecars.luks.machine import Machine, OpenFile

_SYS_BLOCK = Path("/sys/dev/block")
_CRYPT = "CRYPT-LUKS"
# More layers than anybody stacks.
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Encryption:
    """What was found. Paths only, no content."""

    data_directory: str
    directory_encrypted: bool
    service_pid: int | None
    encrypted_files: int
    plain_files: tuple[str, ...]
    """Open, below the data directory, and not on dm-crypt."""
    plain_elsewhere: tuple[str, ...]
    """Open for the service but outside its data directory, such as its log: not counted against it."""

    @property
    def encrypted(self) -> bool:
        return self.directory_encrypted and not self.plain_files


def look(machine: Machine, data_directory: Path, service: str) -> Encryption:
    """Look at the directory and at what the service's main process has open. Changes nothing.

    Raises CommandFailed, when the process may not be looked at.
    """
    status = machine.status(data_directory)
    pid = _main_pid(machine, service)
    known: dict[str, bool] = {}
    encrypted, plain, elsewhere = 0, [], []
    for file in () if pid is None else machine.open_files(pid):
        if file.device not in known:
            known[file.device] = is_encrypted(machine, file.device)
        if known[file.device]:
            encrypted += 1
        elif _is_data(file, data_directory):
            plain.append(file.path)
        elif file.path != "/":
            elsewhere.append(file.path)
    return Encryption(
        str(data_directory),
        status is not None and is_encrypted(machine, status.device),
        pid,
        encrypted,
        tuple(plain),
        tuple(elsewhere),
    )


def is_encrypted(machine: Machine, device: str, depth: int = 0) -> bool:
    """Whether the block device `major:minor` is LUKS, or stands on nothing but LUKS."""
    entry = _SYS_BLOCK / device
    if (machine.read(entry / "dm" / "uuid") or b"").decode(errors="replace").startswith(_CRYPT):
        return True
    below = machine.names_in(entry / "slaves")
    if not below or depth >= _MAX_DEPTH:
        return False
    numbers = [(machine.read(entry / "slaves" / name / "dev") or b"").decode().strip() for name in below]
    return all(number and is_encrypted(machine, number, depth + 1) for number in numbers)


def _is_data(file: OpenFile, data_directory: Path) -> bool:
    """Below the data directory, or below where it was before it was moved aside."""
    path = Path(file.path.removesuffix(" (deleted)"))
    moved = data_directory.with_name(f"{data_directory.name}.plain")
    return path.is_relative_to(data_directory) or path.is_relative_to(moved)


def _main_pid(machine: Machine, service: str) -> int | None:
    done = machine.run(["systemctl", "show", "--property=MainPID", "--value", service])
    return int(done.text) if done.code == 0 and done.text.isdigit() and done.text != "0" else None
