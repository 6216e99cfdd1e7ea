"""Everything that this room does to a machine, as one small interface.

The real one is `linux.LinuxMachine`. Tests use a model of a machine that can lose its power after any of
these calls. So each call changes one thing, and what it changed is on disk when it returns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sealwire.sidecars.luks.errors import CommandFailed, LuksReason

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
