"""The files of a machine in memory: one root file system, LUKS volumes, mounts; and the power failing."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from sealwire.sidecars.luks.machine import Entry, FileStatus, Machine, OpenFile, Progress

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

    def manifest(self, root: Path, progress: Progress) -> dict[str, Entry]:
        found = {}
        for name, node in {".": self.node(root), **self.below(root)}.items():
            assert node is not None
            kind = "directory" if node.content is None else "file"
            found[name] = Entry(kind, node.mode, 0, 0, len(node.content or b""), repr(node.content))
        return found
