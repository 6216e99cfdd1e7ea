"""Everything that this room does to a machine, as one small interface.

The real one is `linux.LinuxMachine`. Tests use a model of a machine that can lose its power after any of
these calls. So each call changes one thing, and what it changed is on disk when it returns.

Below it: what a block device or file holds and who uses it, before anything is written to it.
Sources: lsblk(8), wipefs(8) which without options only lists, findmnt(8).
"""

import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from sealwire.sidecars.errors import CommandFailed, LuksReason

# In an argument list: stands for a file that delivers the second secret of a command.
SECOND_SECRET = "{second secret}"  # noqa: S105 - a placeholder

Progress = Callable[[int], None]
"""Told how many bytes were dealt with since it was last told."""


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended. What it wrote may hold a secret and is not shown."""

    code: int
    out: bytes = field(default=b"", repr=False)
    err: bytes = field(default=b"", repr=False)

    @property
    def text(self) -> str:
        """Standard output as text without surrounding blanks."""
        return self.out.decode(errors="replace").strip()


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What `stat` says about a path, links followed."""

    is_directory: bool
    is_regular: bool
    is_block_device: bool
    mode: int
    size_bytes: int
    device: str
    """`major:minor` of the file system that the path lies on."""
    block_device: str = ""
    """`major:minor` of the block device that the path is."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """One file that a process has open."""

    path: str
    device: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a directory tree: all that a copy has to keep."""

    kind: str
    """`file`, `directory`, `link` or `other`."""
    mode: int
    owner: int
    group: int
    size_bytes: int
    digest: str
    """SHA-256 of a file's content in hex; the target of a link; empty otherwise."""


class Machine(Protocol):
    """Paths are absolute. Failures of the file system are raised as `CommandFailed`."""

    def run(
        self,
        arguments: Sequence[str],
        *,
        secret: bytes = b"",
        second_secret: bytes = b"",
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a program to its end, without a shell and with a fixed environment.

        `secret` is its standard input. Where an argument is SECOND_SECRET, the program finds the path of a
        pipe with `second_secret` in it. `on_line` gets its output line by line while it runs.
        """

    def has_program(self, name: str) -> bool: ...

    def is_root(self) -> bool: ...

    def read(self, path: Path, max_bytes: int = 1 << 20) -> bytes | None:
        """The content; None where there is no such file. Raises CommandFailed when it is longer."""

    def write(self, path: Path, content: bytes, mode: int) -> None:
        """Put a whole file in place, or leave the old one."""

    def create_image(self, path: Path, size_bytes: int) -> None:
        """A file of this size with its blocks allocated, mode 0600; one that is there already is kept."""

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is no error."""

    def make_directory(self, path: Path, mode: int) -> None:
        """Make a directory and its parents; one that is there already is no error and keeps its mode."""

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory; one that is not there is no error."""

    def rename(self, old: Path, new: Path) -> None: ...

    def status(self, path: Path) -> FileStatus | None: ...

    def names_in(self, path: Path) -> tuple[str, ...]:
        """What a directory holds, sorted; nothing where there is no such directory."""

    def free_bytes(self, path: Path) -> int: ...

    def used_bytes(self, path: Path) -> int:
        """What the files below a directory take on disk."""

    def open_files(self, pid: int) -> tuple[OpenFile, ...]:
        """The regular files that a process has open, its working directory included."""

    def manifest(self, root: Path, progress: Progress) -> dict[str, Entry]:
        """Every entry below `root` by its relative path, files read to their end; `lost+found` left out."""


def must(machine: Machine, arguments: Sequence[str], **given: Any) -> Completed:
    """Run a program that has to succeed. Raises CommandFailed with its last line."""
    done = machine.run(arguments, **given)
    if done.code != 0:
        raise failed(arguments, done)
    return done


def failed(arguments: Sequence[str], done: Completed) -> CommandFailed:
    said = done.err.decode(errors="replace").strip().splitlines()
    last = "".join(character for character in said[-1] if character.isprintable())[:200] if said else ""
    verb = next((word for word in arguments[1:] if not word.startswith(("-", "/"))), "")
    return CommandFailed(
        LuksReason.COMMAND,
        f"{arguments[0]} {verb}".strip() + f" failed with code {done.code}: {last or 'it said nothing'}",
        "mend what it says, then run the command again (a set-up: with --resume)",
    )


_KERNEL_NAME = re.compile(r"/dev/(sd|vd|xvd|hd|nvme|mmcblk)[a-z0-9]+")
_STABLE_FOLDERS = tuple(Path("/dev/disk") / kind for kind in ("by-id", "by-partuuid", "by-path"))
# As VolumeSettings takes it; udev escapes other characters by backslashes.
_SAFE_NAME = re.compile(r"[A-Za-z0-9_.:+@-]+")


# A directory tree as it is compared: every entry with its rights, its size and the digest of its content.

_CHUNK_BYTES = 1 << 20
# mkfs makes it at the root of an ext4 file system; it is not data.
_LEFT_OUT = "lost+found"


def manifest(root: Path, progress: Progress) -> dict[str, Entry]:
    """Every entry below `root` by its relative path; the root itself as ".".

    Raises:  OSError
    Cost:    reads every byte; memory for one entry a file
    """
    return {
        name: _entry(path, status, progress)
        for name, path, status in [(".", str(root), root.stat()), *_walk(str(root), "")]
    }


def used_bytes(root: Path) -> int:
    """What the files below `root` take on disk. Hard links are counted each, which errs to the safe side."""
    return sum(status.st_blocks * 512 for _, _, status in _walk(str(root), ""))


def differences(source: dict[str, Entry], copy: dict[str, Entry]) -> list[str]:
    return sorted(name for name in source.keys() | copy.keys() if source.get(name) != copy.get(name))


def _walk(directory: str, prefix: str) -> Iterator[tuple[str, str, os.stat_result]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if not prefix and entry.name == _LEFT_OUT:
                continue
            status = entry.stat(follow_symlinks=False)
            yield prefix + entry.name, entry.path, status
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{prefix}{entry.name}/")


def _entry(path: str, status: os.stat_result, progress: Progress) -> Entry:
    mode, digest, size = status.st_mode, "", 0
    if stat.S_ISREG(mode):
        kind, digest, size = "file", _digest(path, progress), status.st_size
    elif stat.S_ISDIR(mode):
        kind = "directory"
    elif stat.S_ISLNK(mode):
        kind, digest = "link", os.readlink(path)  # noqa: PTH115 - a plain string is at hand
    else:
        kind = "other"
    return Entry(kind, stat.S_IMODE(mode), status.st_uid, status.st_gid, size, digest)


def _digest(path: str, progress: Progress) -> str:
    hasher = sha256()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a plain string is at hand
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
            progress(len(chunk))
    return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Device:
    """A device or image file as it was found."""

    is_image: bool
    """A regular file, and no block device."""
    size_bytes: int
    is_read_only: bool
    mounted_at: tuple[str, ...]
    """Where it, or anything on it, is mounted; swap shows as [SWAP]."""
    parts: tuple[str, ...]
    """Partitions and mappings on it: it is in use by them."""
    signatures: tuple[str, ...]
    """File systems, partition tables, LVM, RAID, LUKS. Not looked for on what is in use: that says enough."""


def look_at(machine: Machine, path: Path) -> Device | None:
    """None when `path` is neither a block device nor a regular file. Raises CommandFailed."""
    status = machine.status(path)
    if status is None:
        return None
    if status.is_regular:
        return Device(True, status.size_bytes, False, (), (), signatures(machine, path))
    if not status.is_block_device:
        return None
    # Without NAME there is no tree, and what is on the device would stand beside it.
    columns = "NAME,PATH,SIZE,RO,MOUNTPOINTS"
    listing = must(machine, ["lsblk", "--json", "--bytes", "--tree", "--output", columns, str(path)])
    whole = json.loads(listing.out)["blockdevices"][0]
    below = _descendants(whole)
    mounted = [point for node in (whole, *below) for point in node.get("mountpoints") or [] if point]
    return Device(
        False,
        int(whole["size"]),
        bool(whole["ro"]),
        tuple(mounted),
        tuple(str(node["path"]) for node in below),
        () if mounted or below else signatures(machine, path),
    )


def stable_name(machine: Machine, path: Path) -> Path:
    """A name of the block device `path` that it keeps over a boot; `path` itself where there is none.

    /dev/sdb may be another disk after the next boot. Names that are not the kernel's own are kept.
    """
    status = machine.status(path)
    if status is None or not status.block_device or not _KERNEL_NAME.fullmatch(str(path)):
        return path
    for folder in _STABLE_FOLDERS:
        for name in machine.names_in(folder):
            link = machine.status(folder / name)
            if link is not None and link.block_device == status.block_device and _SAFE_NAME.fullmatch(name):
                return folder / name
    return path


def signatures(machine: Machine, path: Path) -> tuple[str, ...]:
    """The names of what wipefs recognizes, each once. Raises CommandFailed."""
    done = must(machine, ["wipefs", "--json", str(path)])
    found = json.loads(done.out)["signatures"] if done.out.strip() else []
    return tuple(dict.fromkeys(str(entry["type"]) for entry in found))


def disks_below(machine: Machine, path: Path) -> frozenset[str]:
    """The whole disks that a path's file system, or a block device, stands on; empty where there are none."""
    status = machine.status(path)
    if status is not None and status.is_block_device:
        source = str(path)
    else:
        source = mount_of(machine, path, "SOURCE").partition("[")[0]
    if not source.startswith("/dev/"):
        return frozenset()
    listing = machine.run(["lsblk", "--json", "--inverse", "--tree", "--output", "NAME,PATH", source])
    if listing.code != 0:
        return frozenset()
    roots = json.loads(listing.out)["blockdevices"]
    nodes = [node for root in roots for node in (root, *_descendants(root))]
    return frozenset(str(node["path"]) for node in nodes if not node.get("children"))


def mount_of(machine: Machine, path: Path, column: str) -> str:
    """What findmnt says in `column` of the mount that `path` is or would be on; empty for nothing."""
    existing = next(parent for parent in (path, *path.parents) if machine.status(parent) is not None)
    found = machine.run(["findmnt", "--noheadings", "--output", column, "--target", str(existing)])
    return found.text.splitlines()[-1] if found.code == 0 and found.text else ""


def mounted_source(machine: Machine, directory: Path) -> str | None:
    """What is mounted exactly at `directory`, the topmost when there are several; None when nothing is."""
    done = machine.run(["findmnt", "--json", "--output", "SOURCE", "--mountpoint", str(directory)])
    return str(json.loads(done.out)["filesystems"][-1]["source"]) if done.code == 0 else None


def _descendants(node: dict[str, Any]) -> list[dict[str, Any]]:
    children = node.get("children") or []
    return [found for child in children for found in (child, *_descendants(child))]
