"""Which members have a listener in this process: those of the configuration, or those that are followed.

With workers the supervisor follows the servers, and tells each worker of its members and where to listen. A
single process does both.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

from bson import ObjectId

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, Member
from sealwire.proxy.server.connections.entrances import Entrances
from sealwire.proxy.server.discovery.monitor import UpstreamMonitor
from sealwire.proxy.server.discovery.view import PortLayout
from sealwire.proxy.server.ports import PortRange, bind, bind_shared
from sealwire.proxy.server.workers.announce import announce_addresses
from sealwire.proxy.server.workers.pulse import ServerWatch
from sealwire.proxy.server.workers.worker_channel import Seat
from sealwire.proxy.session.login.handshake import Topology


@final
class MemberListeners:
    """One for each proxy: `find`, then `place`, then `watch` as a task."""

    def __init__(
        self,
        seat: Seat | None,
        servers: ServerWatch,
        stranger_met: asyncio.Event,
        use_members: Callable[[tuple[Member, ...]], Config],
    ) -> None:
        """`use_members` is told of every change, and gives the configuration that counts with it."""
        self._seat = seat
        self._servers = servers
        self._stranger_met = stranger_met
        self._use_members = use_members
        self._monitor: UpstreamMonitor | None = None
        """Who follows the servers; with workers that is the supervisor's."""
        self._range: PortRange | None = None
        self._numeric: dict[Member, tuple[Address, ...]] = {}
        """The numeric addresses of each member's listener, where somebody holds them for this process."""
        self._left_out: tuple[Address, ...] = ()
        """Members that whoever follows the servers lets not be used."""
        self._owed: tuple[tuple[Member, ...], tuple[tuple[Address, ...], ...], tuple[Address, ...]] | None = (
            None
        )
        """What a worker was told to follow, while one of its listeners could not be had."""
        self._heartbeat_s: float | None = None
        """Between two looks at the servers; None: they are not followed."""
        self._entrances: Entrances | None = None

    async def find(self, config: Config, context: ssl.SSLContext | None) -> Config:
        """The configuration with the members that have to have listeners. Raises ServerError."""
        discovery, seat = config.discovery, self._seat
        if discovery is None:
            return config
        self._heartbeat_s = discovery.heartbeat_s
        if seat is not None:
            self._numeric = dict(zip(seat.members, seat.listeners, strict=True))
            self._left_out = seat.left_out
            return self._use_members(seat.members)
        self._monitor = UpstreamMonitor(config, discovery, context, self._stranger_met)
        layout = await self._monitor.first()
        self._range = PortRange(discovery.listen, discovery.ports)
        self._left_out = layout.left_out
        return self._use_members(layout.members)

    def place(self, entrances: Entrances, config: Config, topologies: Sequence[Topology]) -> None:
        """Bind a listener for each member; none accepts yet. Raises ListenProblem."""
        self._entrances, seat = entrances, self._seat
        if config.discovery is not None:
            entrances.lay_out(PortLayout(config.members), config, self._sockets_of, self._left_out)
        else:
            for number, (member, topology) in enumerate(zip(config.members, topologies, strict=True)):
                if config.load_balanced:
                    # each process is a service of its own: its connections fail together
                    topology = replace(topology, service_id=ObjectId().binary)  # noqa: PLW2901
                sockets = bind(member.listen) if seat is None else bind_shared(seat.listeners[number])
                entrances.place(member, config, topology, sockets)
        self._servers.use(entrances.reached)

    async def require_usable(self, config: Config, context: ssl.SSLContext | None) -> None:
        """Raises as `UpstreamMonitor.require_usable`; with workers the supervisor has asked."""
        if self._monitor is not None:
            await self._monitor.require_usable(config, context)

    def use(self, config: Config, context: ssl.SSLContext | None) -> None:
        """A reload: the servers are asked in this way from now on."""
        if self._monitor is not None:
            self._monitor.use(config, context)

    async def watch(self) -> None:
        """Follow the servers, or what the supervisor says of them, for ever."""
        if self._monitor is not None:
            await self._monitor.run(
                lambda layout: self.follow(layout.members, (), layout.left_out), self.doubt
            )
        elif self._heartbeat_s is not None:
            # the supervisor tells of members once, and knows nothing of a worker without a descriptor left
            while True:
                await asyncio.sleep(self._heartbeat_s)
                if self._owed is not None:
                    self.follow(*self._owed)

    def follow(
        self,
        members: tuple[Member, ...],
        listeners: Sequence[tuple[Address, ...]] = (),
        left_out: tuple[Address, ...] = (),
    ) -> bool:
        """There are these members now; for a worker also where to listen. Whether all listeners stand.

        `left_out` may not be used.
        """
        entrances = self._entrances
        if entrances is None or entrances.are_closed:
            return True
        self._numeric = dict(zip(members, listeners, strict=True)) if listeners else {}
        config = self._use_members(members)
        for entrance in entrances.lay_out(PortLayout(members), config, self._sockets_of, left_out):
            if self._seat is None:
                announce_addresses(entrance.member, entrance.listener.addresses)
        self._servers.use(entrances.reached)
        stands = len(entrances.reached) == len(members)
        self._owed = None if stands or not listeners else (members, tuple(listeners), left_out)
        return stands

    def doubt(self, silent: tuple[Address, ...]) -> None:
        """Whoever follows the servers had no answer of these: have them looked at."""
        for upstream, reach in [] if self._entrances is None else self._entrances.reached:
            if upstream.address in silent:
                reach.doubt()

    async def close(self) -> None:
        """Accept no more, and give the ports back; connections that are open stay."""
        if self._entrances is not None:
            await self._entrances.close()
        if self._range is not None:
            self._range.close()

    def _sockets_of(self, member: Member) -> list[socket.socket]:
        """Raises ListenProblem."""
        if self._range is not None:
            self._range.require_free(member.listen.port)
            return bind_shared(self._range.addresses(member.listen.port))
        return bind_shared(self._numeric[member])
