"""One client connection and the server connection that belongs to it: what its transports and the proxy say.

`carrying` says where a connection is on its way, and what becomes of bytes and effects.

Backpressure. Each transport is read only while nobody holds it (`Hold`). A client that does not read holds
both sides: the server's replies, and its own commands, whose refusals would pile up. A server that does not
read holds the client only: it must stay able to send us replies, or both would wait for each other.
"""

import asyncio
import logging
from functools import partial
from typing import Final, final

from sealwire.proxy.server.connections.carrying import CLOSE_LINGER_S, Carrier, CarryState
from sealwire.proxy.server.connections.recorder import names_of, signer_of
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.connections.sessions import SessionCore
from sealwire.proxy.server.errors import UpstreamUnavailable
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.tasks import spawn
from sealwire.proxy.server.transports import HoldReason, Pipe, tune
from sealwire.proxy.session.login.identities import Certified

_log = logging.getLogger("sealwire.server")

# A server that is well accepts sooner. Health checks of load balancers connect and close at once.
_SOON_S: Final = 1.0


@final
class Connection(Carrier):
    """Feeds a session from two transports, which report to it, and carries out its effects."""

    def __init__(self, services: Services, route: Route, transport: asyncio.Transport) -> None:
        super().__init__(services, route, transport)
        names, issuer = names_of(transport), signer_of(transport)
        way = route.upstream.way_for(names, issuer)
        self._oldest: int | None = None
        """The request that had waited longest when the clock was looked at last."""
        self._silent_since_s = services.clock()
        self._given_up_since_s = 0.0
        """When a client was found gone whose command waits for an answer of the server."""
        self._way = way
        services.live.add(self)
        services.metrics.connections.inc()
        try:
            self._session = route.new_session()
            subject = next(iter(names), "")
            if subject:
                self._session.certified(subject, Certified(names, way.presented, issuer))
        except Exception as error:  # noqa: BLE001 - see _bug
            self._bug(error)
            return
        note(_log, logging.DEBUG, "connection opened", connection=self.number, client=self._recorder.peer)

    # -- opening ---------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Open the server connection, now that there is something to send."""
        self._is_connecting = True
        self._silent_since_s = self._services.clock()
        self.client.hold(HoldReason.CONNECTING)
        opening = self.route.upstream.connect_for(self, self._unreachable, self._way)
        self._connecting = spawn(opening, f"connect {self.number}")

    def _unreachable(self, error: UpstreamUnavailable) -> None:
        self._services.metrics.upstream_failures.labels(error.reason.value).inc()
        kind, problem = error.reason.value, str(error)
        self.route.reach.missed(kind, problem, error.hint)
        fields = {"problem": problem, "hint": error.hint, "client": self._recorder.peer}
        self._services.gate.note(
            _log, logging.ERROR, "server connection failed", kind, connection=self.number, **fields
        )
        # Closed without a reply: a driver sees a network error, and retries.
        self.abort()

    def server_connected(self, transport: asyncio.Transport) -> None:
        """Send what waits for it."""
        tune(transport)
        server = self.server = Pipe(transport, is_fenced=self._services.fences_servers)
        self.route.reach.reached()
        self._is_connecting = False
        self._connecting = None  # ends by itself; it and that of the handshake took 1.8 KiB of each client
        session = self._session
        if self.state is not CarryState.OPEN or session is None:
            transport.abort()
            return
        if session.is_outdated:
            # a driver sees a network error, and retries
            self.abort()
            return
        # what holds both sides may have begun before there was this one
        for reason in (HoldReason.KEYS, HoldReason.CLIENT_FULL):
            if self.client.held & reason:
                server.hold(reason)
        server.write_pieces(self._unsent)
        self.client.lift(HoldReason.CONNECTING)
        self._resume(HoldReason.CONNECTING)
        self._catch_up()

    # -- what the client's transport says --------------------------------------------------------------------

    def client_eof(self) -> None:
        """The client sends nothing more."""
        self._doubt_if_given_up()
        if self._is_connecting:
            self.abort()
        else:
            self._ended(self.client)

    def client_lost(self) -> None:
        """The client's connection has ended."""
        self.client.lost = True
        self.client_eof()

    def client_full(self) -> None:
        """The client does not read."""
        self.client.full = True
        if self.client.held & HoldReason.CLIENT_FULL:
            return
        self._services.metrics.pauses.labels("client").inc()
        self.client.hold(HoldReason.CLIENT_FULL)
        if self.server is not None:
            self.server.hold(HoldReason.CLIENT_FULL)

    def client_writable(self) -> None:
        """The client reads again."""
        if not self.client.send_on():
            return
        self.client.release(HoldReason.CLIENT_FULL)
        if self.server is not None:
            self.server.release(HoldReason.CLIENT_FULL)
        self._catch_up()

    # -- what the server's transport says --------------------------------------------------------------------

    def server_eof(self) -> None:
        """The server sends nothing more."""
        if self.server is not None:
            if self.state is CarryState.OPEN and not self.server.ended:
                self.route.reach.doubt()
            self._ended(self.server)

    def server_lost(self) -> None:
        """The server's connection has ended."""
        if self.server is not None:
            self.server.lost = True
        self.server_eof()

    def server_full(self) -> None:
        """The server does not read."""
        if self.server is not None:
            self.server.full = True
        if self.client.held & HoldReason.SERVER_FULL:
            return
        self._services.metrics.pauses.labels("server").inc()
        self.client.hold(HoldReason.SERVER_FULL)

    def server_writable(self) -> None:
        """The server reads again."""
        if self.server is not None and not self.server.send_on():
            return
        self.client.release(HoldReason.SERVER_FULL)
        self._catch_up()

    # -- what the proxy says ---------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """About once a second."""
        is_held_up = self._ending_since_s > 0 and (self.client.ended or self.client.full)
        if self.state is CarryState.CLOSING or is_held_up:
            self._abort_if_late(now_s)
        elif self._session is not None:
            if self.server is not None:
                self._doubt_if_silent(self._session.oldest_awaited, now_s)
            self._end_if_given_up(self._session, now_s)
            self._run(partial(self._session.tick, now_s))

    def _end_if_given_up(self, session: SessionCore, now_s: float) -> None:
        """End a question to the server that nobody waits for: it may take long, and hold up moves.

        What the client has sent before it went may still be read within the usual time.
        """
        if not (self.client.held & HoldReason.LOOK_UP and self.client.has_hung_up()):
            self._given_up_since_s = 0.0
        elif not self._given_up_since_s:
            self._given_up_since_s = now_s
        elif now_s - self._given_up_since_s >= CLOSE_LINGER_S:
            self._run(session.client_eof)
            self.abort()

    def _doubt_if_given_up(self) -> None:
        """A client that goes before its reply is here may have waited in vain, if not for `connect_s`."""
        reach, session = self.route.reach, self._session
        if self.client.ended:
            return
        if self._is_connecting:
            if self._services.clock() - self._silent_since_s >= _SOON_S:
                reach.doubt()
        elif self.state is CarryState.OPEN and session is not None and session.oldest_awaited is not None:
            reach.doubt()

    def _doubt_if_silent(self, oldest: int | None, now_s: float) -> None:
        """A server that answers nothing for `limits.connect_s` may be frozen: have it looked at.

        It may as well work on something long. Then it answers the look, and is looked at again as much later.
        """
        if oldest is None or oldest != self._oldest:
            self._oldest, self._silent_since_s = oldest, now_s
        elif now_s - self._silent_since_s >= self._services.limits.connect_s:
            self._silent_since_s = now_s
            self.route.reach.doubt()

    def move_began(self) -> None:
        """What is under way holds the move up."""
        if self._session is not None:
            self._session.move_began()

    def frontier_moved(self) -> None:
        """A command that waited for values that move is tried again."""
        if self._session is not None:
            self._run(self._session.frontier_moved)

    def frontier_lost(self) -> None:
        """Cut what is under way and relies on knowing how far a class has moved."""
        if self._session is not None and self._session.relies_on_lease:
            self.abort()

    def audit_has_room(self) -> None:
        """What was sent meanwhile is read now."""
        if (
            self.client.held | (HoldReason.NONE if self.server is None else self.server.held)
        ) & HoldReason.AUDIT:
            self._resume(HoldReason.AUDIT)
            self._catch_up()

    def drain(self) -> None:
        """Finish what is under way, then close."""
        if self._session is None:
            self.abort()
            return
        self._run(self._session.drain)

    def settings_changed(self) -> None:
        """Tell the session. One that is made later finds the new settings by itself."""
        if self._session is not None:
            try:
                self._session.settings_changed()
            except Exception as error:  # noqa: BLE001 - see _bug
                self._bug(error)

    def _forget(self) -> None:
        self._services.forget(self)
