"""What stands in the way is found before anything changes, each with its own reason."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from sealwire.sidecars.errors import CannotCreate, LuksReason, SidecarError, Unavailable, Unusable
from sealwire.sidecars.luks import machine as device
from sealwire.sidecars.luks import preflight, steps
from sealwire.sidecars.luks.machine import Completed, FileStatus
from sealwire.sidecars.luks.settings import FileSystem, VolumeSettings
from tests.sidecars.luks import story
from tests.sidecars.luks.model import Model, Node


@dataclass(slots=True)
class Site(Model):
    """A machine whose programs say what a test says, by the beginning of the command."""

    answers: dict[str, Completed] = field(default_factory=dict)
    root: bool = True

    def run(self, arguments: Sequence[str], **given: Any) -> Completed:
        command = " ".join(arguments)
        for beginning, answer in self.answers.items():
            if command.startswith(beginning):
                return answer
        return Model.run(self, arguments, **given)

    def is_root(self) -> bool:
        return self.root


def site() -> Site:
    machine = story.running_machine(Site)
    assert isinstance(machine, Site)
    # The key file would lie on another disk than the volume.
    machine.answers["lsblk --json --inverse --tree --output NAME,PATH /dev/sda1"] = listing(path="/dev/sda")
    machine.answers["lsblk --json --inverse --tree --output NAME,PATH /dev/sdb"] = listing(path="/dev/sdb")
    return machine


def listing(**node: object) -> Completed:
    return Completed(0, json.dumps({"blockdevices": [node]}).encode())


def disk(**node: object) -> Completed:
    return listing(**{"path": "/dev/sdb", "size": 1 << 30, "ro": False, "mountpoints": [None], **node})


def errors(
    machine: Model, settings: VolumeSettings = story.SETTINGS, *, erase: bool = False
) -> list[SidecarError]:
    return preflight.examine(machine, settings, erase=erase)[0]


def reasons(machine: Model, settings: VolumeSettings = story.SETTINGS, *, erase: bool = False) -> set[Enum]:
    return {error.reason for error in errors(machine, settings, erase=erase)}


def test_a_wrong_device_is_named_beside_a_program_that_is_missing() -> None:
    machine = site()
    machine.answers["wipefs"] = SIGNATURES
    machine.present = lambda name: name != "rsync"
    assert reasons(machine) == {LuksReason.PROGRAM_MISSING, LuksReason.DEVICE_NOT_EMPTY}
    machine.present = lambda name: name != "wipefs"
    assert reasons(machine) == {LuksReason.PROGRAM_MISSING}


SIGNATURES = Completed(0, b'{"signatures": [{"type": "ext4"}, {"type": "gpt"}, {"type": "gpt"}]}')


def change(beginning: str, answer: Completed) -> Callable[[Site], None]:
    return lambda machine: machine.answers.update({beginning: answer})


def set_node(path: str, node: Node) -> Callable[[Site], None]:
    return lambda machine: machine.tree.update({path.lstrip("/"): node})


def drop_node(path: str) -> Callable[[Site], None]:
    return lambda machine: machine.tree.__delitem__(path)


CASES: list[tuple[Callable[[Site], None], type[SidecarError], LuksReason]] = [
    (lambda machine: setattr(machine, "root", False), Unavailable, LuksReason.NOT_ROOT),
    (drop_node("run/systemd/system"), Unavailable, LuksReason.NO_SYSTEMD),
    (change("lsblk --json --bytes", disk(mountpoints=["/srv"])), CannotCreate, LuksReason.DEVICE_IN_USE),
    (
        change("lsblk --json --bytes", disk(children=[{"path": "/dev/sdb1", "mountpoints": [None]}])),
        CannotCreate,
        LuksReason.DEVICE_IN_USE,
    ),
    (change("lsblk --json --bytes", disk(ro=True)), CannotCreate, LuksReason.DEVICE_READ_ONLY),
    (change("lsblk --json --bytes", disk(size=1 << 20)), CannotCreate, LuksReason.SPACE),
    (change("wipefs", SIGNATURES), CannotCreate, LuksReason.DEVICE_NOT_EMPTY),
    (change("systemctl cat", Completed(1)), Unusable, LuksReason.SERVICE_UNKNOWN),
    (change("cryptsetup status", Completed(0)), Unusable, LuksReason.NAME_TAKEN),
    (set_node("/etc/crypttab", Node(b"mongodb UUID=9 none\n", 0o644)), Unusable, LuksReason.NAME_TAKEN),
    (
        set_node("/etc/fstab", Node(b"/dev/sdz /var/lib/mongodb xfs defaults 0 0\n", 0o644)),
        Unusable,
        LuksReason.NAME_TAKEN,
    ),
    (set_node("/var/lib/mongodb.plain", Node(None, 0o755)), CannotCreate, LuksReason.DATA_DIRECTORY),
    (set_node("/var/lib/mongodb", Node(b"", 0o644)), CannotCreate, LuksReason.DATA_DIRECTORY),
    (
        change("findmnt --json", Completed(0, b'{"filesystems": [{"source": "/dev/sdc", "fstype": "xfs"}]}')),
        CannotCreate,
        LuksReason.DATA_IS_MOUNT,
    ),
    (
        change("lsblk --json --inverse --tree --output NAME,PATH /dev/sda1", listing(path="/dev/sdb")),
        Unusable,
        LuksReason.KEY_FILE_PLACE,
    ),
    (set_node(str(story.KEY_FILE), Node(b"k" * 64, 0o644)), Unusable, LuksReason.KEY_FILE_PLACE),
    (set_node(str(story.KEY_FILE), Node(b"k", 0o400)), Unusable, LuksReason.KEY_FILE_PLACE),
    (
        change("findmnt --noheadings --output OPTIONS", Completed(0, b"ro,relatime\n")),
        Unusable,
        LuksReason.KEY_FILE_PLACE,
    ),
]


@pytest.mark.parametrize(("spoil", "kind", "reason"), CASES)
def test_each_obstacle_has_its_reason_and_a_way_out_and_nothing_is_changed(
    spoil: Callable[[Site], None], kind: type[SidecarError], reason: LuksReason
) -> None:
    machine = site()
    spoil(machine)
    found = errors(machine)
    assert {error.reason for error in found} == {reason}
    assert type(found[0]) is kind
    assert found[0].hint
    with pytest.raises(kind):
        steps.begin(machine, story.SETTINGS, erase=False)
    assert machine.changes == 0


@pytest.mark.parametrize(
    "program", ["cryptsetup", "rsync", "mkfs.ext4", "chattr", "/usr/lib/systemd/system-generators/"]
)
def test_a_missing_program_is_named(program: str) -> None:
    machine = site()
    machine.present = lambda name: name != program and not ("generators" in program and "generators" in name)
    (error,) = errors(machine)
    assert error.reason is LuksReason.PROGRAM_MISSING
    assert "install" in error.hint


@pytest.mark.parametrize(
    ("beginning", "answer", "expected"),
    [
        ("wipefs", SIGNATURES, set()),
        ("lsblk --json --bytes", disk(mountpoints=["[SWAP]"]), {LuksReason.DEVICE_IN_USE}),
    ],
    ids=["not empty", "in use"],
)
def test_what_is_in_use_is_not_overwritten(beginning: str, answer: Completed, expected: set[Enum]) -> None:
    machine = site()
    machine.answers[beginning] = answer
    assert reasons(machine, erase=True) == expected


def test_what_is_no_device_is_refused() -> None:
    missing = replace(story.SETTINGS, device=Path("/dev/nothing"))
    assert reasons(site(), missing) == {LuksReason.DEVICE_MISSING}
    file = replace(story.SETTINGS, device=Path("/etc/fstab"))
    assert LuksReason.DEVICE_KIND in reasons(site(), file)


def image(path: str, size: int = 256 << 20) -> VolumeSettings:
    return replace(story.SETTINGS, device=Path(path), image_bytes=size, key_file=None)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (story.SETTINGS, set()),
        (image("/srv.img"), set()),
        (image("/etc/fstab"), {LuksReason.DEVICE_NOT_EMPTY}),
        (image("/missing/x.img"), {LuksReason.DEVICE_MISSING}),
        (image("/var/lib/mongodb/x.img"), {LuksReason.DEVICE_KIND}),
        (image("/var/x.img", 1 << 49), {LuksReason.SPACE}),
    ],
)
def test_a_fit_machine_takes_a_device_or_an_image(settings: VolumeSettings, expected: set[Enum]) -> None:
    assert reasons(site(), settings) == expected


def test_what_is_in_use_is_named_without_reading_it() -> None:
    machine = site()
    machine.answers["lsblk --json --bytes"] = disk(mountpoints=["/"])
    machine.answers["wipefs"] = Completed(1, b"", b"wipefs: error: Operation not permitted\n")
    assert reasons(machine) == {LuksReason.DEVICE_IN_USE}


def test_xfs_is_refused_where_it_cannot_be_made() -> None:
    settings = replace(image("/srv.img", 315 << 20), file_system=FileSystem.XFS)
    assert reasons(site(), settings) == {LuksReason.SPACE}
    assert reasons(site(), replace(settings, file_system=FileSystem.EXT4)) == set()
    assert reasons(site(), replace(settings, image_bytes=316 << 20)) == set()


def test_an_image_on_a_read_only_file_system_is_refused() -> None:
    machine = site()
    change("findmnt --noheadings --output OPTIONS", Completed(0, b"ro"))(machine)
    assert reasons(machine, image("/var/x.img")) == {LuksReason.DEVICE_READ_ONLY}


def test_notes_tell_of_selinux_apparmor_swap_and_the_question_at_boot() -> None:
    machine = site()
    for path, content in (
        ("sys/fs/selinux/enforce", b"1"),
        ("sys/kernel/security/apparmor/profiles", b"mongod (enforce)\n"),
        ("proc/swaps", b"Filename Type\n/dev/sda2 partition\n"),
    ):
        machine.tree[path] = Node(content, 0o444)
    settings = replace(story.SETTINGS, key_file=None, discard=True)
    _, notes = preflight.examine(machine, settings, erase=False)
    for word in ("SELinux", "AppArmor", "swap", "passphrase at the console", "add-key", "discards"):
        assert any(word in note for note in notes), word
    assert not any(
        "passphrase at" in note for note in preflight.examine(site(), story.SETTINGS, erase=False)[1]
    )


def test_an_image_file_is_looked_at_without_lsblk() -> None:
    machine = site()
    machine.put("/etc/x", b"1234")
    found = device.look_at(machine, Path("/etc/x"))
    assert found == device.Device(True, 4, False, (), (), ())


def test_whole_disks_are_followed_through_every_layer() -> None:
    machine = site()
    tree = {
        "path": "/dev/mapper/a",
        "children": [{"path": "/dev/sdc1", "children": [{"path": "/dev/sdc"}]}, {"path": "/dev/sdd"}],
    }
    machine.answers["findmnt --noheadings --output SOURCE"] = Completed(0, b"/dev/mapper/a[/sub]\n")
    machine.answers["lsblk --json --inverse --tree --output NAME,PATH /dev/mapper/a"] = listing(**tree)
    assert device.disks_below(machine, Path("/mnt/x/new")) == {"/dev/sdc", "/dev/sdd"}
    machine.answers["findmnt --noheadings --output SOURCE"] = Completed(0, b"tmpfs\n")
    assert device.disks_below(machine, Path("/mnt/x/new")) == frozenset()


@dataclass(slots=True)
class Links(Site):
    """A machine with links below /dev/disk."""

    links: dict[str, str] = field(default_factory=dict)

    def status(self, path: Path) -> FileStatus | None:
        if str(path) not in self.links:
            return None
        return FileStatus(False, False, True, 0o660, 0, "0:5", self.links[str(path)])

    def names_in(self, path: Path) -> tuple[str, ...]:
        return tuple(Path(name).name for name in self.links if Path(name).parent == path)


def test_a_kernel_name_becomes_one_that_a_boot_keeps() -> None:
    machine = Links(story.SETTINGS.device, "s", "/d")
    machine.links = {
        "/dev/sdb": "8:16",
        "/dev/sdc": "8:32",
        "/dev/mapper/vg-lv": "253:0",
        "/dev/disk/by-id/a\\x20b": "8:16",
        "/dev/disk/by-id/ata-other": "8:0",
        "/dev/disk/by-id/ata-serial": "8:16",
        "/dev/disk/by-path/pci-1": "8:32",
    }
    stable = {name: str(device.stable_name(machine, Path(name))) for name in [*machine.links, "/dev/none"]}
    assert stable["/dev/sdb"] == "/dev/disk/by-id/ata-serial"
    assert stable["/dev/sdc"] == "/dev/disk/by-path/pci-1"
    for name in ("/dev/mapper/vg-lv", "/dev/disk/by-id/ata-serial", "/dev/none"):
        assert stable[name] == name


def test_the_model_looks_like_a_block_device() -> None:
    assert isinstance(site().status(Path("/dev/sdb")), FileStatus)
