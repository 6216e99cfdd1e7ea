"""Where one process puts its audit records: to its own audit writer, to the supervisor's, or into the log."""

import asyncio
from collections.abc import Callable

from sealwire.proxy.server.audit_writer.keeper import WriterKeeper
from sealwire.proxy.server.audit_writer.sink import RingAudit, Shell
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.observability.audit import AuditSink, LogAudit, WhenFull
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.workers.worker_channel import Seat


async def open_audit(
    config: Config, seat: Seat | None, metrics: Metrics, has_room: Callable[[], None]
) -> tuple[AuditSink, WriterKeeper | None]:
    """The sink, and who keeps the audit writer running where that is this process; the caller closes both.

    `has_room` is called when what waits has become less. Raises AuditError, KeysError.
    """
    settings = config.audit
    writer: WriterKeeper | None = None
    if seat is not None:
        ends = seat.ring
    elif settings is not None:
        writer = WriterKeeper(settings, 1, config.log_level, config.log_format)
        await writer.start()
        ends = writer.ends(1)
    else:
        ends = None
    if ends is None:
        return LogAudit(), writer
    when_full = WhenFull.FAIL_CLOSED if settings is None else settings.when_full
    shell = Shell(asyncio.get_running_loop().call_later, has_room)
    always = {} if seat is None else {"worker": seat.number}
    copies = () if settings is None else settings.copies
    return RingAudit(ends, metrics, shell, when_full, always, copies), writer
