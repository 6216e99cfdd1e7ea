"""What one process does about once a second, and what /readyz hears of it."""

import asyncio
import time
from typing import Final, final

from sealwire.proxy.server.connections.services import Services
from sealwire.proxy.server.frontiers.feed import FrontierFeed
from sealwire.proxy.server.health import Health
from sealwire.proxy.server.reaching import ServerWatch
from sealwire.proxy.server.workers.memory import Trimmer
from sealwire.proxy.session.shared import Shared

TICK_S: Final = 1.0


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
        """Tick for ever."""
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
