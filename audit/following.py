"""A log that is read as it grows: each line once, held against the one before it and against checkpoints.

Where reading stands can be kept and gone on from, by another process too. What is wrong with the log is
told of with the lines, and reading goes on behind it: nothing that was written after it is missed.
"""

import json
import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from sealwire.audit.files import LogPlace, is_at, numbered_files, unusable
from sealwire.audit.line import MAX_LINE_BYTES, Line, Tree, leaf_hash
from sealwire.audit.signing import Checkpoint, VerificationKey, open_checkpoint, split_notes
from sealwire.audit.verification import Chain, ChainEnd, Flaw, FlawKind, LogReport, Spot

_READ_BYTES: Final = 1 << 20
_MOST_LEAVES: Final = 100_000
"""How many lines may wait for a checkpoint; 32 bytes each."""
_FIRST_LOOK: Final = 64 * 1024
"""How much of the end of a file of checkpoints is read at first."""


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far a log was read."""

    file: int
    """The number of the first line of the file that is being read."""
    offset: int
    """How many of its bytes were read."""
    end: ChainEnd
    time: str = ""
    """The time of the last line."""

    @property
    def text(self) -> str:
        """What `read_position` reads."""
        peaks = None if self.end.peaks is None else [peak.hex() for peak in self.end.peaks]
        return json.dumps([self.file, self.offset, self.end.size, self.end.previous.hex(), peaks, self.time])


def read_position(text: str) -> LogPosition:
    """The position that was written as `LogPosition.text`. Raises ValueError."""
    try:
        file, offset, size, previous, peaks, time = json.loads(text)
        tree = None if peaks is None else tuple(map(bytes.fromhex, peaks))
        end = ChainEnd(int(size), bytes.fromhex(previous), tree)
        return LogPosition(int(file), int(offset), end, str(time))
    except TypeError:
        raise ValueError("this is no position") from None


@dataclass(slots=True)
class NewLines:
    """What a look at a log has found."""

    lines: list[Line] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    is_end: bool = True
    """Whether there was no more; else the next look goes on at once."""


@final
class LogFollower:
    """See the module. For one thread."""

    def __init__(
        self, place: LogPlace, key: VerificationKey | None, position: LogPosition | None = None
    ) -> None:
        """Begin at the oldest line there is, or go on at `position`. Without a key no checkpoint is read."""
        self._path = place.path
        self._report = LogReport()
        end = None if position is None else position.end
        self._chain = Chain(self._report, {}, archived=True, end=end)
        self._file, self._first, self._offset, self._number = -1, -1, 0, 0
        self._is_gone = False
        self._resume = position
        self._time = "" if position is None else position.time
        """The time of the last line."""
        self._known_until = ""
        """Lines up to this time were read before, where a file is read once more."""
        self._signatures = None if key is None else _Signatures(place.checkpoints, key, end)

    @property
    def position(self) -> LogPosition | None:
        """How far this has come; None before the first line."""
        end = self._chain.end_of_lines
        if end is None or self._first < 0:
            return self._resume
        return LogPosition(self._first, self._offset, end, self._time)

    def look(self, most: int = 5000) -> NewLines:
        """The next lines, and what is wrong with them. Raises AuditFileProblem. Cost: 10 us a line."""
        found = NewLines()
        signatures = self._signatures
        try:
            if signatures is not None:
                # before the lines: what a checkpoint vouches for is on the disk when it is written
                signatures.read(self._report)
            found.is_end = self._read(found.lines, most)
        except OSError as error:
            raise unusable(self._path, error) from None
        end = self._chain.end_of_lines
        if signatures is not None and end is not None:
            signatures.compare(end, self._report, is_end=found.is_end)
        found.flaws, self._report.flaws = self._report.flaws, []
        return found

    def close(self) -> None:
        """Nothing is read any more. A second time changes nothing."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _read(self, lines: list[Line], most: int) -> bool:
        """Whether the end was reached."""
        while len(lines) < most:
            if self._file < 0 and not self._open():
                return True
            if self._read_file(lines, most):
                continue
            if len(lines) >= most:
                return False
            if is_at(self._file, self._path) or not self._leave():
                return True
        return False

    def _read_file(self, lines: list[Line], most: int) -> bool:
        """Read on in the file; False where it has nothing more, or enough was read."""
        status = os.fstat(self._file)
        if status.st_size < self._offset:
            self._flaw(FlawKind.CUT_OFF, "the file has become shorter")
            self._begin_again()
        if status.st_nlink == 0 and not self._is_gone:
            self._flaw(FlawKind.MISSING, "the file that was read was removed")
            self._is_gone = True
        data = os.pread(self._file, _READ_BYTES, self._offset)
        *whole, rest = data.split(b"\n")
        if not whole and len(rest) >= MAX_LINE_BYTES:
            whole = [rest[:MAX_LINE_BYTES]]
        before = self._offset
        for each in whole:
            if len(lines) >= most:
                break
            # without its newline it is none, and the chain says so
            text = each + b"\n" if len(each) < MAX_LINE_BYTES else each
            self._number += 1
            self._offset += len(text)
            line = self._chain.line(Spot(self._path, self._number), text)
            self._passed(line)
            if line is not None and self._is_new(line):
                lines.append(line)
        return self._offset > before and len(lines) < most

    def _is_new(self, line: Line) -> bool:
        self._time = str(line.fields.get("time", self._time))
        if self._known_until and self._time <= self._known_until:
            return False
        self._known_until = ""
        return True

    def _begin_again(self) -> None:
        """Read the file from its beginning: it is not the one that was read so far, or not as it was.

        Lines up to the time of the last one are read for the chain alone. It may be a log begun anew.
        """
        self._chain = Chain(self._report, {}, archived=True)
        self._offset, self._number, self._known_until = 0, 0, self._time

    def _passed(self, line: Line | None) -> None:
        end = self._chain.end_of_lines
        if self._signatures is not None and end is not None:
            self._signatures.passed(end, is_line=line is not None)

    def _flaw(self, kind: FlawKind, detail: str) -> None:
        self._report.add(kind, Spot(self._path, self._number), detail)

    # --------------------------------------------------------------------------------------------- the files

    def _leave(self) -> bool:
        """Close the file, which is at the log's path no more; False where no other one is there yet."""
        files = _by_number(self._path)
        if not any(first > self._first for first, _ in files):
            # somebody may have put another file in the place of this one, and the log goes on in that
            path = dict(files).get(self._first)
            if path is None or is_at(self._file, path):
                return False
            self._resume = self.position
        self.close()
        return True

    def _open(self) -> bool:
        """Open the file to read next; False where there is none yet."""
        files = _by_number(self._path)
        resume = self._resume
        if not files:
            if resume is not None and not self._is_gone:
                self._flaw(FlawKind.MISSING, "all files of the log")
                self._is_gone = True
            return False
        self._resume = None
        if resume is not None and self._go_on(resume, files):
            return True
        first, path = self._chosen(files)
        self._file, self._first, self._offset, self._number = _opened(path), first, 0, 0
        self._is_gone = False
        return True

    def _chosen(self, files: list[tuple[int, Path]]) -> tuple[int, Path]:
        """The file that follows: of those behind the one that was read, the first."""
        end = self._chain.end_of_lines
        if end is None:
            return files[0]
        after = [each for each in files if each[0] > self._first and each[0] >= end.size]
        return after[0] if after else files[-1]

    def _go_on(self, position: LogPosition, files: list[tuple[int, Path]]) -> bool:
        """Open the file that another process has read in; False where it is not there."""
        path = dict(files).get(position.file)
        if path is None:
            return False
        file = _opened(path)
        self._file, self._first, self._offset = file, position.file, position.offset
        self._number, self._is_gone = position.end.size - position.file, False
        before = os.pread(
            file, min(position.offset, MAX_LINE_BYTES), max(0, position.offset - MAX_LINE_BYTES)
        )
        last = before[:-1].rpartition(b"\n")[2] + b"\n"
        is_there = len(before) == min(position.offset, MAX_LINE_BYTES)
        if is_there and leaf_hash(last) != position.end.previous:
            self._flaw(FlawKind.EDITED, "the last line that was read is another one now")
            self._begin_again()
        return True


@final
class _Signatures:
    """The checkpoints of a log as they are written, and the lines that none vouches for yet."""

    def __init__(self, paths: tuple[Path, ...], key: VerificationKey, end: ChainEnd | None) -> None:
        self._paths, self._key = paths, key
        self._read: dict[Path, int] = {}
        """How many bytes of a file were read."""
        self._waiting: list[Checkpoint] = []
        self._known = 0
        """How many lines the furthest checkpoint that was seen vouches for."""
        self._leaves: deque[bytes] = deque()
        """The hashes of the lines since the tree below."""
        self._tree = None if end is None or end.peaks is None else Tree(end.size, end.peaks)
        """Up to here the lines were compared, or cannot be; None: it is not known."""

    def read(self, report: LogReport) -> None:
        """The checkpoints that are new. Raises OSError."""
        for path in self._paths:
            try:
                with path.open("rb") as file:
                    self._read_file(path, file.seek(0, os.SEEK_END), file.fileno(), report)
            except FileNotFoundError:
                if self._read.pop(path, 0):
                    report.add(FlawKind.BAD_CHECKPOINT, Spot(path, 0), "the file was removed")

    def _read_file(self, path: Path, size: int, file: int, report: LogReport) -> None:
        is_first = path not in self._read
        start = self._read.setdefault(path, max(0, size - _FIRST_LOOK))
        if size < start:
            report.add(FlawKind.BAD_CHECKPOINT, Spot(path, 0), "the file has become shorter")
            self._read[path] = size
            return
        content = os.pread(file, size - start, start)
        if not content.endswith(b"\n"):
            return
        self._read[path] = size
        for number, note in enumerate(split_notes(content, self._key.name)):
            checkpoint = open_checkpoint(note, self._key)
            if checkpoint is not None:
                self._known = max(self._known, checkpoint.size)
                self._waiting.append(checkpoint)
            elif not (is_first and start and number == 0):
                report.add(FlawKind.BAD_CHECKPOINT, Spot(path, 0), "among those that are new")

    def passed(self, end: ChainEnd, *, is_line: bool) -> None:
        """A line more was read."""
        if end.peaks is None or not is_line:
            self._tree = None
            self._leaves.clear()
        elif self._tree is None or len(self._leaves) >= _MOST_LEAVES:
            self._tree = Tree(end.size, end.peaks)
            self._leaves.clear()
        else:
            self._leaves.append(end.previous)
            if self._tree.size + len(self._leaves) != end.size:
                # the log went on elsewhere, and the chain has said so
                self._tree = Tree(end.size, end.peaks)
                self._leaves.clear()

    def compare(self, end: ChainEnd, report: LogReport, *, is_end: bool) -> None:
        """Hold what was read against the checkpoints of it."""
        self._waiting.sort(key=lambda each: each.size)
        while self._waiting and self._waiting[0].size <= end.size:
            self._compare(self._waiting.pop(0), report)
        if is_end and self._waiting:
            detail = f"{self._waiting[-1].size - end.size} of them, from line {end.size} of the log on"
            report.add(FlawKind.CUT_OFF, Spot(self._paths[0], 0), detail)
            self._waiting.clear()

    def _compare(self, checkpoint: Checkpoint, report: LogReport) -> None:
        tree = self._tree
        if tree is None or checkpoint.size < tree.size:
            return
        while tree.size < checkpoint.size:
            tree.append(self._leaves.popleft())
        if tree.root() != checkpoint.root:
            detail = f"before line {checkpoint.size} of the log"
            report.add(FlawKind.OTHER_LINES, Spot(self._paths[0], 0), detail)
            # every later checkpoint differs for the same reason
            self._tree = None
            self._leaves.clear()


def _by_number(path: Path) -> list[tuple[int, Path]]:
    """The files of a log by the numbers of their first lines; of two with the same one, that at `path`."""
    return list(dict(numbered_files(path)).items())


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
