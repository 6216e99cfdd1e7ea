"""Looks at servers that are down or in doubt, so that one is known to be back before a client tries."""

from collections.abc import Callable, Iterable
from typing import final

from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.errors import UpstreamUnavailable
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.server.probe import ask_hello
from sealwire.proxy.server.tasks import spawn
from sealwire.proxy.server.upstream import Upstream

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
