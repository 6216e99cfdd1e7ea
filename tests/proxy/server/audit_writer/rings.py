"""Both ends of a ring in one process, and the log that a writer appends to."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sealwire.audit.files import LogPlace
from sealwire.audit.line import read_line
from sealwire.audit.log import AuditLog, LogPace
from sealwire.proxy.server.audit_writer.records import RingEnds
from sealwire.proxy.server.audit_writer.ring import RingInput, RingOutput, make_memory
from sealwire.proxy.server.audit_writer.sink import RingAudit, Shell
from sealwire.proxy.server.observability.audit_settings import WhenFull
from sealwire.proxy.server.observability.metrics import Metrics


@dataclass(slots=True)
class Worker:
    """A sink with all that is around it."""

    ends: RingEnds
    sleeper: int
    """The end of the pipe that the writer reads from."""
    metrics: Metrics = field(default_factory=Metrics)
    due: list[object] = field(default_factory=list)
    """What is to be called later."""
    copies: tuple[str, ...] = ()
    rooms: int = 0
    """How often clients could be read again."""

    def sink(self, when_full: WhenFull = WhenFull.FAIL_CLOSED, worker: int | None = None) -> RingAudit:
        """A new one, on the same ring: as a worker that was started again."""
        shell = Shell(lambda _s, what: self.due.append(what), self._has_room)
        always = {} if worker is None else {"worker": worker}
        return RingAudit(self.ends, self.metrics, shell, when_full, always, self.copies)

    def _has_room(self) -> None:
        self.rooms += 1

    def wakes(self) -> int:
        """How often the writer was woken since."""
        try:
            return len(os.read(self.sleeper, 1000))
        except BlockingIOError:
            return 0


@contextmanager
def ring_ends(size: int = 1 << 16) -> Iterator[tuple[RingInput, RingOutput]]:
    """Both ends of a new ring."""
    memory = make_memory(size)
    ends = RingInput(memory), RingOutput(memory)
    try:
        yield ends
    finally:
        for end in ends:
            end.close()
        os.close(memory)


@contextmanager
def worker(size: int = 1 << 20) -> Iterator[Worker]:
    """A worker with a ring of that size."""
    sleeper, waker = os.pipe2(os.O_NONBLOCK)
    memory = make_memory(size)
    try:
        yield Worker(RingEnds(memory, waker), sleeper)
    finally:
        for descriptor in (sleeper, waker, memory):
            os.close(descriptor)


@contextmanager
def sunk(
    size: int = 1 << 20,
    when_full: WhenFull = WhenFull.FAIL_CLOSED,
    number: int | None = None,
    copies: tuple[str, ...] = (),
) -> Iterator[tuple[Worker, RingAudit, RingOutput]]:
    """A worker with that number, its sink, and the writer's end of its ring."""
    with worker(size) as here:
        here.copies = copies
        with closing(here.sink(when_full, number)) as sink, closing(RingOutput(here.ends.memory)) as ring:
            yield here, sink, ring


def log_in(folder: Path, pace: LogPace | None = None) -> AuditLog:
    """The audit log in a folder, without a key."""
    return AuditLog(LogPlace(folder / "audit.jsonl"), None, pace or LogPace())


def lines_in(folder: Path, event: str) -> list[Mapping[str, object]]:
    """What lines with this event say."""
    content = (folder / "audit.jsonl").read_bytes().splitlines(keepends=True)
    return [line for line in (read_line(each).fields for each in content) if line["event"] == event]
