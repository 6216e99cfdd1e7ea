"""The whole log again, now and then: lines that were read already may have been changed since."""

import threading
from queue import SimpleQueue
from typing import Final, final

from sealwire.audit.errors import AuditError
from sealwire.audit.files import LogPlace, files_to_verify
from sealwire.audit.signing import VerificationKey
from sealwire.audit.verification import Flaw, FlawKind, LogReport, Spot, read_checkpoints, verify

_STOP_S: Final = 5.0


class _Stopped(Exception):
    """The watch ends."""


@final
class Recheck:
    """Verifies a log from its beginning, in a thread of its own: at the start, and again and again."""

    def __init__(self, place: LogPlace, key: VerificationKey | None, every_s: float) -> None:
        """Without a key the chain alone is looked at."""
        self._place, self._key, self._every_s = place, key, every_s
        self._found: SimpleQueue[list[Flaw]] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recheck", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, in the middle of the log too."""
        self._stop.set()
        self._thread.join(_STOP_S)

    def flaws(self) -> list[Flaw]:
        """What was found since it was last asked for."""
        found: list[Flaw] = []
        while not self._found.empty():
            found += self._found.get()
        return found

    def look(self) -> list[Flaw]:
        """Verify the log, and return what is wrong with it. Cost: 10 us a line.

        What is found is looked at twice: a file may be renamed while all are read.
        """
        return self._verified() and self._verified()

    def _verified(self) -> list[Flaw]:
        report = LogReport()
        try:
            # before the lines: what a checkpoint vouches for is on the disk when it is written
            checkpoints = {}
            if self._key is not None:
                checkpoints = read_checkpoints(self._place.checkpoints, self._key, report)
            verify(files_to_verify(self._place.path), checkpoints, report, self._go_on, archived=True)
        except AuditError as error:
            report.add(FlawKind.NOT_A_FILE, Spot(self._place.path, 0), str(error))
        return [flaw for flaw in report.flaws if not self._is_beginning_or_end(flaw)]

    def _is_beginning_or_end(self, flaw: Flaw) -> bool:
        """A log may have no checkpoint yet, and its last line may just be written."""
        is_last = flaw.kind is FlawKind.TORN and flaw.spot.path == self._place.path
        return is_last or flaw.kind is FlawKind.NO_CHECKPOINTS

    def _go_on(self, _bytes: int) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._found.put(self.look())
            except _Stopped:
                return
            self._stop.wait(self._every_s)
