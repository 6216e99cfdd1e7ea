"""The ports that the process above workers holds for them: of listed members, or a range for followed ones.

A port that is held here never listens: workers come and go, and share it while they are there.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import final

from sealwire.proxy.server.config.settings import Address, Config, Member
from sealwire.proxy.server.discovery.layout import PortLayout
from sealwire.proxy.server.discovery.monitor import UpstreamMonitor
from sealwire.proxy.server.errors import ListenProblem
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.ports import PortRange, reserve
from sealwire.proxy.server.tls import TlsSide, upstream_side
from sealwire.proxy.server.workers.announce import announce_addresses
from sealwire.proxy.server.workers.worker_channel import Members, Silent

_log = logging.getLogger("sealwire.server")


@final
class MemberPorts:
    """`find` first, then `watch` as a task. For one event loop."""

    def __init__(self, changed: Callable[[Members], None], tell: Callable[[Silent], None]) -> None:
        """`changed` is told of every other layout, and workers by `tell` of servers that do not answer."""
        self._changed = changed
        self._tell = tell
        self.members: tuple[Member, ...] = ()
        """Those that have a port."""
        self.left_out: tuple[Address, ...] = ()
        """Members that may not be used."""
        self.stranger_met = asyncio.Event()
        """Set by whoever hears that a server has named a member without a listener."""
        self._reserved: list[list[socket.socket]] = []
        """Sockets of each member, where the configuration lists them."""
        self._range: PortRange | None = None
        """Where servers are followed."""
        self._monitor: UpstreamMonitor | None = None

    @property
    def are_followed(self) -> bool:
        """Whether members come and go."""
        return self._monitor is not None

    @property
    def numeric(self) -> tuple[tuple[Address, ...], ...]:
        """The numeric addresses of each member's listener."""
        if self._range is None:
            return tuple(tuple(_addresses(sockets)) for sockets in self._reserved)
        return tuple(self._range.addresses(member.listen.port) for member in self.members)

    async def find(self, config: Config) -> None:
        """Take the ports, of whoever is found where servers are followed. Raises ServerError."""
        self.members = config.members
        if config.discovery is None:
            for member in config.members:
                self._reserved.append(reserve(member.listen))
            return
        files = await asyncio.to_thread(upstream_side, config.upstream_tls)
        self._monitor = UpstreamMonitor(config, config.discovery, files.context, self.stranger_met)
        layout = await self._monitor.first()
        self._range = PortRange(config.discovery.listen, config.discovery.ports)
        self.members, self.left_out = layout.members, layout.left_out

    async def watch(self) -> None:
        """Follow the servers for ever, where they are followed."""
        if self._monitor is not None:
            await self._monitor.run(self._follow, lambda servers: self._tell(Silent(servers)))

    async def require_usable(self, config: Config, tls: TlsSide) -> None:
        """Raises as `UpstreamMonitor.require_usable`."""
        if self._monitor is not None:
            await self._monitor.require_usable(config, tls.context)

    def use(self, config: Config, tls: TlsSide) -> None:
        """A reload: the servers are asked in this way from now on."""
        if self._monitor is not None:
            self._monitor.use(config, tls.context)

    def announce(self) -> None:
        """Log where the clients of each member connect."""
        for member, addresses in zip(self.members, self.numeric, strict=True):
            announce_addresses(member, addresses)

    def close(self) -> None:
        """Give all of them back."""
        for sock in (sock for sockets in self._reserved for sock in sockets):
            sock.close()
        if self._range is not None:
            self._range.close()

    def _follow(self, layout: PortLayout) -> bool:
        """Servers have come or gone: workers open and drain listeners.

        Whether each member has a port that is its own.
        """
        known = set(self.members)
        self.members = tuple(each for each in layout.members if each in known or self._is_free(each))
        self.left_out = layout.left_out
        self._changed(Members(self.members, self.numeric, self.left_out))
        for member, addresses in zip(self.members, self.numeric, strict=True):
            if member not in known:
                announce_addresses(member, addresses)
        return len(self.members) == len(layout.members)

    def _is_free(self, member: Member) -> bool:
        """Whether nobody listens on a new member's port; workers would share it with whoever does."""
        try:
            if self._range is not None:
                self._range.require_free(member.listen.port)
        except ListenProblem as error:
            fields = {"upstream": str(member.upstream), "problem": str(error)}
            note(_log, logging.ERROR, "no listener for a member", hint=error.hint, **fields)
            return False
        return True


def _addresses(sockets: list[socket.socket]) -> list[Address]:
    return [Address(*sock.getsockname()[:2]) for sock in sockets]
