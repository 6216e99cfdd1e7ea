"""The audit writer as a program: `python -m sealwire.proxy.server.audit_writer.main ORDERS`, for `keeper`.

It ends when nobody is left who could put anything into a ring: each pipe by which it is woken is held open
by its worker and by who started the writer. Signals that are meant for the proxy as a whole it leaves alone.
"""

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final, final

from sealwire.audit.errors import AuditError, AuditReason
from sealwire.audit.files import load_signing_key
from sealwire.audit.line import Fields
from sealwire.audit.log import AuditLog
from sealwire.proxy.server.audit_writer import records
from sealwire.proxy.server.audit_writer.copies import Copies, LogCopy
from sealwire.proxy.server.audit_writer.ring import RingOutput
from sealwire.proxy.server.observability.logs import LogGate, configure, log_outcries, note

_log = logging.getLogger("sealwire.audit")

LINGER_S: Final = 0.001
"""What comes within this time is written in one go."""
IDLE_MS: Final = 100
RETRY_MS: Final = 1000
FINISH_S: Final = 5.0
"""How long a disk that is full may hold up the end."""
COPIES_FINISH_S: Final = 3.0


# ------------------------------ takes records out of all rings and appends them to the audit log, in one go
#
# Room in a ring is given back only after its records are in the file. A writer that dies in between
# leaves them to the next one, which writes them once more: a line may be there twice, none is missing.

MOST: Final = 500
"""Records of one ring in one go."""
TICK_S: Final = 1.0
_TELL_AGAIN_S: Final = 10.0
UNEXPECTED: Final = len(AuditReason) + 1
_NO_LINE: Final = (ValueError, TypeError, RecursionError)


@final
class AuditWriter:
    """See the module. Nothing that is wrong with the log ends it: it tries again."""

    def __init__(
        self,
        open_log: Callable[[], AuditLog],
        rings: Sequence[RingOutput],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_log = open_log
        self._rings = rings
        self._clock = clock
        self._log: AuditLog | None = None
        self._ticked_s = clock()
        self._gate = LogGate(_TELL_AGAIN_S, clock)
        self.is_troubled = False
        """Whether the last attempt has failed."""

    def turn(self) -> bool:
        """Write what waits, and a checkpoint where one is due. Whether anything was written."""
        now_ns = time.monotonic_ns()
        for ring in self._rings:
            ring.beat(now_ns)
        taken = [record for ring in self._rings for record in ring.look(MOST)]
        is_due = self._clock() - self._ticked_s >= TICK_S
        if not taken and not is_due and not self.is_troubled and self._log is not None:
            return False
        has_written = False
        try:
            self._write([_line(record) for record in taken])
            # before the checkpoint: where that fails, the lines are there all the same
            for ring in self._rings:
                ring.taken()
            has_written = bool(taken)
            if is_due:
                self._ticked_s = self._clock()
                self._opened().tick()
        except Exception as error:  # noqa: BLE001 - whatever it is, the records must not be lost for it
            self._failed(error)
        else:
            self._well()
        return has_written

    def may_sleep(self) -> bool:
        """Ask to be woken; False where something waits already. Follow with `wake`."""
        for ring in self._rings:
            ring.sleep()
        return not any(ring.waiting_bytes for ring in self._rings)

    def wake(self) -> None:
        """Nobody needs to wake the writer."""
        for ring in self._rings:
            ring.wake()

    def finish(self) -> bool:
        """Write what waits and the last checkpoint. False where that fails; it can be called again."""
        while self.turn():
            pass
        if self.is_troubled or self._log is None:
            return False
        try:
            self._log.sign()
        except AuditError as error:
            self._failed(error)
            return False
        self._log.close()
        return True

    def _opened(self) -> AuditLog:
        if self._log is None:
            self._log = self._open_log()
        return self._log

    def _write(self, lines: Sequence[Fields]) -> None:
        log = self._opened()
        if not lines:
            return
        try:
            log.append(lines)
        except _NO_LINE:
            # one of them is no line: that must not keep the others out
            for line in lines:
                _write_alone(log, line)

    def _well(self) -> None:
        if self.is_troubled:
            note(_log, logging.WARNING, "the audit log can be written again")
        self.is_troubled = False
        for ring in self._rings:
            ring.tell(0)

    def _failed(self, error: Exception) -> None:
        self.is_troubled = True
        trouble, waiting = UNEXPECTED, 0
        if isinstance(error, AuditError):
            trouble = 1 + list(AuditReason).index(error.reason)
        for ring in self._rings:
            ring.put_back()
            ring.tell(trouble)
            waiting += ring.waiting_bytes
        event = "the audit log cannot be written"
        if isinstance(error, AuditError):
            kind = error.reason.value
            fields: dict[str, str | int] = {
                "problem": str(error),
                "hint": error.hint,
                "waiting_bytes": waiting,
            }
            self._gate.note(_log, logging.ERROR, event, kind, reason=kind, **fields)
        else:
            note(_log, logging.CRITICAL, f"bug: {event}", error, waiting_bytes=waiting)


def _write_alone(log: AuditLog, line: Fields) -> None:
    for fields in (line, records.shortened(line)):
        try:
            log.append([fields])
        except _NO_LINE:
            continue
        return
    note(_log, logging.CRITICAL, "bug: a record that no line can hold")
    log.append([records.UNREADABLE])


def _line(record: bytes) -> Fields:
    try:
        return records.read_record(record)
    except ValueError:
        return records.UNREADABLE


def run(orders: records.WriterOrders) -> int:
    """Write until nobody is left; 0 when all is written and signed, 1 when something is not."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    def open_log() -> AuditLog:
        key = None if orders.key is None else load_signing_key(orders.key)
        return AuditLog(orders.place, key, orders.pace)

    rings = [RingOutput(each.memory) for each in orders.ends]
    writer = AuditWriter(open_log, rings)
    copies = Copies([LogCopy(orders.place, target) for target in orders.copies])

    def tell() -> None:
        behind, failures = copies.told()
        for place, ring in enumerate(rings):
            # the sum over workers is the number of failures
            ring.tell_of_copies(behind, 0 if place else failures)

    _serve(writer, {each.wake for each in orders.ends}, tell)
    end_s = time.monotonic() + FINISH_S
    is_written = writer.finish()
    while not is_written and time.monotonic() < end_s:
        time.sleep(0.1)
        is_written = writer.finish()
    copies.finish(COPIES_FINISH_S)
    return 0 if is_written else 1


def _serve(writer: AuditWriter, wakes: set[int], tell: Callable[[], None]) -> None:
    poller = select.poll()
    for wake in wakes:
        poller.register(wake, select.POLLIN)
    while wakes:
        is_busy = writer.turn()
        if is_busy:
            timeout_ms = 0
            time.sleep(LINGER_S)
        elif writer.is_troubled:
            timeout_ms = RETRY_MS
        else:
            timeout_ms = IDLE_MS if writer.may_sleep() else 1
        for wake, _ in poller.poll(timeout_ms):
            if not os.read(wake, 4096):
                poller.unregister(wake)
                wakes.discard(wake)
        writer.wake()
        tell()


def main() -> None:
    """Take the orders from the command line; 1 where they are none, which the log says."""
    said = sys.argv[1] if len(sys.argv) > 1 else ""
    configure(*records.read_log(said))
    log_outcries()
    try:
        sys.exit(run(records.read_orders(said)))
    except Exception as error:  # noqa: BLE001 - the last one who sees it
        note(_log, logging.CRITICAL, "bug: the audit writer ended", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
