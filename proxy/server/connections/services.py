"""What all connections of one proxy use, and where the clients of one listener go."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.connections.busy_poll import BusyPoll
from sealwire.proxy.server.connections.failed_logins import FailedLogins
from sealwire.proxy.server.connections.pipe import Pipe
from sealwire.proxy.server.connections.places import ClientStage
from sealwire.proxy.server.connections.sessions import SessionCore
from sealwire.proxy.server.connections.timing import CommandTimer
from sealwire.proxy.server.context_feed import ContextFeed
from sealwire.proxy.server.key_feed import KeyFeed
from sealwire.proxy.server.observability.audit import AuditSink
from sealwire.proxy.server.observability.client_gate import ClientGate
from sealwire.proxy.server.observability.finished import CommandListener, FinishedCommand
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.server.upstream import Upstream
from sealwire.proxy.session.watch import CommandWatch


class OpenConnection(Protocol):
    """What the proxy tells each connection that is open, and asks it."""

    client: Pipe
    number: int
    host: str
    """The client's address."""

    @property
    def standing(self) -> ClientStage:
        """How far the client has got."""

    @property
    def is_busy(self) -> bool:
        """Whether a command awaits its reply."""

    @property
    def route(self) -> "Route":
        """Where its client goes."""

    def tick(self, now_s: float) -> None:
        """About once a second."""

    def settings_changed(self) -> None:
        """What sessions share has other settings."""

    def move_began(self) -> None:
        """A class that moves is followed from now on."""

    def frontier_moved(self) -> None:
        """How far a class has moved is known anew."""

    def frontier_lost(self) -> None:
        """It is not known any more: cut what is under way and relies on it."""

    def audit_has_room(self) -> None:
        """What was not read for want of room in the audit is read now."""

    def drain(self) -> None:
        """Finish what is under way, then close."""

    def abort(self) -> None:
        """Cut both connections at once, without a flush."""


def _no_matter() -> None:
    """Nobody follows the servers."""


@dataclass(slots=True)
class Services:
    """What all connections of one proxy use."""

    keys: KeyFeed
    metrics: Metrics
    audit: AuditSink
    limits: Limits
    poll: BusyPoll
    fences_servers: bool = False
    """Whether nothing that was sent to a server may reach it late: classes that move are followed."""
    contexts: ContextFeed | None = None
    """Finds keys of contexts; None where there is no store of them."""
    stranger_met: Callable[[], None] = _no_matter
    """A server has named a member without a listener."""
    clock: Callable[[], float] = time.monotonic
    watch: CommandWatch | None = None
    """Takes notes of commands for `listeners`; the sessions have the same."""
    listeners: tuple[CommandListener, ...] = ()
    """Who hears of every command that was answered."""
    live: set[OpenConnection] = field(default_factory=set)
    draining: bool = False
    numbered: int = 0
    """How many connections were opened."""
    rejected: int = 0
    """How many were not: above the limit, or without the end of a handshake."""
    gate: ClientGate = field(init=False)
    failed_logins: FailedLogins = field(init=False)
    """Between who fails to log in and the audit."""
    _empty: asyncio.Event = field(init=False)

    def __post_init__(self) -> None:
        self.gate = ClientGate(self.clock)
        self.failed_logins = FailedLogins(self.audit.write, self.clock)
        self._empty = asyncio.Event()

    @property
    def changes(self) -> int:
        """How many connections came and went, those among them that were never opened."""
        return 2 * self.numbered - len(self.live) + self.rejected

    def listen(self, watch: CommandWatch | None, listeners: tuple[CommandListener, ...]) -> None:
        """These hear of commands from now on; with none of them one in eight is timed, and nothing noted."""
        self.watch, self.listeners = watch, listeners
        self.metrics.core.is_watching = watch is not None

    def finished(self, timer: CommandTimer, client: str, connection: int) -> None:
        """A command that was timed has its reply."""
        if timer.is_sampled:
            self.metrics.times.add(timer.total_s, timer.own_s)
        note = timer.note
        if note is None:
            return
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

    def forget(self, connection: OpenConnection) -> None:
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
    reach: ServerReach | None = None
    """What is known of the server."""
