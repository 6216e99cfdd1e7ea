"""A machine in memory that can lose its power after any change, and boots again as systemd would boot it.

What is modelled is what the steps of a migration touch: files, mounts, LUKS volumes, a service and its
conditions. Files that rsync wrote and nobody flushed are torn by a power cut: right size, wrong bytes. The
real programs are tried in tests/integration: on file images, and in a virtual machine.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sealwire.sidecars.luks.machine import (
    SECOND_SECRET,
    Completed,
    FileStatus,
    Machine,
    OpenFile,
    Progress,
    TreeEntry,
)

# The files of a machine in memory: one root file system, LUKS volumes, mounts; and the power failing.


ROOT_DEVICE, MAPPED_DEVICE = "8:1", "253:0"


class PowerCut(Exception):
    """The machine is off. Not an error of Sealwire's, so nothing may catch it."""


@dataclass(slots=True)
class Node:
    """A file, or a directory when `content` is None."""

    content: bytes | None
    mode: int
    immutable: bool = False
    flushed: bool = True


Tree = dict[str, Node]
"""Paths relative to the root of one file system; "" is the root itself."""


@dataclass(slots=True)
class Volume:
    """What a LUKS device holds."""

    uuid: str
    slots: dict[int, bytes] = field(default_factory=dict)
    tree: Tree | None = None


@dataclass(slots=True)
class FilesInMemory(Machine, ABC):
    """The half of `Machine` that is about files."""

    device: Path
    service: str
    data_directory: str
    tree: Tree = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    mappings: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, str] = field(default_factory=dict)
    changes: int = 0
    cut_before: int | None = None
    """Power fails instead of this change (the first is 1)."""
    meddle_before: int | None = None
    """Somebody starts the service before this change."""

    def change(self) -> None:
        """Called before each change. A service that runs writes all the time."""
        self.changes += 1
        self.service_writes()
        if self.changes == self.cut_before:
            raise PowerCut
        if self.changes == self.meddle_before:
            self.start_service()

    @abstractmethod
    def service_writes(self) -> None:
        """What a running service does to its data; the other half of the machine knows."""

    @abstractmethod
    def start_service(self) -> None:
        """What `systemctl start` does; the other half of the machine knows."""

    def find(self, path: Path | str) -> tuple[Tree, str]:
        """The file system that `path` lies on, and its name there."""
        text = str(path)
        for point in sorted(self.mounts, key=len, reverse=True):
            if text == point or text.startswith(point + "/"):
                tree = self.volumes[self.mappings[self.mounts[point]]].tree
                assert tree is not None
                return tree, text[len(point) + 1 :]
        return self.tree, text.lstrip("/")

    def node(self, path: Path | str) -> Node | None:
        tree, name = self.find(path)
        return tree.get(name)

    def put(self, path: Path | str, content: bytes | None, mode: int = 0o644) -> None:
        tree, name = self.find(path)
        parent = tree.get(name.rpartition("/")[0]) if name else None
        assert parent is None or not parent.immutable, f"{path}: the directory is immutable"
        tree[name] = Node(content, mode)

    def below(self, directory: Path | str) -> dict[str, Node]:
        """Everything in a directory by its relative name, not across mounts."""
        tree, name = self.find(directory)
        prefix = f"{name}/" if name else ""
        return {path[len(prefix) :]: node for path, node in tree.items() if path and path.startswith(prefix)}

    def files(self, directory: str) -> dict[str, bytes]:
        return {
            name: node.content for name, node in self.below(directory).items() if node.content is not None
        }

    def read(self, path: Path, max_bytes: int = 1 << 20) -> bytes | None:
        if str(path) == f"/sys/dev/block/{MAPPED_DEVICE}/dm/uuid":
            return b"CRYPT-LUKS2-0-mongodb\n"
        node = self.node(path)
        return None if node is None else node.content

    def write(self, path: Path, content: bytes, mode: int) -> None:
        self.change()
        self.put(path, content, mode)

    def create_image(self, path: Path, size_bytes: int) -> None:
        self.change()
        self.put(path, b"", 0o600)

    def remove(self, path: Path) -> None:
        tree, name = self.find(path)
        if name in tree:
            self.change()
            del tree[name]

    def make_directory(self, path: Path, mode: int) -> None:
        for directory in (*reversed(path.parents), path):
            if str(directory) != "/" and self.node(directory) is None:
                self.change()
                self.put(directory, None, mode)

    def remove_directory(self, path: Path) -> None:
        tree, name = self.find(path)
        if name in tree:
            assert not self.below(path), f"{path} is not empty"
            assert not tree[name].immutable, f"{path} is immutable"
            assert str(path) not in self.mounts, f"{path} is mounted"
            self.change()
            del tree[name]

    def rename(self, old: Path, new: Path) -> None:
        assert str(old) not in self.mounts, f"{old} is mounted"
        tree, source = self.find(old)
        _, target = self.find(new)
        assert target not in tree, f"{new} exists"
        self.change()
        for path in [path for path in tree if path == source or path.startswith(source + "/")]:
            tree[target + path[len(source) :]] = tree.pop(path)

    def status(self, path: Path) -> FileStatus | None:
        if path == self.device:
            return FileStatus(False, False, True, 0o660, 1 << 30, ROOT_DEVICE)
        node = self.node(path)
        if node is None:
            return None
        where = ROOT_DEVICE if self.find(path)[0] is self.tree else MAPPED_DEVICE
        is_file = node.content is not None
        return FileStatus(not is_file, is_file, False, node.mode, len(node.content or b""), where)

    def names_in(self, path: Path) -> tuple[str, ...]:
        return tuple(sorted({name.partition("/")[0] for name in self.below(path)}))

    def free_bytes(self, path: Path) -> int:
        return 1 << 40

    def used_bytes(self, path: Path) -> int:
        return sum(len(node.content or b"") for node in self.below(path).values())

    def open_files(self, pid: int) -> tuple[OpenFile, ...]:
        device = MAPPED_DEVICE if self.data_directory in self.mounts else ROOT_DEVICE
        return (OpenFile(f"{self.data_directory}/journal", device), OpenFile("/var/log/mongod", ROOT_DEVICE))

    def manifest(self, root: Path, progress: Progress) -> dict[str, TreeEntry]:
        found = {}
        for name, node in {".": self.node(root), **self.below(root)}.items():
            assert node is not None
            kind = "directory" if node.content is None else "file"
            found[name] = TreeEntry(kind, node.mode, 0, 0, len(node.content or b""), repr(node.content))
        return found


OK, NO, NO_KEY = Completed(0), Completed(1, err=b"no"), Completed(2, err=b"No key available.")


@dataclass(slots=True)
class Model(FilesInMemory):
    """`Machine`, with everything it knows open to tests."""

    active: bool = False
    enabled: bool = True
    units: dict[str, str] = field(default_factory=dict)
    """crypttab, fstab and drop-in as systemd last read them."""
    written: int = 0
    """How often the service wrote into its data: a number each time, the last one being this."""
    kept_open: Node | None = None
    """The file that the running service writes to, wherever it is moved."""
    commands: list[str] = field(default_factory=list)
    present: Callable[[str], bool] = lambda _: True
    """Which programs are installed."""

    def boot(self) -> None:
        """After a power cut or a clean end: unlock, mount and start what the tables say."""
        for tree in (self.tree, *(volume.tree or {} for volume in self.volumes.values())):
            for node in tree.values():
                if not node.flushed and node.content is not None:
                    node.content, node.flushed = b"\0" * len(node.content), True
        self.mappings.clear()
        self.mounts.clear()
        self.active = False
        self.cut_before = None
        for path in [path for path in self.tree if path.startswith("run/sealwire")]:
            del self.tree[path]
        self._reload()
        self._unlock_and_mount()
        if self.enabled:
            self.start_service()

    def has_program(self, name: str) -> bool:
        return self.present(name)

    def is_root(self) -> bool:
        return True

    def run(
        self,
        arguments: Sequence[str],
        *,
        secret: bytes = b"",
        second_secret: bytes = b"",
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        self.commands.append(" ".join(arguments))
        name, *rest = arguments
        if name == "cryptsetup":
            return self._cryptsetup(rest, secret, second_secret)
        if name == "systemctl":
            return self._systemctl(rest)
        if name in ("mkfs.ext4", "mkfs.xfs"):
            self.change()
            self.volumes[self.mappings[Path(rest[-1]).name]].tree = {"": Node(None, 0o755)}
            return OK
        handlers: dict[str, Callable[[list[str]], Completed]] = {
            "mount": self._mount,
            "umount": self._umount,
            "findmnt": self._findmnt,
            "chattr": self._chattr,
            "lsattr": self._lsattr,
            "rsync": self._rsync,
            "sync": self._sync,
            "find": self._find_and_shred,
            "rm": self._rm,
            "lsblk": self._lsblk,
            "wipefs": self._wipefs,
        }
        return handlers[name](rest)

    def _secret(self, arguments: list[str], given: bytes) -> bytes | None:
        path = arguments[arguments.index("--key-file") + 1]
        return given if path == "-" else self.read(Path(path))

    def _cryptsetup(self, arguments: list[str], secret: bytes, second: bytes) -> Completed:
        verb = arguments[0]
        device = str(self.device)
        volume = self.volumes.get(device)
        if verb == "luksFormat":
            self.change()
            uuid = arguments[arguments.index("--uuid") + 1]
            self.volumes[device] = volume = Volume(uuid)
            self.change()  # a header without a key slot, as a power cut in the middle leaves it
            volume.slots[0] = secret
            return OK
        if verb == "status":
            return OK if arguments[1] in self.mappings else NO
        if verb == "close":
            assert arguments[1] not in self.mounts.values(), "the mapping is mounted"
            self.change()
            del self.mappings[arguments[1]]
            return OK
        if volume is None:
            return NO
        if verb == "isLuks":
            return OK
        if verb == "luksUUID":
            return Completed(0, volume.uuid.encode())
        if verb == "luksDump":
            slots = {str(n): {"key_size": 64, "kdf": {"type": "argon2id"}} for n in volume.slots}
            segments = {"0": {"encryption": "aes-xts-plain64"}}
            return Completed(0, json.dumps({"segments": segments, "keyslots": slots}).encode())
        if self._secret(arguments, secret) not in volume.slots.values():
            return NO_KEY
        if verb == "luksAddKey":
            new = second if arguments[-1] == SECOND_SECRET else self.read(Path(arguments[-1]))
            assert new is not None
            self.change()
            volume.slots[max(volume.slots) + 1] = new
        elif "--test-passphrase" not in arguments:
            self.change()
            self.mappings[arguments[-1]] = device
        return OK

    def _systemctl(self, arguments: list[str]) -> Completed:
        match arguments:
            case ["is-active", *_]:
                return OK if self.active else NO
            case ["cat", _]:
                return OK
            case ["show", *_]:
                return Completed(0, b"7" if self.active else b"0")
            case ["daemon-reload"]:
                self.change()
                self._reload()
            case ["stop", unit] if unit == self.service:
                if self.active:
                    self.change()
                    self.active = False
            case ["stop", unit]:
                name = unit.removeprefix("systemd-cryptsetup@").removesuffix(".service")
                # As systemd does it: only what its own unit opened is closed.
                if name in self.mappings and name not in self.mounts.values() and "crypttab" in self.units:
                    self.change()
                    del self.mappings[name]
            case ["start", unit] if unit == self.service:
                self.change()
                self.start_service()
            case ["start", _]:
                self.change()
                self._unlock_and_mount()
            case _:
                raise AssertionError(arguments)
        return OK

    def _reload(self) -> None:
        self.units.clear()
        for key, path in (("crypttab", "/etc/crypttab"), ("fstab", "/etc/fstab")):
            lines = [line for line in self._text(path).splitlines() if "mongodb" in line and line[0] != "#"]
            if lines:
                self.units[key] = lines[0]
        drop_in = self._text(f"/etc/systemd/system/{self.service}.d/sealwire-luks.conf")
        if "ConditionPathIsMountPoint=" in drop_in:
            self.units["condition"] = drop_in.split("ConditionPathIsMountPoint=")[1].split()[0]
            self.units["hold"] = drop_in.split("ConditionPathExists=!")[1].split()[0]

    def _text(self, path: str) -> str:
        return (self.read(Path(path)) or b"").decode()

    def _unlock_and_mount(self) -> None:
        if "crypttab" in self.units and "mongodb" not in self.mappings:
            _, _, key_file, _ = self.units["crypttab"].split()
            volume = self.volumes.get(str(self.device))
            if volume is not None and self.read(Path(key_file)) in volume.slots.values():
                self.mappings["mongodb"] = str(self.device)
        if "fstab" in self.units and "mongodb" in self.mappings:
            source, point = self.units["fstab"].split()[:2]
            if source == "/dev/mapper/mongodb" and self.node(point) is not None:
                self.mounts[point] = "mongodb"

    def start_service(self) -> None:
        """The service writes where it is started: data is lost if that is the wrong place."""
        wanted = self.units.get("condition")
        if wanted is not None and wanted not in self.mounts:
            return
        if self.units.get("hold") is not None and self.node(self.units["hold"]) is not None:
            return
        directory = self.node(self.data_directory)
        if self.active or directory is None or directory.immutable:
            return
        assert "WiredTiger" in self.files(self.data_directory), (
            "the service was started on an empty directory"
        )
        assert not [p for p in self.mounts if "sealwire" in p], "the service runs while data is copied"
        self.active = True
        self.kept_open = self.node(f"{self.data_directory}/journal")
        self.service_writes()

    def service_writes(self) -> None:
        if self.active:
            assert self.kept_open is not None
            assert self.kept_open.content is not None
            self.written += 1
            self.kept_open.content += b"%d," % self.written

    def _mount(self, arguments: list[str]) -> Completed:
        source, point = arguments[-2:]
        name = Path(source).name
        if name not in self.mappings or self.volumes[self.mappings[name]].tree is None:
            return NO
        self.change()
        self.mounts[point] = name
        return OK

    def _umount(self, arguments: list[str]) -> Completed:
        self.change()
        self._flush(arguments[0])
        return OK if self.mounts.pop(arguments[0], None) else NO

    def _flush(self, point: str) -> None:
        for node in self.find(point)[0].values():
            node.flushed = True

    def _findmnt(self, arguments: list[str]) -> Completed:
        if "--mountpoint" not in arguments:
            return Completed(0, b"rw,relatime" if "OPTIONS" in arguments else b"/dev/sda1")
        name = self.mounts.get(arguments[-1])
        if name is None:
            return NO
        found = [{"source": f"/dev/mapper/{name}"}]
        return Completed(0, json.dumps({"filesystems": found}).encode())

    def _lsblk(self, arguments: list[str]) -> Completed:
        whole = {"path": arguments[-1], "size": 1 << 30, "ro": False, "mountpoints": [None]}
        return Completed(0, json.dumps({"blockdevices": [whole]}).encode())

    def _wipefs(self, arguments: list[str]) -> Completed:
        found = [{"type": "crypto_LUKS"}] if arguments[-1] in self.volumes else []
        return Completed(0, json.dumps({"signatures": found}).encode())

    def _chattr(self, arguments: list[str]) -> Completed:
        node = self.node(arguments[1])
        assert node is not None
        self.change()
        node.immutable = arguments[0] == "+i"
        return OK

    def _lsattr(self, arguments: list[str]) -> Completed:
        node = self.node(arguments[-1])
        if node is None:
            return NO
        return Completed(0, f"{'----i---' if node.immutable else '--------'} {arguments[-1]}".encode())

    def _rsync(self, arguments: list[str]) -> Completed:
        *options, source, target = (argument.rstrip("/") for argument in arguments)
        wanted, there = self.below(source), self.below(target)
        tree, base = self.find(target)
        for name in there.keys() - wanted.keys():
            self.change()
            del tree[f"{base}/{name}".lstrip("/")]
        for name, node in wanted.items():
            old = there.get(name)
            same_size = old is not None and len(old.content or b"") == len(node.content or b"")
            same = old is not None and old.content == node.content if "--checksum" in options else same_size
            if not same:
                self.change()
                copied = Node(node.content, node.mode, flushed=node.content is None)
                tree[f"{base}/{name}".lstrip("/")] = copied
        root = self.node(source)
        assert root is not None
        tree[base].mode = root.mode
        return OK

    def _sync(self, arguments: list[str]) -> Completed:
        self.change()
        self._flush(arguments[-1])
        return OK

    def _find_and_shred(self, arguments: list[str]) -> Completed:
        for node in self.below(arguments[0]).values():
            if node.content is not None:
                self.change()
                node.content = b"?" * len(node.content)
        return OK

    def _rm(self, arguments: list[str]) -> Completed:
        for path in [*self.below(arguments[-1]), ""]:
            self.change()
            self.tree.pop(f"{arguments[-1]}/{path}".strip("/"), None)
        return OK
