"""What a block device or file holds and who uses it, before anything is written to it.

Sources: lsblk(8), wipefs(8) which without options only lists, findmnt(8).
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sealwire.sidecars.luks.machine.machine import Entry, Machine, Progress, must

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
