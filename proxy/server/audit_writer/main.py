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
from collections.abc import Callable
from typing import Final

from sealwire.audit.files import load_signing_key
from sealwire.audit.log import AuditLog
from sealwire.proxy.server.audit_writer.copies import Copies, LogCopy
from sealwire.proxy.server.audit_writer.records import WriterOrders, read_log, read_orders
from sealwire.proxy.server.audit_writer.ring import RingOutput
from sealwire.proxy.server.audit_writer.writer import AuditWriter
from sealwire.proxy.server.observability.logs import configure, note
from sealwire.proxy.server.observability.outcries import log_outcries

_log = logging.getLogger("sealwire.audit")

LINGER_S: Final = 0.001
"""What comes within this time is written in one go."""
IDLE_MS: Final = 100
RETRY_MS: Final = 1000
FINISH_S: Final = 5.0
"""How long a disk that is full may hold up the end."""
COPIES_FINISH_S: Final = 3.0


def run(orders: WriterOrders) -> int:
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
        told = copies.told()
        for place, ring in enumerate(rings):
            # the sum over workers is the number of failures
            ring.tell_of_copies(told.behind, 0 if place else told.failures)

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
    configure(*read_log(said))
    log_outcries()
    try:
        sys.exit(run(read_orders(said)))
    except Exception as error:  # noqa: BLE001 - the last one who sees it
        note(_log, logging.CRITICAL, "bug: the audit writer ended", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
