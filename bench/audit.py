"""What the audit costs: a record in the worker, and how many a second reach the log, signed and chained.

    python -m bench.audit                    # two workers' rings, one writer, a log in a new folder
    python -m bench.audit --records 200000

The first figure is the processor time that the event loop of a worker gives to one record of a command; the
second counts from the first record to the last line on the disk.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.audit.signing import make_key
from sealwire.proxy.server.audit_writer.keeper import WriterKeeper
from sealwire.proxy.server.audit_writer.ring import RingOutput
from sealwire.proxy.server.audit_writer.sink import RingAudit, Shell
from sealwire.proxy.server.observability.audit import Origin
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.effects import CommandOutcome, CommandRecord, CommandResult, Done
from sealwire.proxy.session.login.caller import Caller

RECORD = Done(
    CommandRecord("clinic.patients", "find", written={}, filtered={"nhs_number": 1}),
    CommandResult(CommandOutcome.OK, read={"nhs_number": 1, "name": 1, "notes": 1}, documents=1),
)
ORIGIN = Origin("10.1.2.3:51234", 12_345, "", Caller(("ann@admin",), "rounds", "PyMongo 4.20"))
ALONE = 2_000
ROUNDS = 30
WORKERS = 2


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    records = parser.parse_args().records
    with tempfile.TemporaryDirectory() as folder:
        print(asyncio.run(_measured(Path(folder), records)))


async def _measured(folder: Path, records: int) -> str:
    key = folder / "audit.key"
    key.touch(0o600)
    key.write_bytes(make_key("bench.example/sealwire", os.urandom(32)).written())
    settings = AuditSettings(LogPlace(folder / "audit.jsonl"), key, LogPace(file_bytes=1 << 40))
    keeper = WriterKeeper(settings, WORKERS, "info", LogFormat.TEXT)
    await keeper.start()
    shell = Shell(asyncio.get_running_loop().call_later, lambda: None)
    sinks = [RingAudit(keeper.ends(number), Metrics(), shell) for number in range(1, WORKERS + 1)]
    rings = [RingOutput(keeper.ends(number).memory) for number in range(1, WORKERS + 1)]

    async def drained() -> None:
        while any(ring.waiting_bytes for ring in rings):
            await asyncio.sleep(0.001)

    sinks[0].say("first")
    await drained()
    best_us = min([await _alone(sinks[0], drained) for _ in range(ROUNDS)])
    began_s = time.perf_counter()
    for number in range(records):
        while not sinks[number % WORKERS].write(RECORD, ORIGIN):
            await asyncio.sleep(0.0005)
    await drained()
    took_s = time.perf_counter() - began_s
    for sink in sinks:
        sink.close()
    for ring in rings:
        ring.close()
    await keeper.close()
    size = (folder / "audit.jsonl").stat().st_size / (records + ROUNDS * ALONE)
    return f"{best_us:.2f} us a record; {records / took_s:,.0f} records a second, of {size:.0f} bytes"


async def _alone(sink: RingAudit, drained: Callable[[], Awaitable[None]]) -> float:
    began_s = time.thread_time()
    for _ in range(ALONE):
        sink.write(RECORD, ORIGIN)
    took_s = time.thread_time() - began_s
    await drained()
    return took_s / ALONE * 1e6


if __name__ == "__main__":
    main()
