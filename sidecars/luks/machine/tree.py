"""A directory tree as it is compared: every entry with its rights, its size and the digest of its content."""

import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from sealwire.sidecars.luks.machine.machine import Entry, Progress

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
