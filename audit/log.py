"""The log as files that several processes append to: one chain over workers, commands and restarts.

Whoever appends holds a lock, first follows what others have written, and then writes all lines in one call.
A part of a line that a crash has left is put into a file beside the log, and a line says so. A file that is
full is renamed, with the number of its first line behind its name. Where somebody else has renamed it, as
logrotate does, a new one is begun.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, final

from sealwire.audit.errors import AuditReason, NotAudited
from sealwire.audit.files import (
    LogPlace,
    append_whole,
    damaged,
    end_of,
    end_of_file,
    is_at,
    moment_text,
    newest_file,
    open_file,
    unusable,
)
from sealwire.audit.line import MAX_LINE_BYTES, Fields, NotALine, NotNext, Tail, before
from sealwire.audit.signing import Checkpoint, SigningKey, open_checkpoint, sign_checkpoint, split_notes

_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class LogPace:
    """When something is due."""

    checkpoint_lines: int = 1000
    checkpoint_s: float = 60.0
    file_bytes: int = 32 << 20
    quiet_s: float = 43_200.0
    """A log without new lines is signed again after so long: nothing was cut off its end until then."""


@final
class AuditLog:
    """See the module. For one thread of each process."""

    def __init__(
        self,
        place: LogPlace,
        key: SigningKey | None,
        pace: LogPace,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Go on with the log at `place`, or begin it. Without a key it has no checkpoints.

        Raises AuditFileProblem; LogDamaged FOREIGN, CHANGED. Cost: O(the file), 2 us a line.
        """
        self._place, self._key, self._pace, self._clock = place, key, pace, clock
        self._tail, self._file, self._size = Tail(), -1, 0
        self._lock = open_file(place.path.with_name(place.path.name + ".lock"), os.O_RDWR)
        self._signed = 0
        """How many lines the last checkpoint that this process knows of vouches for."""
        self._signed_at = self._written_at = clock()
        """When signing was last due, and when a checkpoint was last written, or the log was opened."""
        try:
            with self._locked():
                last = self._last_checkpoint()
                self._reach(last)
                self._signed = 0 if last is None else last.size
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """How many lines there are, as far as this process has followed them."""
        return self._tail.size

    def append(self, lines: Sequence[Fields]) -> None:
        """Keep these lines, in this order, all or none; what stands before them is signed where it is due.

        Raises NotAudited, AuditFileProblem, LogDamaged; ValueError as `line.write_line`. Cost: some 10 us,
        and 5 us a line.
        """
        with self._locked():
            self._reach(None)
            # not after the new ones: where that failed they would be there, and be told of as missing
            if self._is_long_unsigned:
                self._sign()
            self._put(lambda tail: [tail.written(fields) for fields in lines])

    def tick(self) -> None:
        """About once a second: sign what is due. Raises as `append`."""
        late = (self._clock() - self._signed_at).total_seconds()
        # a clock that was set back would else hold up the next one for as long
        if late >= self._pace.checkpoint_s or late < 0 or self._is_long_unsigned:
            self.sign()

    @property
    def _is_long_unsigned(self) -> bool:
        return self._tail.size - self._signed >= self._pace.checkpoint_lines

    def sign(self) -> None:
        """Write a checkpoint of all lines so far, where one is missing or old. Raises as `append`."""
        self._signed_at = self._clock()
        quiet_s = (self._signed_at - self._written_at).total_seconds()
        if self._key is not None:
            with self._locked():
                self._reach(None)
                if self._tail.size > self._signed or quiet_s >= self._pace.quiet_s:
                    self._sign()

    def close(self) -> None:
        """Nothing follows. A second time changes nothing."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock. What the system says against anything within is raised as AuditFileProblem."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        except OSError as error:
            raise unusable(self._place.path, error) from None

    # ---------------------------------------------------------------------------------------------- following

    def _reach(self, signed: Checkpoint | None) -> None:
        """Follow what others have written, and have a file that can be written to."""
        path = self._place.path
        if self._file >= 0:
            is_ours = is_at(self._file, path)
            # a file that was cut and then moved away holds nobody up: `verify` says what is missing
            if is_ours or os.fstat(self._file).st_size >= self._size:
                self._follow(signed)
            if not is_ours:
                self._leave()
        if self._file < 0:
            self._file = open_file(path, os.O_RDWR)
            self._follow(signed)
        if self._size == 0:
            # also where a full disk has kept an earlier call from doing so
            self._begin(signed)
        if signed is not None and self._tail.size < signed.size:
            raise damaged(f"{path} ends after {self._tail.size} lines, and {signed.size} were signed")
        if self._size >= self._pace.file_bytes:
            self._rotate()

    def _begin(self, signed: Checkpoint | None) -> None:
        """The first line of a new file. Who does not know the log looks for its last file."""
        if self._tail.size == 0:
            self._tail = end_of(newest_file(self._place.path))
            if self._tail.size == 0 and signed is not None:
                # else the next start would take the empty file for the beginning of a log
                self._place.path.unlink(missing_ok=True)
                raise damaged(f"{self._place.path} is gone, and {signed.size} lines were signed")
        self._put(lambda tail: [tail.opening({"time": moment_text(self._clock())})])

    def _follow(self, signed: Checkpoint | None) -> None:
        known = os.fstat(self._file).st_size
        if known < self._size:
            raise damaged(f"{self._place.path} has become shorter")
        tail = self._tail.copy()
        rest = b""
        at = self._size
        while at + len(rest) < known:
            rest += os.pread(self._file, _READ_BYTES, at + len(rest))
            *lines, rest = rest.split(b"\n")
            for line in lines:
                tail = self._passed(tail, line + b"\n", at)
                at += len(line) + 1
                if signed is not None and signed.size == tail.size and signed.root != tail.tree.root():
                    raise damaged(f"{self._place.path}: the first {signed.size} lines are not those signed")
            if len(rest) > MAX_LINE_BYTES:
                raise damaged(f"{self._place.path} has no line at byte {at}")
        self._tail, self._size = tail, at
        if rest:
            self._mend(rest)

    def _passed(self, tail: Tail, line: bytes, at: int) -> Tail:
        try:
            if at == 0:
                opened = before(line)
                # Others may have filled a file or more since we looked; `verify` sees what is missing.
                if opened.size < tail.size or (opened.size == tail.size and not tail.is_at(opened)):
                    raise NotNext
                tail = opened
            tail.follow(line)
        except NotALine:
            reason = AuditReason.FOREIGN if at == 0 else AuditReason.CHANGED
            raise damaged(f"{self._place.path} has no line of an audit log at byte {at}", reason) from None
        except NotNext:
            raise damaged(f"{self._place.path}: the line at byte {at} does not follow") from None
        return tail

    def _mend(self, torn: bytes) -> None:
        """Put the part of a line that a crash has left beside the log, and say so in the log."""
        path = self._place.path
        beside = path.with_name(f"{path.name}.torn-{self._tail.size}-{os.getpid()}")
        beside.unlink(missing_ok=True)
        append_whole(beside, torn)
        os.ftruncate(self._file, self._size)
        fields: Fields = {"event": "torn", "time": moment_text(self._clock()), "bytes": len(torn)}
        self._put(lambda tail: [tail.written(fields)])

    # ---------------------------------------------------------------------------------------------- writing

    def _put(self, write: Callable[[Tail], list[bytes]]) -> None:
        tail = self._tail.copy()
        data = b"".join(write(tail))
        try:
            os.lseek(self._file, self._size, os.SEEK_SET)
            written = os.write(self._file, data)
            if written < len(data):
                # a disk has a little room and no more: the next call says why
                written += os.write(self._file, data[written:])
        except OSError as error:
            problem, written = os.strerror(error.errno or 0), 0
        else:
            problem = "no space left"
        if written < len(data):
            os.ftruncate(self._file, self._size)
            raise NotAudited(
                AuditReason.UNWRITABLE,
                f"{self._place.path} cannot be written: {problem}",
                "make room on the disk",
            )
        self._tail, self._size = tail, self._size + len(data)

    def _rotate(self) -> None:
        path = self._place.path
        opening = os.pread(self._file, MAX_LINE_BYTES, 0).partition(b"\n")[0] + b"\n"
        first = before(opening).size
        os.fsync(self._file)
        path.rename(path.with_name(f"{path.name}.{first:015d}"))
        self._leave()
        self._reach(None)

    def _leave(self) -> None:
        """Write to this file no more. The next one goes on from the same tail."""
        os.close(self._file)
        self._file, self._size = -1, 0

    def _sign(self) -> None:
        if self._key is None:
            return
        # what is signed has to be there after a power failure
        os.fsync(self._file)
        tree, now = self._tail.tree, self._clock()
        note = sign_checkpoint(Checkpoint(tree.size, tree.root(), now), self._key)
        for path in self._place.checkpoints:
            append_whole(path, note)
        self._signed, self._signed_at, self._written_at = tree.size, now, now

    def _last_checkpoint(self) -> Checkpoint | None:
        """The furthest that stands in a file of checkpoints and is signed by our key."""
        if self._key is None:
            return None
        key = self._key.verification
        notes = (
            note for path in self._place.checkpoints for note in split_notes(end_of_file(path), key.name)
        )
        opened = (open_checkpoint(note, key) for note in notes)
        return max((each for each in opened if each), key=lambda each: each.size, default=None)
