"""The listeners of one process, each with its server behind it. They come and go where servers do."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Member
from sealwire.proxy.server.connections.connection import Connection
from sealwire.proxy.server.connections.recorder import host_of, peer_name
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.connections.sessions import SessionCore, has_kept_place, one_to_end
from sealwire.proxy.server.discovery.view import PortLayout
from sealwire.proxy.server.errors import ListenProblem
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.server.tasks import opened, spawn
from sealwire.proxy.server.transports import ClientProtocol
from sealwire.proxy.server.upstream import Upstream, UpstreamWays
from sealwire.proxy.session.login.handshake import Topology

_log = logging.getLogger("sealwire.server")

LOOK_S = 0.2

SocketsOf = Callable[[Member], list[socket.socket]]
"""Listening sockets for a member. Raises ListenProblem."""


# The clients' side: accepting, and the TLS handshake.
#
# Connections are accepted here rather than by `loop.create_server`, because that hides failed handshakes:
# an operator needs to see that clients lack a certificate or speak plaintext.

# After an error such as "too many open files" the connection stays in the backlog: a retry at once spins.
ACCEPT_PAUSE_S = 1.0


class Listener:
    """Accepts the clients of one member."""

    def __init__(
        self,
        services: Services,
        member: Member,
        route: Route,
        sockets: list[socket.socket],
        context: ssl.SSLContext | None,
    ) -> None:
        self._services = services
        self.member = member
        self.route = route
        self._sockets = sockets
        self.context = context
        """That of handshakes from now on; connections that are open keep theirs."""
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._welcoming: dict[asyncio.Task[None], str] = {}
        """Handshakes, the oldest first, each with the client's address."""

    @property
    def addresses(self) -> list[Address]:
        """What is bound, with the real port where the configuration said 0; nothing once it is closed."""
        return [Address(*sock.getsockname()[:2]) for sock in self._sockets]

    def start(self) -> None:
        """Accept from now on."""
        for sock in self._sockets:
            self._accept_from(sock)

    async def close(self) -> None:
        """Accept no more and give the port back; connections that are open stay."""
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            self._leave(sock)
        for task in (welcoming := tuple(self._welcoming)):
            task.cancel()
        await asyncio.gather(*welcoming, return_exceptions=True)
        for sock in sockets:
            sock.close()

    def _accept_from(self, sock: socket.socket) -> None:
        # Not `sock_accept` in a task: who cancels that loses a client that it has just accepted.
        asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _leave(self, sock: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(sock)
        if (pause := self._pauses.pop(sock, None)) is not None:
            pause.cancel()

    def _accept(self, sock: socket.socket) -> None:
        try:
            accepted, address = sock.accept()
        except BlockingIOError:
            return  # the client has gone again
        except OSError as error:
            problem = os.strerror(error.errno or 0)
            self._services.gate.note(_log, logging.ERROR, "cannot accept", "accept", problem=problem)
            self._leave(sock)
            loop = asyncio.get_running_loop()
            self._pauses[sock] = loop.call_later(ACCEPT_PAUSE_S, self._accept_from, sock)
            return
        host = host_of(address)
        if not self._has_place(host):
            self._reject("limit", "limits.connections is reached", address)
            accepted.close()
            return
        accepted.setblocking(False)
        self._services.metrics.accepted.inc()
        task = spawn(self._welcome(accepted, address), "handshake")
        self._welcoming[task] = host
        task.add_done_callback(partial(self._welcomed, accepted))

    def _has_place(self, host: str) -> bool:
        """Whether a client from `host` may come; another one may be ended for it."""
        live, most = self._services.live, self._services.limits.connections
        if len(live) + len(self._welcoming) < most:
            return True
        if len(self._welcoming) > most // 2:
            next(iter(self._welcoming)).cancel()
            return True
        ending = one_to_end(live, host, most // 2)
        if ending is None:
            return has_kept_place([each.host for each in live] + list(self._welcoming.values()), host, most)
        self._services.metrics.rejected.labels("limit").inc()
        ending.abort()
        return True

    def _welcomed(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        self._welcoming.pop(task, None)
        if task.cancelled():
            accepted.close()  # the task may never have begun

    def _connected(self, task: asyncio.Task[None] | None, transport: asyncio.Transport) -> Connection:
        """The connection counts as open now; counted as arriving too, it would take the place of another."""
        connection = Connection(self._services, self.route, transport)
        if task is not None:
            self._welcoming.pop(task, None)
        return connection

    async def _welcome(self, accepted: socket.socket, address: object) -> None:
        loop = asyncio.get_running_loop()
        context = self.context
        protocol = ClientProtocol(partial(self._connected, asyncio.current_task()))
        opening = loop.connect_accepted_socket(
            lambda: protocol,
            accepted,
            ssl=context,
            ssl_handshake_timeout=None if context is None else self._services.limits.handshake_s,
        )
        try:
            await opened(opening, protocol)
        except OSError as error:  # ssl.SSLError, a reset, the handshake's time-out
            why = (
                (error.reason or "handshake failed")
                if isinstance(error, ssl.SSLError)
                else type(error).__name__
            )
            self._reject("handshake", why, address)

    def _reject(self, reason: str, problem: str, address: object) -> None:
        self._services.rejected += 1
        self._services.metrics.rejected.labels(reason).inc()
        fields = {"problem": problem, "client": peer_name(address)}
        self._services.gate.note(_log, logging.WARNING, "client not served", reason, **fields)


class Entrances:
    """For one event loop. `place` or `lay_out` before `start`; `lay_out` again whenever servers change."""

    def __init__(
        self,
        services: Services,
        new_session: Callable[[Topology], SessionCore],
        listen: ssl.SSLContext | None,
        ways: UpstreamWays,
    ) -> None:
        self._services = services
        self._new_session = new_session
        self._listen = listen
        self._ways = ways
        self._open: list[Listener] = []
        self._names: dict[str, str] = {}
        """What followed members are called here. Sessions look into it: changed in one step."""
        self._started = False
        self.are_closed = False

    def __iter__(self) -> Iterator[Listener]:
        return iter(tuple(self._open))

    @property
    def addresses(self) -> list[Address]:
        """Where clients can connect."""
        return [address for listener in self._open for address in listener.addresses]

    @property
    def reached(self) -> list[tuple[Upstream, ServerReach]]:
        """The servers, each with what is known of reaching it."""
        return [(listener.route.upstream, listener.route.reach) for listener in self._open]

    def place(self, member: Member, topology: Topology, sockets: list[socket.socket]) -> Listener:
        """One more, which does not accept before `start`."""
        upstream = Upstream(member.upstream, self._ways)
        name, reach = str(member.upstream), self._services.metrics.reach
        if name not in [each.server for each in reach.servers]:
            reach.use_servers([*(each.server for each in reach.servers), name])
        known = next(each for each in reach.servers if each.server == name)
        route = Route(upstream, partial(self._new_session, topology), known)
        listener = Listener(self._services, member, route, sockets, self._listen)
        self._open.append(listener)
        if self._started:
            listener.start()
        return listener

    def lay_out(
        self, layout: PortLayout, sockets_of: SocketsOf, left_out: Iterable[Address] = ()
    ) -> list[Listener]:
        """Have one for each member of `layout`, and drain those of others; the new ones.

        `left_out` are members that may not be used: they are shown as servers that are down.

        No client hears of a member before its listener accepts, or after it has closed. Before `start`
        raises ListenProblem; later such a member stays without a listener, and nobody hears of it.
        """
        wanted = set(layout.members)
        gone = [listener for listener in self._open if listener.member not in wanted]
        self._open = [listener for listener in self._open if listener.member in wanted]
        known = {listener.member for listener in self._open}
        self._call(layout)
        for listener in gone:
            spawn(self._retire(listener), f"retire {listener.member.upstream}")
        new = []
        for member in layout.members:
            if member not in known and (sockets := self._bound(member, sockets_of)):
                topology = Topology(str(member.advertise), self._names, withholds=True)
                new.append(self.place(member, topology, sockets))
        self._call(layout)
        used = [str(listener.member.upstream) for listener in self._open]
        self._services.metrics.reach.use_servers(used, map(str, left_out))
        return new

    def start(self) -> None:
        """Accept from now on."""
        self._started = True
        for listener in self._open:
            listener.start()

    def use_listen(self, context: ssl.SSLContext | None) -> None:
        """Let handshakes with clients from now on use `context`."""
        self._listen = context
        for listener in self._open:
            listener.context = context

    def use_upstream(self, ways: UpstreamWays) -> None:
        """Connect to servers in this way from now on."""
        self._ways = ways
        for listener in self._open:
            listener.route.upstream.ways = ways

    async def close(self) -> None:
        """Accept no more; connections that are open stay."""
        self.are_closed = True
        for listener in self._open:
            await listener.close()

    def _call(self, layout: PortLayout) -> None:
        listening = {str(listener.member.upstream).lower() for listener in self._open}
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

    async def _retire(self, listener: Listener) -> None:
        """A member has left: finish what is under way with it, for as long as a drain may take."""
        note(_log, logging.INFO, "member left", upstream=str(listener.member.upstream))
        await listener.close()
        for connection in self._connections_of(listener):
            connection.drain()
        ends_at = self._services.clock() + self._services.limits.drain_s
        while self._connections_of(listener) and self._services.clock() < ends_at:
            await asyncio.sleep(LOOK_S)
        for connection in self._connections_of(listener):
            connection.abort()

    def _connections_of(self, listener: Listener) -> list[Connection]:
        return [each for each in tuple(self._services.live) if each.route is listener.route]
