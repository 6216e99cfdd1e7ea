"""Copies of the log, line by line, to one more place: the log itself is the queue, so nothing is dropped.

How far a copy has come is in a file beside the log, so a new process goes on there, and only one of those
that write to the log copies: the one that holds a lock on this file. A copy that is behind holds nobody up.
What was under way when a process or a connection ended is sent once more; `n` tells a line from its like.
"""

import fcntl
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, final

from sealwire.audit.errors import AuditError
from sealwire.audit.files import LogPlace, open_file
from sealwire.audit.following import LogFollower, LogPosition, read_position
from sealwire.audit.line import encode
from sealwire.proxy.server.audit_writer.destinations import CopyTarget, Destination
from sealwire.proxy.server.observability.logs import LogGate, note

MOST: Final = 200
"""Lines in one go; after a connection has broken as many are sent twice."""
IDLE_S: Final = 0.1
STUCK_S: Final = 10.0
LONGEST_PAUSE_S: Final = 30.0
_TELL_AGAIN_S: Final = 60.0
_MOST_PLACE_BYTES: Final = 16_384

_log = logging.getLogger("sealwire.audit")


@final
class LogCopy:
    """One of `audit.copies`. For one thread, but for what the properties say."""

    def __init__(
        self, place: LogPlace, target: CopyTarget, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._place, self._target, self._clock = place, target, clock
        name = re.sub(r"[^A-Za-z0-9.]+", "-", str(target))
        self._path = place.path.with_name(f"{place.path.name}.copy-{name}")
        self._file = -1
        self._follower: LogFollower | None = None
        self._destination: Destination | None = None
        self._before: LogPosition | None = None
        """Where the lines begin that a stream may still lose."""
        self._gate = LogGate(_TELL_AGAIN_S, clock)
        self._failures_in_a_row = 0
        self._sending_s = math.inf
        """Since when lines are being sent."""
        self.failures = 0
        """How often lines could not be sent."""

    @property
    def is_behind(self) -> bool:
        """Whether the last attempt has failed, or one does not end."""
        return self._failures_in_a_row > 0 or self._clock() - self._sending_s > STUCK_S

    @property
    def pause_s(self) -> float:
        """How long to wait before the next turn, where this one has sent nothing."""
        failures = self._failures_in_a_row
        return min(LONGEST_PAUSE_S, IDLE_S * 2.0**failures) if failures else IDLE_S

    def turn(self) -> bool:
        """Send what is new. Whether anything was sent; then there may be more."""
        try:
            if not self._has_lock():
                return False
            return self._send()
        except (OSError, AuditError) as error:
            self._failed(error)
            return False

    def close(self) -> None:
        """Give the lock back: another process may go on."""
        self._let_go()
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _has_lock(self) -> bool:
        if self._file >= 0:
            return True
        file = open_file(self._path, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def _send(self) -> bool:
        if self._follower is None:
            self._follower = LogFollower(self._place, None, self._kept())
            self._before = self._follower.position
        new = self._follower.look(MOST)
        for flaw in new.flaws:
            # what is missing cannot be copied; what else is wrong is for `verify` to say
            note(_log, logging.WARNING, "the log that is copied is not whole", problem=flaw.kind.name)
        if new.lines:
            if self._destination is None:
                self._destination = self._target.open()
            self._sending_s = self._clock()
            self._destination.send([encode(line.fields).encode() for line in new.lines])
            self._sending_s = math.inf
            now = self._follower.position
            self._keep(self._before if self._target.kind.is_stream else now)
            self._before = now
        if self._failures_in_a_row:
            self._failures_in_a_row = 0
            note(_log, logging.WARNING, "a copy of the audit log goes on", target=str(self._target))
        return bool(new.lines)

    def _kept(self) -> LogPosition | None:
        data = os.pread(self._file, _MOST_PLACE_BYTES, 0)
        try:
            return read_position(data.decode())
        except ValueError:
            return None

    def _keep(self, position: LogPosition | None) -> None:
        if position is not None:
            data = position.text.encode()
            os.pwrite(self._file, data, 0)
            os.ftruncate(self._file, len(data))

    def _let_go(self) -> None:
        if self._follower is not None:
            self._follower.close()
        if self._destination is not None:
            with suppress(OSError):
                self._destination.close()
        self._follower = self._destination = None

    def _failed(self, error: OSError | AuditError) -> None:
        self._let_go()
        self._sending_s = math.inf
        self.failures += 1
        self._failures_in_a_row += 1
        problem = str(error) if isinstance(error, AuditError) else type(error).__name__
        fields = {"target": str(self._target), "problem": problem}
        self._gate.note(_log, logging.ERROR, "a copy of the audit log is behind", problem, **fields)


@final
class Copies:
    """Each copy in a thread of its own, until they are to end."""

    def __init__(self, copies: Sequence[LogCopy]) -> None:
        self._copies = copies
        self._ending = threading.Event()
        self._told = 0
        # daemons: who reads standard output may have stopped
        self._threads = [
            threading.Thread(target=self._run, args=(copy,), name="copy", daemon=True) for copy in copies
        ]
        for thread in self._threads:
            thread.start()

    def told(self) -> tuple[int, int]:
        """A bit for each that is behind, and how often lines could not be sent since this was last asked.

        Cost: 1 us a copy.
        """
        behind = sum(1 << place for place, copy in enumerate(self._copies) if copy.is_behind)
        failures = sum(copy.failures for copy in self._copies)
        since, self._told = failures - self._told, failures
        return behind, since

    def finish(self, within_s: float) -> None:
        """Let them send what there is, and end; what is not sent in time is sent by the next process."""
        self._ending.set()
        end_s = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))

    def _run(self, copy: LogCopy) -> None:
        while True:
            is_last = self._ending.is_set()
            try:
                is_busy = copy.turn()
            except Exception as error:  # noqa: BLE001 - the log and the other copies go on
                note(_log, logging.CRITICAL, "bug: in a copy of the audit log", error)
                is_busy = False
                copy.close()
            if not is_busy:
                if is_last:
                    break
                self._ending.wait(copy.pause_s)
        copy.close()
