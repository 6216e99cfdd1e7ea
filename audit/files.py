"""The files of a log and of its checkpoints: where they lie, how they are opened, which come after which."""

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sealwire.audit import signing
from sealwire.audit.errors import AuditFileProblem, AuditReason, LogDamaged, NotAudited
from sealwire.audit.line import MAX_LINE_BYTES, NotALine, NotNext, Tail, before
from sealwire.keys.private_file import read_private, read_trusted

MODE: Final = 0o600
CHECKPOINTS_SUFFIX: Final = ".checkpoints"
_MAX_CHECKPOINT_TAIL: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a log and its checkpoints lie."""

    path: Path
    also: Path | None = None
    """A second file of checkpoints, on another file system: who cuts off the end has to reach it too."""

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """All files of checkpoints."""
        beside = self.path.with_name(self.path.name + CHECKPOINTS_SUFFIX)
        return (beside,) if self.also is None else (beside, self.also)


def load_signing_key(path: Path) -> signing.SigningKey:
    """The key in a file that only its owner can read. Raises AuditKeyProblem; KeysError as `read_private`."""
    return signing.read_signing_key(read_private(path, signing.MAX_KEY_BYTES))


def load_verification_key(path: Path) -> signing.VerificationKey:
    """The key in a file that only its owner changes. Raises AuditKeyProblem; KeysError as `read_trusted`."""
    return signing.read_verification_key(read_trusted(path, signing.MAX_KEY_BYTES))


def files_of(path: Path) -> list[Path]:
    """The files of a log that lie at `path` and beside it, whatever they were renamed to, oldest first.

    What does not begin as a file of a log is none. Raises AuditFileProblem. Cost: a line of each file.
    """
    return [each for _, each in numbered_files(path)]


def files_to_verify(path: Path) -> list[Path]:
    """As `files_of`, and what lies at `path` even if it does not begin as a file of a log: that is a flaw.

    Empty where nothing is there, and no checkpoint says that something should be; and where a file that has
    none beside it is no file of a log, for then the path is the mistake. Raises AuditFileProblem.
    """
    found = files_of(path)
    was_log = found or any(each.exists() for each in LogPlace(path).checkpoints)
    try:
        if was_log and path not in found and path.stat().st_size:
            found.append(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise unusable(path, error) from None
    return found


def numbered_files(path: Path) -> list[tuple[int, Path]]:
    """As `files_of`, each with the number of its first line."""
    found: list[tuple[int, Path]] = []
    for each in {path, *path.parent.glob(f"{_escaped(path.name)}[.-]*")}:
        first = _number_of(each)
        if first is not None:
            found.append((first, each))
    # of two with the same first line the one at `path` is the one that is written to
    return sorted(found, key=lambda pair: (pair[0], pair[1] == path, pair[1]))


def newest_file(path: Path) -> Path | None:
    """The last file of the log that has lines; None where there is none. Raises AuditFileProblem."""
    return next(reversed(files_of(path)), None)


def _number_of(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            return before(file.readline(MAX_LINE_BYTES)).size
    except (NotALine, FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        raise unusable(path, error) from None


def end_of(path: Path | None) -> Tail:
    """The tail behind a file that is written to no more. Raises LogDamaged."""
    tail = Tail()
    if path is None:
        return tail
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b"")):
            try:
                tail = before(line) if number == 0 else tail
                tail.follow(line)
            except (NotALine, NotNext):
                raise damaged(f"{path}: line {number + 1} does not follow") from None
    return tail


def end_of_file(path: Path) -> bytes:
    """The last 64 KiB; empty where there is no file. Raises AuditFileProblem."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _MAX_CHECKPOINT_TAIL))
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise unusable(path, error) from None


def append_whole(path: Path, note: bytes) -> None:
    """Append all of `note`, on the disk, or nothing. Raises AuditFileProblem, NotAudited."""
    file = open_file(path, os.O_RDWR | os.O_APPEND)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            # the last one is cut off: this one has to begin on a line of its own
            note = b"\n" + note
        try:
            is_whole = os.write(file, note) == len(note)
            os.fsync(file)
        except OSError:
            is_whole = False
        if not is_whole:
            os.ftruncate(file, size)
            raise NotAudited(AuditReason.UNWRITABLE, f"{path} cannot be written", "make room on the disk")
    finally:
        os.close(file)


def open_file(path: Path, flags: int) -> int:
    """Open a file for its owner alone, and make it where it is missing. Raises AuditFileProblem.

    What root makes belongs to the owner of the folder, so that others who write to the log still can.
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with suppress(FileNotFoundError):
            return os.open(path, flags)
        file = os.open(path, flags | os.O_CREAT, MODE)
        if os.geteuid() == 0:
            folder = path.parent.stat()
            os.fchown(file, folder.st_uid, folder.st_gid)
    except OSError as error:
        raise unusable(path, error) from None
    return file


def is_at(file: int, path: Path) -> bool:
    """Whether the open file is the one at `path` now."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def unusable(path: Path, error: OSError) -> AuditFileProblem:
    """What to raise where the system does not let us at a file."""
    text = os.strerror(error.errno or 0)
    if isinstance(error, PermissionError):
        hint = f"let user id {os.geteuid()} read and write it, and its folder"
        return AuditFileProblem(AuditReason.FILE_FORBIDDEN, f"{path}: {text}", hint)
    return AuditFileProblem(
        AuditReason.FILE_MISSING, f"{path}: {text}", "create its folder, or correct the path"
    )


def damaged(problem: str, reason: AuditReason = AuditReason.CHANGED) -> LogDamaged:
    """What to raise where a file is not as Sealwire left it."""
    if reason is AuditReason.FOREIGN:
        return LogDamaged(reason, problem, "move that file away: the log begins a new one")
    hint = "sealwire audit verify says where; to begin anew, move all its files away, checkpoints too"
    return LogDamaged(reason, problem, hint)


def moment_text(moment: datetime) -> str:
    """As lines have it: ISO 8601 with milliseconds."""
    return moment.isoformat(timespec="milliseconds")


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
