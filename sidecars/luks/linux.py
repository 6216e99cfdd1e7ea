"""The machine that this process runs on."""

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sealwire.keys.private_file import flush_directory, replace_private
from sealwire.sidecars.errors import CommandFailed, LuksReason
from sealwire.sidecars.luks.machine import (
    SECOND_SECRET,
    Completed,
    Entry,
    FileStatus,
    OpenFile,
    Progress,
    manifest,
    used_bytes,
)

_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Nothing of this process's own environment, which may hold a passphrase; and messages that do not change.
_ENVIRONMENT = {"PATH": _SEARCH_PATH, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "HOME": "/"}
_ABSENT = (FileNotFoundError, NotADirectoryError)


class LinuxMachine:
    """`Machine` by system calls and the programs of the distribution."""

    def run(
        self,
        arguments: Sequence[str],
        *,
        secret: bytes = b"",
        second_secret: bytes = b"",
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
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
        with _failures_of(path), suppress(*_ABSENT), path.open("rb") as file:
            content = file.read(max_bytes + 1)
            if len(content) > max_bytes:
                text = f"{path} is larger than {max_bytes} bytes"
                raise CommandFailed(LuksReason.COMMAND, text, "check what it is")
            return content
        return None

    def write(self, path: Path, content: bytes, mode: int) -> None:
        with _failures_of(path):
            replace_private(path, content)
            path.chmod(mode)

    def create_image(self, path: Path, size_bytes: int) -> None:
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
        with _failures_of(path):
            path.unlink(missing_ok=True)
            flush_directory(path.parent)

    def make_directory(self, path: Path, mode: int) -> None:
        with _failures_of(path):
            if path.is_dir():
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode)
            path.chmod(mode)
            flush_directory(path.parent)

    def remove_directory(self, path: Path) -> None:
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
        with _failures_of(path), suppress(*_ABSENT):
            return tuple(sorted(os.listdir(path)))  # noqa: PTH208 - names are wanted
        return ()

    def free_bytes(self, path: Path) -> int:
        with _failures_of(path):
            found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def used_bytes(self, path: Path) -> int:
        with _failures_of(path):
            return used_bytes(path)

    def open_files(self, pid: int) -> tuple[OpenFile, ...]:
        found: set[OpenFile] = set()
        process = Path("/proc") / str(pid)
        for link in [process / "cwd", *(process / "fd" / name for name in self.names_in(process / "fd"))]:
            # A process opens and closes files while it is looked at.
            with _failures_of(link), suppress(FileNotFoundError, ProcessLookupError):
                status = link.stat()
                if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                    found.add(OpenFile(str(link.readlink()), _device(status.st_dev)))
        return tuple(sorted(found, key=lambda file: file.path))

    def manifest(self, root: Path, progress: Progress) -> dict[str, Entry]:
        with _failures_of(root):
            return manifest(root, progress)


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
