"""What one process does about once a second, and what /readyz hears of it."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, final

from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.connections.services import Services
from sealwire.proxy.server.errors import UpstreamUnavailable
from sealwire.proxy.server.frontiers.feed import FrontierFeed
from sealwire.proxy.server.health import Health
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.server.probe import ask_hello
from sealwire.proxy.server.tasks import spawn
from sealwire.proxy.server.upstream import Upstream
from sealwire.proxy.server.workers.memory import Trimmer
from sealwire.proxy.session.shared import Shared

TICK_S: Final = 1.0


# Looks at servers that are down or in doubt, so that one is known to be back before a client tries.

LOOK_S = 2.0
"""A server is looked at no more often than this."""


@final
class ServerWatch:
    """One for all servers of a proxy."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._pairs: tuple[tuple[Upstream, ServerReach], ...] = ()
        self._clock = clock
        self._last: dict[str, float] = {}
        self._looking: set[str] = set()

    def use(self, pairs: Iterable[tuple[Upstream, ServerReach]]) -> None:
        """These are the servers from now on."""
        self._pairs = tuple(pairs)
        names = {server.server for _, server in self._pairs}
        self._last = {name: at for name, at in self._last.items() if name in names}

    def tick(self, limits: Limits) -> None:
        """About once a second: begin to look where that is due."""
        now = self._clock()
        for upstream, server in self._pairs:
            name = server.server
            is_due = now - self._last.get(name, -LOOK_S) >= LOOK_S
            if server.is_doubted and is_due and name not in self._looking:
                self._last[name] = now
                self._looking.add(name)
                spawn(self._look(upstream, server, limits), f"look at {name}")

    async def _look(self, upstream: Upstream, server: ServerReach, limits: Limits) -> None:
        try:
            await ask_hello(upstream, limits)
        except UpstreamUnavailable as error:
            server.missed(error.reason.value, str(error), error.hint)
        else:
            server.returned()
        finally:
            self._looking.discard(server.server)


@final
class Pulse:
    """Gives all that waits for time its turn. For one event loop."""

    def __init__(self, health: Health, services: Services, shared: Shared, servers: ServerWatch) -> None:
        self._health = health
        self._services = services
        self._shared = shared
        self._servers = servers
        self._generation = 0
        """The keyring that is on record."""

    def begin(self) -> None:
        """Show what is known before anything ticks."""
        self._show_keys()
        self._show_audit()

    def note_keyring(self) -> int:
        """The keyring that counts is about to be on record; its generation."""
        self._generation = self._shared.keyring.generation
        return self._generation

    async def run(self, frontiers: FrontierFeed) -> None:
        """Tick forever."""
        trimmer = Trimmer()
        services, shared = self._services, self._shared
        while True:
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            self._health.beat_at = now_s
            services.keys.tick()
            if services.contexts is not None:
                services.contexts.tick()
            self._show_keys()
            self._tell_of_keyring()
            frontiers.check()
            self._health.frontier = frontiers.following
            self._health.plaintext = services.metrics.plaintext.shown()
            services.failed_logins.tick()
            services.audit.tick()
            self._show_audit()
            self._servers.tick(services.limits)
            reach = services.metrics.reach
            self._health.reach, self._health.down = reach.reach, reach.down
            services.look()
            shared.plaintext.next_second()
            shared.reads.next_second()
            shared.comparisons.next_second()
            for connection in tuple(services.live):
                connection.tick(now_s)
            trimmer.tick(now_s, services.changes)

    def _show_keys(self) -> None:
        services = self._services
        self._health.keyring = services.keys.freshness
        self._health.in_clear = services.metrics.clear_classes.shown
        if services.contexts is not None:
            self._health.contexts = services.contexts.reach

    def _show_audit(self) -> None:
        audit = self._services.audit
        self._health.audit, self._health.audit_trouble = audit.keeping, audit.trouble

    def _tell_of_keyring(self) -> None:
        """Keys were made, rotated, retired or destroyed, or given up (generation 0): put it on record."""
        before = self._generation
        if self.note_keyring() != before:
            self._services.audit.say("keyring", generation=self._generation)
