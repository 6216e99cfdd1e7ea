"""Whether a log is as it was written, and where it is not.

The chain alone finds who edits lines and does no more: it needs no key, so it can be made anew from any line
on. The checkpoints find that too. They also find an end that was cut off, as long as one of their files was
out of reach. What came after the last checkpoint is fixed by the chain alone; a report says how much that is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final, final

from sealwire.audit.files import unusable
from sealwire.audit.line import MAX_LINE_BYTES, Line, NotALine, Tail, Tree, before, leaf_hash, read_line
from sealwire.audit.signing import Checkpoint, VerificationKey, open_checkpoint, split_notes

MAX_CHECKPOINTS_BYTES: Final = 256 << 20
_MOST_FLAWS: Final = 1000


class FlawKind(Enum):
    """What is wrong, and what that means."""

    NOT_A_LINE = "a line is not one that Sealwire writes"
    EDITED = "a line is another one than the next line follows on"
    MISSING = "lines are missing"
    REPEATED = "lines are there twice, or in another order"
    TORN = "the last line is cut off"
    NO_BEGINNING = "the first file there is does not begin the log"
    NOT_A_FILE = "a file does not begin as one of a log does"
    OTHER_LINES = "the lines up to a checkpoint are not those that were signed"
    CUT_OFF = "lines that were signed are missing at the end"
    BAD_CHECKPOINT = "a checkpoint is not signed by this key, or is cut off"
    NO_CHECKPOINTS = "nothing is signed"


@dataclass(frozen=True, slots=True)
class Spot:
    """A line of a file, from 1 on; without a path, nowhere in particular."""

    path: Path | None
    line: int


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong, and where."""

    kind: FlawKind
    spot: Spot
    detail: str


@dataclass(slots=True)
class LogReport:
    """What a verification has seen."""

    lines: int = 0
    """How many lines the log has, from its beginning on."""
    read: int = 0
    """How many of them were read."""
    signed: int = 0
    """How many of them, from the beginning on, a checkpoint that fits vouches for."""
    signed_at: datetime | None = None
    checkpoints: int = 0
    flaws: list[Flaw] = field(default_factory=list)
    more: int = 0
    """How many more there are than are listed."""

    @property
    def is_whole(self) -> bool:
        """Whether no flaw was found."""
        return not self.flaws

    def add(self, kind: FlawKind, spot: Spot, detail: str = "") -> None:
        """Keep a flaw, or count it."""
        if len(self.flaws) < _MOST_FLAWS:
            self.flaws.append(Flaw(kind, spot, detail))
        else:
            self.more += 1


def read_checkpoints(paths: Iterable[Path], key: VerificationKey, report: LogReport) -> dict[int, Checkpoint]:
    """The newest checkpoint of each size in these files; what is wrong with them goes into `report`.

    A file that is missing is an empty one. Raises AuditFileProblem. Cost: 100 us a checkpoint.
    """
    known: dict[int, Checkpoint] = {}
    for path in paths:
        line = 1
        for note in split_notes(_content(path), key.name):
            checkpoint = open_checkpoint(note, key)
            if checkpoint is None:
                report.add(FlawKind.BAD_CHECKPOINT, Spot(path, line))
            elif (same := known.setdefault(checkpoint.size, checkpoint)).root != checkpoint.root:
                detail = f"another one says something else of the first {checkpoint.size} lines"
                report.add(FlawKind.BAD_CHECKPOINT, Spot(path, line), detail)
            elif same.time < checkpoint.time:
                known[checkpoint.size] = checkpoint
            line += note.count(b"\n")
    report.checkpoints = len(known)
    if not known:
        report.add(FlawKind.NO_CHECKPOINTS, Spot(None, 0))
    return known


def verify(
    files: Iterable[Path],
    checkpoints: Mapping[int, Checkpoint],
    report: LogReport,
    progress: Callable[[int], None] = lambda _bytes: None,
    *,
    archived: bool = False,
    seen: Callable[[Line], None] = lambda _line: None,
) -> None:
    """Read all lines of `files`, oldest first, and hold them against each other and the checkpoints.

    `archived`: files before the first of these need not be there. `progress` is called with the bytes read
    since, `seen` with each line that can be read. Raises AuditFileProblem. Memory: a line.
    Cost: 10 us a line.
    """
    chain = Chain(report, checkpoints, archived=archived)
    for path in files:
        with _reading(path) as lines:
            for number, data in enumerate(lines, 1):
                line = chain.line(Spot(path, number), data)
                if line is not None:
                    seen(line)
                progress(len(data))
    chain.end()


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_CHECKPOINTS_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise unusable(path, error) from None


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """What a line has to follow on."""

    size: int
    """How many lines there are before it: the number that it should have."""
    previous: bytes
    """The hash that it should name."""
    peaks: tuple[bytes, ...] | None
    """The tree over all lines before it; None where that is not known."""


@final
class Chain:
    """What the lines so far ask of the next one."""

    def __init__(
        self,
        report: LogReport,
        checkpoints: Mapping[int, Checkpoint],
        *,
        archived: bool,
        end: ChainEnd | None = None,
    ) -> None:
        """With an `end` the lines up to there were read before. Raises ValueError for one that is none."""
        self._report = report
        self._checkpoints = checkpoints
        self._archived = archived
        self._next: int | None = None
        """The number that the next line should have; None before the first."""
        self._previous = b""
        """The hash that it should name."""
        self._tree: Tree | None = None
        """None where it is not known, or not the one that was signed."""
        self._before = Spot(None, 0)
        """Where the last line was."""
        if end is not None:
            self._next, self._previous = end.size, end.previous
            self._tree = None if end.peaks is None else Tree(end.size, end.peaks)

    @property
    def end_of_lines(self) -> ChainEnd | None:
        """Where the lines so far end; None before the first."""
        if self._next is None:
            return None
        return ChainEnd(self._next, self._previous, None if self._tree is None else self._tree.peaks)

    def line(self, spot: Spot, data: bytes) -> Line | None:
        """The next line of a file, and what it says; None where it is none."""
        report = self._report
        report.read += 1
        opening: Tail | None = None
        line: Line | None = None
        try:
            line = read_line(data)
            number = line.number
            if spot.line == 1:
                opening = self._opened(spot, data)
            self._follow(spot, line, opening)
        except NotALine:
            is_torn = not data.endswith(b"\n") and len(data) < MAX_LINE_BYTES
            report.add(FlawKind.TORN if is_torn else FlawKind.NOT_A_LINE, spot)
            # it stands where a line of the log should stand
            number = self._next or 0
            self._tree = None
        self._previous = leaf_hash(data)
        self._next = number + 1
        self._before = spot
        if self._tree is not None:
            self._tree.append(self._previous)
            self._compare(spot)
        return line

    def end(self) -> None:
        """No line follows."""
        report, size = self._report, self._next or 0
        report.lines = size
        last = max(self._checkpoints, default=0)
        if last > size:
            detail = f"{last - size} of them, from line {size} of the log on"
            report.add(FlawKind.CUT_OFF, self._before, detail)

    def _opened(self, spot: Spot, data: bytes) -> Tail | None:
        try:
            return before(data)
        except NotALine:
            self._report.add(FlawKind.NOT_A_FILE, spot)
            return None

    def _follow(self, spot: Spot, line: Line, opening: Tail | None) -> None:
        report = self._report
        if self._next is None:
            if line.number and not self._archived:
                report.add(FlawKind.NO_BEGINNING, spot, f"it begins with line {line.number} of the log")
            self._tree = opening and opening.tree
            return
        if line.number > self._next:
            detail = f"{line.number - self._next} of them, from line {self._next} of the log on"
            report.add(FlawKind.MISSING, spot, detail)
            self._tree = opening and opening.tree
        elif line.number < self._next:
            detail = f"line {line.number} of the log, where {self._next} should stand"
            report.add(FlawKind.REPEATED, spot, detail)
            self._tree = None
        elif line.previous != self._previous:
            report.add(FlawKind.EDITED, self._before, f"line {line.number - 1} of the log")
            self._tree = opening and opening.tree
        elif opening is not None:
            if self._tree is not None and self._tree.peaks != opening.tree.peaks:
                report.add(FlawKind.EDITED, spot, f"line {line.number} of the log")
            self._tree = opening.tree

    def _compare(self, spot: Spot) -> None:
        """Hold the tree against the checkpoint of its size, if there is one."""
        report, tree = self._report, self._tree
        checkpoint = None if tree is None else self._checkpoints.get(tree.size)
        if tree is None or checkpoint is None:
            return
        if checkpoint.root == tree.root():
            report.signed, report.signed_at = checkpoint.size, checkpoint.time
        else:
            detail = f"between line {report.signed} and line {checkpoint.size - 1} of the log"
            report.add(FlawKind.OTHER_LINES, spot, detail)
            # every later checkpoint differs for the same reason
            self._tree = None


@contextmanager
def _reading(path: Path) -> Iterator[Iterator[bytes]]:
    try:
        with path.open("rb") as file:
            yield iter(lambda: file.readline(MAX_LINE_BYTES), b"")
    except OSError as error:
        raise unusable(path, error) from None
