"""Follows the servers for one process that has listeners, or reserves their ports for others."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import replace

from sealwire.proxy.server.config.settings import Config, Discovery
from sealwire.proxy.server.discovery.finder import MemberFinder
from sealwire.proxy.server.discovery.layout import PortLayout
from sealwire.proxy.server.discovery.port_map import read_map
from sealwire.proxy.server.discovery.srv import LookUp, look_up
from sealwire.proxy.server.discovery.watch import Watch
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.tasks import within

_log = logging.getLogger("sealwire.server")

# However often somebody asks for a round: a client that is told of a stranger again and again must not make
# the servers work.
LEAST_PAUSE_S = 0.5

Follow = Callable[[PortLayout], bool]
"""Have listeners as a layout says; whether all of them stand."""


class UpstreamMonitor:
    """Begins with `first`, then `run` as a task. For one event loop."""

    def __init__(
        self,
        config: Config,
        settings: Discovery,
        context: ssl.SSLContext | None,
        woken: asyncio.Event,
        ask_dns: LookUp = look_up,
    ) -> None:
        """Who sets `woken` has a round at once: a server has named somebody who has no listener."""
        self._heartbeat_s = settings.heartbeat_s
        self._watch = Watch(config, context)
        self._woken = woken
        self._finder = MemberFinder(settings, self._watch, ask_dns)
        self._is_owed = False
        """Whether a member of the last layout has no listener yet: its port may come free."""

    async def first(self) -> PortLayout:
        """Who has to have listeners. Raises as `MemberFinder.first`."""
        return await self._finder.first()

    def use(self, config: Config, context: ssl.SSLContext | None) -> None:
        """A reload: connect in this way from now on."""
        self._watch.use(config, context)

    async def run(self, changed: Follow) -> None:
        """Ask every `upstream.heartbeat_s`, for ever; tell `changed` of every other layout.

        The first round is at once, for whoever the first answers have named.
        """
        self._woken.set()
        try:
            while True:
                await within(self._woken.wait(), self._heartbeat_s)
                self._woken.clear()
                await self._round(changed)
                await asyncio.sleep(LEAST_PAUSE_S)
        finally:
            self.close()

    async def _round(self, changed: Follow) -> None:
        try:
            if await self._finder.round() or self._is_owed:
                self._is_owed = True
                self._is_owed = not changed(self._finder.layout)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next round may go well
            note(_log, logging.CRITICAL, "bug: servers are not followed", error)

    def close(self) -> None:
        """Close the connections to the servers."""
        self._watch.close()


async def find_once(config: Config, context: ssl.SSLContext | None) -> Config:
    """The configuration with the members that are found now; nothing is written, and nobody is followed.

    Raises as `MemberFinder.first` does.
    """
    if config.discovery is None:
        return config
    read_map(config.discovery.ports_file)  # so that a file that cannot be read is found before a start
    monitor = UpstreamMonitor(config, replace(config.discovery, ports_file=None), context, asyncio.Event())
    try:
        layout = await monitor.first()
    finally:
        monitor.close()
    return replace(config, members=layout.members)
