"""Is what is open encrypted? Every way in which it is not, or in which nobody can say."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sealwire.sidecars.luks.machine import OpenFile
from sealwire.sidecars.luks.status import is_encrypted, look
from tests.sidecars.luks import story
from tests.sidecars.luks.model import Model

CRYPT, LVM, DISK, RAID = "253:0", "253:1", "8:0", "9:0"


@dataclass(slots=True)
class Kernel(Model):
    """A machine whose /sys and /proc say what a test says."""

    sys: dict[str, bytes] = field(default_factory=dict)
    opened: tuple[OpenFile, ...] = ()

    def read(self, path: Path, max_bytes: int = 1 << 20) -> bytes | None:
        return self.sys.get(str(path).removeprefix("/sys/dev/block/")) or Model.read(self, path)

    def names_in(self, path: Path) -> tuple[str, ...]:
        prefix = str(path).removeprefix("/sys/dev/block/") + "/"
        found = {name.removeprefix(prefix).partition("/")[0] for name in self.sys if name.startswith(prefix)}
        return tuple(sorted(found)) or Model.names_in(self, path)

    def open_files(self, pid: int) -> tuple[OpenFile, ...]:
        return self.opened


def kernel(*opened: OpenFile) -> Kernel:
    machine = story.running_machine(Kernel)
    assert isinstance(machine, Kernel)
    story.set_up_with(machine)
    machine.opened = opened
    machine.sys = {
        f"{CRYPT}/dm/uuid": b"CRYPT-LUKS2-0123-mongodb\n",
        f"{LVM}/dm/uuid": b"LVM-abc\n",
        f"{LVM}/slaves/dm-0/dev": b"253:0\n",
        f"{RAID}/slaves/dm-0/dev": b"253:0\n",
        f"{RAID}/slaves/sda/dev": b"8:0\n",
    }
    return machine


@pytest.mark.parametrize(
    ("device", "encrypted"), [(CRYPT, True), (LVM, True), (DISK, False), (RAID, False), ("0:45", False)]
)
def test_a_device_counts_as_encrypted_when_all_below_it_is_luks(device: str, *, encrypted: bool) -> None:
    assert is_encrypted(kernel(), device) is encrypted


def test_plain_dm_crypt_without_a_header_is_not_luks() -> None:
    machine = kernel()
    machine.sys["253:9/dm/uuid"] = b"CRYPT-PLAIN-x\n"
    assert not is_encrypted(machine, "253:9")


def test_devices_that_lead_in_a_circle_end() -> None:
    machine = kernel()
    machine.sys = {"1:1/slaves/a/dev": b"1:2\n", "1:2/slaves/b/dev": b"1:1\n"}
    assert not is_encrypted(machine, "1:1")


def ask(machine: Kernel) -> tuple[bool, tuple[str, ...], tuple[str, ...]]:
    found = look(machine, Path(story.DATA), "mongod.service")
    return found.encrypted, found.plain_files, found.plain_elsewhere


def test_all_on_the_volume_is_a_yes_and_a_log_elsewhere_is_only_told() -> None:
    machine = kernel(OpenFile(f"{story.DATA}/a.wt", CRYPT), OpenFile("/var/log/mongod.log", DISK))
    assert ask(machine) == (True, (), ("/var/log/mongod.log",))


@pytest.mark.parametrize("path", [f"{story.DATA}/a.wt", f"{story.OLD}/a.wt", f"{story.DATA}/a.wt (deleted)"])
def test_one_data_file_on_a_plain_disk_is_a_no(path: str) -> None:
    """As when the service was running while the volume was mounted over its directory."""
    machine = kernel(OpenFile(f"{story.DATA}/b.wt", CRYPT), OpenFile(path, DISK))
    assert ask(machine) == (False, (path,), ())


def test_a_directory_that_is_not_on_the_volume_is_a_no_whatever_is_open() -> None:
    machine = kernel()
    machine.mounts.clear()
    assert not look(machine, Path(story.DATA), "mongod.service").encrypted
    assert not look(machine, Path("/missing"), "mongod.service").encrypted


def test_a_service_that_is_down_is_judged_by_its_directory() -> None:
    machine = kernel()
    machine.active = False
    found = look(machine, Path(story.DATA), "mongod.service")
    assert (found.encrypted, found.service_pid, found.encrypted_files) == (True, None, 0)
