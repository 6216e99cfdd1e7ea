"""What all connections of one proxy use, and where the clients of one listener go."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from sealwire.proxy.server.config.settings import Config, Limits
from sealwire.proxy.server.connections.recorder import FailedLogins
from sealwire.proxy.server.connections.sessions import SessionCore
from sealwire.proxy.server.context_feed import ContextFeed
from sealwire.proxy.server.key_feed import KeyFeed
from sealwire.proxy.server.observability.audit import AuditSink
from sealwire.proxy.server.observability.counts import CommandTimer
from sealwire.proxy.server.observability.logs import Field, note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.server.observability.traces import (
    CommandListener,
    FinishedCommand,
    SlowLog,
    Tracer,
    open_tracer,
)
from sealwire.proxy.server.upstream import Upstream
from sealwire.proxy.session.shared import Shared
from sealwire.proxy.session.watch import CommandNote, CommandWatch

if TYPE_CHECKING:
    from sealwire.proxy.server.connections.connection import Connection

# Keeps a log readable in a storm of connection problems, and says of every client that it had one.
#
# In ten seconds an address has one line of a kind, and a kind has ten lines. The gate holds the others
# back, and tells of them when the ten seconds are over, in one line with their addresses. A flood of
# connections writes no more than that, and an address is missing only where it is one of very many.

INTERVAL_S: Final = 10.0
MAX_LINES: Final = 10
"""Lines of a kind in an interval; one more tells of those that are held."""
MAX_NAMED: Final = 64
"""Addresses in the line of what was held."""


@dataclass(slots=True)
class _Storm:
    """What came of one kind since `began_s`."""

    logger: logging.Logger
    level: int
    event: str
    began_s: float
    shown: set[str] = field(default_factory=set)
    held: int = 0
    named: dict[str, None] = field(default_factory=dict)
    """Addresses whose lines were held, in the order in which they came."""
    unnamed: int = 0
    """Lines of addresses beyond those."""

    def lets_through(self, address: str) -> bool:
        """Whether a line of this client is shown; it counts as held where it is not."""
        if address not in self.shown and len(self.shown) < MAX_LINES:
            self.shown.add(address)
            return True
        self.held += 1
        if address in self.named or len(self.named) < MAX_NAMED:
            self.named[address] = None
        else:
            self.unnamed += 1
        return False


@final
class ClientGate:
    """See the module. For one event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._storms: dict[str, _Storm] = {}

    def note(self, logger: logging.Logger, level: int, event: str, kind: str, **fields: Field) -> None:
        """Log as `logs.note`, unless there were lines of this `kind` (from a small set) just now.

        The client's address is the field `client`, as `ADDRESS:PORT`. Cost: a microsecond where it is held.
        """
        now_s = self._clock()
        storm = self._storms.get(kind)
        if storm is None or now_s - storm.began_s >= INTERVAL_S:
            self._tell(kind, storm)
            storm = self._storms[kind] = _Storm(logger, level, event, now_s)
        if storm.lets_through(str(fields.get("client", "")).rpartition(":")[0]):
            note(logger, level, event, **fields)

    def tick(self) -> None:
        """Tell of what was held, where its time is over; about once a second."""
        now_s = self._clock()
        over = [kind for kind, storm in self._storms.items() if now_s - storm.began_s >= INTERVAL_S]
        for kind in over:
            self._tell(kind, self._storms.pop(kind))

    def close(self) -> None:
        """Tell of all that is held still: no more will come."""
        while self._storms:
            self._tell(*self._storms.popitem())

    def _tell(self, kind: str, storm: _Storm | None) -> None:
        if storm is None or not storm.held:
            return
        fields: dict[str, Field] = {"held": storm.event, "kind": kind, "similar_lines_held": storm.held}
        if any(storm.named):
            fields["clients"] = ",".join(filter(None, storm.named))
        if storm.unnamed:
            fields["of_other_clients"] = storm.unnamed
        note(storm.logger, storm.level, "similar lines held", **fields)


@dataclass(slots=True)
class Services:
    """What all connections of one proxy use."""

    keys: KeyFeed
    metrics: Metrics
    audit: AuditSink
    limits: Limits
    fences_servers: bool = False
    """Whether nothing that was sent to a server may reach it late: classes that move are followed."""
    contexts: ContextFeed | None = None
    """Finds keys of contexts; None where there is no store of them."""
    stranger_met: Callable[[], None] = lambda: None
    """A server has named a member without a listener, which matters where servers are followed."""
    clock: Callable[[], float] = time.monotonic
    watch: CommandWatch | None = None
    """Takes notes of commands for `listeners`; the sessions have the same."""
    listeners: tuple[CommandListener, ...] = ()
    """Who hears of every command that was answered."""
    live: "set[Connection]" = field(default_factory=set)
    draining: bool = False
    numbered: int = 0
    """How many connections were opened."""
    rejected: int = 0
    """How many were not: above the limit, or without the end of a handshake."""
    gate: ClientGate = field(init=False)
    failed_logins: FailedLogins = field(init=False)
    """Between who fails to log in and the audit."""
    _empty: asyncio.Event = field(init=False)
    _tracer: Tracer | None = None

    def __post_init__(self) -> None:
        self.gate = ClientGate(self.clock)
        self.failed_logins = FailedLogins(self.audit.write, self.clock)
        self._empty = asyncio.Event()

    @property
    def changes(self) -> int:
        """How many connections came and went, those among them that were never opened."""
        return 2 * self.numbered - len(self.live) + self.rejected

    def listen(self, config: Config, shared: Shared) -> None:
        """Let slow commands be logged, and traces be kept, as `config` says from now on.

        If nobody hears of commands one in eight is timed, and nothing noted.
        """
        listeners = list[CommandListener]()
        if config.slow_ms is not None:
            listeners.append(SlowLog(config.slow_ms))
        if config.traces is not None and self._tracer is None:
            self._tracer = open_tracer(config.traces.endpoint, self.metrics.traced)
            self._tracer.start()
        if self._tracer is not None:
            listeners.append(self._tracer)
        has_traces = self._tracer is not None
        self.listeners = tuple(listeners)
        self.watch = CommandWatch(time.perf_counter, reads_parents=has_traces) if listeners else None
        shared.watch = self.watch
        self.metrics.core.is_watching = self.watch is not None

    async def close_traces(self) -> None:
        """Send the last ones."""
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close)

    def finished(self, note: CommandNote, timer: CommandTimer, client: str, connection: int) -> None:
        """A command that was timed has its reply; `note` says what it was."""
        server_s, decrypting_s = timer.total_s - timer.own_s, timer.own_s - timer.noted_s
        times = timer.total_s, server_s, decrypting_s
        command = FinishedCommand(note, client, connection, *times, timer.opened, time.time_ns())
        for listener in self.listeners:
            listener.finished(command)

    def look(self) -> None:
        """Show what connections are doing, and tell of lines that were held. Cost: a microsecond for each."""
        self.gate.tick()
        busy = sum(each.is_busy for each in self.live)
        held = (name for each in self.live for name in each.client.hold_names())
        self.metrics.standing.show(busy, held)

    def forget(self, connection: "Connection") -> None:
        """`connection` has ended."""
        self.live.discard(connection)
        self.metrics.connections.dec()
        if not self.live:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Return when no connection is open."""
        while self.live:
            self._empty.clear()
            await self._empty.wait()


@dataclass(frozen=True, slots=True)
class Route:
    """Where the clients of one listener go."""

    upstream: Upstream
    new_session: Callable[[], SessionCore]
    reach: ServerReach
    """What is known of the server."""
