"""The listeners of one process, each with its server behind it. They come and go where servers do."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from sealwire.proxy.server.config.settings import Address, Config, Member
from sealwire.proxy.server.connections.listener import Listener
from sealwire.proxy.server.connections.services import OpenConnection, Route, Services
from sealwire.proxy.server.connections.sessions import SessionCore
from sealwire.proxy.server.discovery.view import PortLayout
from sealwire.proxy.server.errors import ListenProblem
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.server.tasks import spawn
from sealwire.proxy.server.upstream import Upstream, UpstreamWay
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.login.identities import Holder

_log = logging.getLogger("sealwire.server")

LOOK_S = 0.2

SocketsOf = Callable[[Member], list[socket.socket]]
"""Listening sockets for a member. Raises ListenProblem."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where the clients of one member come in."""

    member: Member
    route: Route
    listener: Listener


class Entrances:
    """For one event loop. `place` or `lay_out` before `start`; `lay_out` again whenever servers change."""

    def __init__(
        self,
        services: Services,
        new_session: Callable[[Topology], SessionCore],
        listen: ssl.SSLContext | None,
        upstream: ssl.SSLContext | None,
        ways: Mapping[Holder, UpstreamWay] | None = None,
    ) -> None:
        """`ways`: as of `Upstream`."""
        self._services = services
        self._new_session = new_session
        self._listen = listen
        self._upstream = upstream
        self._ways = ways or {}
        self._open: list[Entrance] = []
        self._names: dict[str, str] = {}
        """What followed members are called here. Sessions look into it: changed in one step."""
        self._started = False
        self.are_closed = False

    def __iter__(self) -> Iterator[Entrance]:
        return iter(tuple(self._open))

    @property
    def addresses(self) -> list[Address]:
        """Where clients can connect."""
        return [address for entrance in self._open for address in entrance.listener.addresses]

    @property
    def reached(self) -> list[tuple[Upstream, ServerReach]]:
        """The servers, each with what is known of reaching it."""
        routes = [entrance.route for entrance in self._open]
        return [(route.upstream, route.reach) for route in routes if route.reach is not None]

    def place(
        self, member: Member, config: Config, topology: Topology, sockets: list[socket.socket]
    ) -> Entrance:
        """One more, which does not accept before `start`."""
        server_name = config.upstream_tls.server_name
        upstream = Upstream(member.upstream, config.limits, self._upstream, server_name, self._ways)
        name, reach = str(member.upstream), self._services.metrics.reach
        if name not in [each.server for each in reach.servers]:
            reach.use_servers([*(each.server for each in reach.servers), name])
        known = next(each for each in reach.servers if each.server == name)
        route = Route(upstream, partial(self._new_session, topology), known)
        entrance = Entrance(member, route, Listener(self._services, route, sockets, self._listen))
        self._open.append(entrance)
        if self._started:
            entrance.listener.start()
        return entrance

    def lay_out(
        self, layout: PortLayout, config: Config, sockets_of: SocketsOf, left_out: Iterable[Address] = ()
    ) -> list[Entrance]:
        """Have one for each member of `layout`, and drain those of others; the new ones.

        `left_out` are members that may not be used: they are shown as servers that are down.

        No client hears of a member before its listener accepts, or after it has closed. Before `start`
        raises ListenProblem; later such a member stays without a listener, and nobody hears of it.
        """
        wanted = set(layout.members)
        gone = [entrance for entrance in self._open if entrance.member not in wanted]
        self._open = [entrance for entrance in self._open if entrance.member in wanted]
        known = {entrance.member for entrance in self._open}
        self._call(layout)
        for entrance in gone:
            spawn(self._retire(entrance), f"retire {entrance.member.upstream}")
        new = []
        for member in layout.members:
            if member not in known and (sockets := self._bound(member, sockets_of)):
                topology = Topology(str(member.advertise), self._names, withholds=True)
                new.append(self.place(member, config, topology, sockets))
        self._call(layout)
        used = [str(entrance.member.upstream) for entrance in self._open]
        self._services.metrics.reach.use_servers(used, map(str, left_out))
        return new

    def start(self) -> None:
        """Accept from now on."""
        self._started = True
        for entrance in self._open:
            entrance.listener.start()

    def use_listen(self, context: ssl.SSLContext | None) -> None:
        """Let handshakes with clients from now on use `context`."""
        self._listen = context
        for entrance in self._open:
            entrance.listener.use_context(context)

    def use_upstream(
        self, config: Config, context: ssl.SSLContext | None, ways: Mapping[Holder, UpstreamWay] | None = None
    ) -> None:
        """Connect to servers in this way from now on."""
        self._upstream = context
        self._ways = ways or {}
        for entrance in self._open:
            server_name = config.upstream_tls.server_name
            entrance.route.upstream.use(config.limits, context, server_name, self._ways)

    async def close(self) -> None:
        """Accept no more; connections that are open stay."""
        self.are_closed = True
        for entrance in self._open:
            await entrance.listener.close()

    def _call(self, layout: PortLayout) -> None:
        listening = {str(entrance.member.upstream).lower() for entrance in self._open}
        self._names.clear()
        self._names.update({name: told for name, told in layout.names.items() if name in listening})

    def _bound(self, member: Member, sockets_of: SocketsOf) -> list[socket.socket]:
        try:
            return sockets_of(member)
        except ListenProblem as error:
            if not self._started:
                raise
            fields = {"upstream": str(member.upstream), "problem": str(error)}
            note(_log, logging.ERROR, "no listener for a member", hint=error.hint, **fields)
            return []

    async def _retire(self, entrance: Entrance) -> None:
        """A member has left: finish what is under way with it, for as long as a drain may take."""
        note(_log, logging.INFO, "member left", upstream=str(entrance.member.upstream))
        await entrance.listener.close()
        for connection in self._connections_of(entrance):
            connection.drain()
        ends_at = self._services.clock() + self._services.limits.drain_s
        while self._connections_of(entrance) and self._services.clock() < ends_at:
            await asyncio.sleep(LOOK_S)
        for connection in self._connections_of(entrance):
            connection.abort()

    def _connections_of(self, entrance: Entrance) -> list[OpenConnection]:
        return [each for each in tuple(self._services.live) if each.route is entrance.route]
