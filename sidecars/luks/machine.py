"""Everything that this room does to a machine, as one small interface.

Tests put a model of a machine in its place, which can lose its power after any of these calls. So each call
changes one thing, and what it changed is on disk when it returns.

Below it: what a block device or file holds and who uses it, before anything is written to it.
Sources: lsblk(8), wipefs(8) which without options only lists, findmnt(8).
"""

import json
import os
import re
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from sealwire.keys.private_file import flush_directory, replace_private
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
class TreeEntry:
    """One thing in a directory tree: all that a copy has to keep."""

    kind: str
    """`file`, `directory`, `link` or `other`."""
    mode: int
    owner: int
    group: int
    size_bytes: int
    digest: str
    """SHA-256 of a file's content in hex; the target of a link; empty otherwise."""


_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Nothing of this process's own environment, which may hold a passphrase; and messages that do not change.
_ENVIRONMENT = {"PATH": _SEARCH_PATH, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "HOME": "/"}
_ABSENT = (FileNotFoundError, NotADirectoryError)


class Machine:
    """By system calls and the programs of the distribution. Paths are absolute.

    Failures of the file system are raised as CommandFailed.
    """

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
        program = shutil.which(arguments[0], path=_SEARCH_PATH)
        if program is None:
            raise CommandFailed(LuksReason.COMMAND, f"{arguments[0]} is not installed", "install it")
        with _pipe_with(second_secret) as (name, inherited):
            # No shell; the arguments are made of checked settings.
            process = subprocess.Popen(  # noqa: S603
                [program, *(name if argument == SECOND_SECRET else argument for argument in arguments[1:])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
                pass_fds=inherited,
            )
            with process:
                if on_line is None:
                    out, err = process.communicate(secret)
                else:
                    out, err = _follow(process, on_line)
        return Completed(process.returncode, out, err)

    def has_program(self, name: str) -> bool:
        return shutil.which(name, path=_SEARCH_PATH) is not None or os.access(name, os.X_OK)

    def is_root(self) -> bool:
        return os.geteuid() == 0

    def read(self, path: Path, max_bytes: int = 1 << 20) -> bytes | None:
        """The content; None where there is no such file. Raises CommandFailed when it is longer."""
        with _failures_of(path), suppress(*_ABSENT), path.open("rb") as file:
            content = file.read(max_bytes + 1)
            if len(content) > max_bytes:
                text = f"{path} is larger than {max_bytes} bytes"
                raise CommandFailed(LuksReason.COMMAND, text, "check what it is")
            return content
        return None

    def write(self, path: Path, content: bytes, mode: int) -> None:
        """Put a whole file in place, or leave the old one."""
        with _failures_of(path):
            replace_private(path, content)
            path.chmod(mode)

    def create_image(self, path: Path, size_bytes: int) -> None:
        """A file of this size with its blocks allocated, mode 0600; one that is there already is kept."""
        with _failures_of(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                # Allocated now: a volume must not find the disk full when it is half written.
                os.posix_fallocate(descriptor, 0, size_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            flush_directory(path.parent)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is no error."""
        with _failures_of(path):
            path.unlink(missing_ok=True)
            flush_directory(path.parent)

    def make_directory(self, path: Path, mode: int) -> None:
        """Make a directory and its parents; one that is there already is no error and keeps its mode."""
        with _failures_of(path):
            if path.is_dir():
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode)
            path.chmod(mode)
            flush_directory(path.parent)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory; one that is not there is no error."""
        with _failures_of(path), suppress(FileNotFoundError):
            path.rmdir()
            flush_directory(path.parent)

    def rename(self, old: Path, new: Path) -> None:
        with _failures_of(old):
            old.rename(new)
            flush_directory(new.parent)

    def status(self, path: Path) -> FileStatus | None:
        with _failures_of(path), suppress(*_ABSENT):
            found = path.stat()
            return FileStatus(
                stat.S_ISDIR(found.st_mode),
                stat.S_ISREG(found.st_mode),
                stat.S_ISBLK(found.st_mode),
                stat.S_IMODE(found.st_mode),
                found.st_size,
                _device(found.st_dev),
                _device(found.st_rdev) if stat.S_ISBLK(found.st_mode) else "",
            )
        return None

    def names_in(self, path: Path) -> tuple[str, ...]:
        """What a directory holds, sorted; nothing where there is no such directory."""
        with _failures_of(path), suppress(*_ABSENT):
            return tuple(sorted(os.listdir(path)))  # noqa: PTH208 - names are wanted
        return ()

    def free_bytes(self, path: Path) -> int:
        with _failures_of(path):
            found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def used_bytes(self, path: Path) -> int:
        """What the files below a directory take on disk; each hard link counts, to be on the safe side."""
        with _failures_of(path):
            return sum(status.st_blocks * 512 for _, _, status in _walk(str(path), ""))

    def open_files(self, pid: int) -> tuple[OpenFile, ...]:
        """The regular files that a process has open, its working directory included."""
        found: set[OpenFile] = set()
        process = Path("/proc") / str(pid)
        for link in [process / "cwd", *(process / "fd" / name for name in self.names_in(process / "fd"))]:
            # A process opens and closes files while it is looked at.
            with _failures_of(link), suppress(FileNotFoundError, ProcessLookupError):
                status = link.stat()
                if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                    found.add(OpenFile(str(link.readlink()), _device(status.st_dev)))
        return tuple(sorted(found, key=lambda file: file.path))

    def manifest(self, root: Path, progress: Progress) -> dict[str, TreeEntry]:
        """Every entry below `root` by its relative path, files read to their end; the root itself as ".".

        `lost+found` is left out. Cost: memory for one entry a file.
        """
        with _failures_of(root):
            return {
                name: _entry(path, status, progress)
                for name, path, status in [(".", str(root), root.stat()), *_walk(str(root), "")]
            }


def _device(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"


@contextmanager
def _failures_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandFailed(LuksReason.COMMAND, f"{path}: {error.strerror}", "as root?") from None


@contextmanager
def _pipe_with(secret: bytes) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name of a pipe that holds `secret` (at most 64 KiB, what a pipe takes), and its descriptor."""
    if not secret:
        yield "", ()
        return
    reading, writing = os.pipe()
    try:
        try:
            os.write(writing, secret)
        finally:
            os.close(writing)
        yield f"/dev/fd/{reading}", (reading,)
    finally:
        os.close(reading)


def _follow(process: "subprocess.Popen[bytes]", on_line: Callable[[str], None]) -> tuple[bytes, bytes]:
    """Hand the output over line by line; a carriage return ends a line as well, as in progress displays."""
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise ValueError("the process has no pipes")
    process.stdin.close()
    errors: list[bytes] = []
    # Read beside the output, or a program that complains much would block.
    reader = threading.Thread(target=_keep_end, args=(process.stderr, errors))
    reader.start()
    rest = b""
    while chunk := os.read(process.stdout.fileno(), 65536):
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        rest = rest[-65536:]
        for line in lines:
            on_line(line.decode(errors="replace"))
    reader.join()
    process.wait()
    return b"", b"".join(errors)[-65536:]


def _keep_end(stream: IO[bytes], kept: list[bytes]) -> None:
    while chunk := stream.read(65536):
        kept[:] = [b"".join(kept)[-65536:], chunk]


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


def differences(source: dict[str, TreeEntry], copy: dict[str, TreeEntry]) -> list[str]:
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


def _entry(path: str, status: os.stat_result, progress: Progress) -> TreeEntry:
    mode, digest, size = status.st_mode, "", 0
    if stat.S_ISREG(mode):
        kind, digest, size = "file", _digest(path, progress), status.st_size
    elif stat.S_ISDIR(mode):
        kind = "directory"
    elif stat.S_ISLNK(mode):
        kind, digest = "link", os.readlink(path)  # noqa: PTH115 - a plain string is at hand
    else:
        kind = "other"
    return TreeEntry(kind, stat.S_IMODE(mode), status.st_uid, status.st_gid, size, digest)


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
