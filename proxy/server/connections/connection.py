"""One client connection and the server connection that belongs to it.

Theory of operation. A connection walks CONNECTING -> OPEN -> CLOSING -> CLOSED and never back.

    CONNECTING  the client stands, the server connection is being opened; the client is not read
    OPEN        bytes go to the session, its effects are carried out in order
    CLOSING     both transports flush and close; whatever still arrives is dropped. `tick` aborts what has
                not closed in time (`closing`), so a peer that never reads cannot keep memory
    CLOSED      both transports have ended; the connection is forgotten

No coroutine is written here, since this module may be compiled, and exceptions pass through a compiled one in
a form that Python has deprecated. What waits calls back: `Upstream.connect_for` and `KeyFeed.load_for`.

Backpressure. Each transport is read only while nobody holds it (`Hold`). A client that does not read holds
both sides: the server's replies, and its own commands, whose refusals would pile up. A server that does not
read holds the client only: it must stay able to send us replies, or both would wait for each other.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import Final, assert_never

from sealwire.proxy.server.connections.closing import has_lingered, say_closed
from sealwire.proxy.server.connections.pipe import Hold, Pipe, tune
from sealwire.proxy.server.connections.recorder import LineRecorder, Unrecorded, names_of, subject_of
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.connections.sessions import SessionCore
from sealwire.proxy.server.connections.timing import CommandTimer
from sealwire.proxy.server.errors import UpstreamUnavailable
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.tasks import spawn
from sealwire.proxy.session.effects import (
    Audit,
    Begun,
    Close,
    CloseReason,
    Count,
    Done,
    Effect,
    GoOn,
    LongToClient,
    LongToServer,
    NeedKeys,
    PauseClient,
    PlaintextMet,
    StrangerMet,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.login.caller import Caller
from sealwire.proxy.session.login.identities import Certified
from sealwire.proxy.session.records import UNANSWERED

_log = logging.getLogger("sealwire.server")

# Of each eight messages one is timed; not the first, which is the handshake.
_TIMED_TURNS: Final = 7
_TIMED_TURN: Final = 4


class State(Enum):
    """Where a connection is on its way."""

    CONNECTING = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class Connection:
    """Feeds a session from two transports and carries out its effects. It is an `upstream.ServerEvents`."""

    def __init__(self, services: Services, route: Route, transport: asyncio.Transport) -> None:
        services.numbered += 1
        # First what every message needs, so that it lies together.
        self.state = State.CONNECTING
        self._awaits_keys = False
        self._session: SessionCore | None = None
        self.client = Pipe(transport)
        self.server: Pipe | None = None
        self._poll = services.poll
        self._counts = services.metrics.core
        self._turn = 0
        self._timer: CommandTimer | None = None
        """It runs while the client's last message is timed."""
        self._services = services
        self.number = services.numbered
        self._closed_at_s = 0.0
        self._recorder = LineRecorder(services, transport, self.number)
        self._route = route
        names = names_of(transport)
        way = route.upstream.way_for(names)
        self._certified = Certified(names, way.presented)
        services.live.add(self)
        services.metrics.connections.inc()
        self.client.hold(Hold.CONNECTING)
        self._connecting = spawn(
            route.upstream.connect_for(self, self._unreachable, way), f"connect {self.number}"
        )

    @property
    def route(self) -> Route:
        """Where the client goes."""
        return self._route

    # -- opening ---------------------------------------------------------------------------------------------

    def _unreachable(self, error: UpstreamUnavailable) -> None:
        self._services.metrics.upstream_failures.labels(error.reason.value).inc()
        kind, problem = error.reason.value, str(error)
        if self._route.reach is not None:
            self._route.reach.missed(kind, problem, error.hint)
        fields = {"problem": problem, "hint": error.hint, "client": self._recorder.peer}
        self._services.gate.note(
            _log, logging.ERROR, "server connection failed", kind, connection=self.number, **fields
        )
        # Closed without a reply: a driver sees a network error, and retries.
        self.abort()

    def server_connected(self, transport: asyncio.Transport) -> None:
        """The session starts."""
        tune(transport)
        self.server = Pipe(transport)
        if self._route.reach is not None:
            self._route.reach.reached()
        if self.state is not State.CONNECTING:
            transport.abort()
            return
        try:
            self._session = self._route.new_session()
            subject = subject_of(self.client.transport)
            if subject:
                self._session.certified(subject, self._certified)
        except Exception as error:  # noqa: BLE001 - see _bug
            self._bug(error)
            return
        self.state = State.OPEN
        note(_log, logging.DEBUG, "connection opened", connection=self.number, client=self._recorder.peer)
        self._resume(Hold.CONNECTING)

    # -- what the client's transport says --------------------------------------------------------------------

    def client_data(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._is_deaf() or self._is_held_back():
            self.client.keep(data)
        elif self._session is not None:
            self._poll.touch()
            self._counts.from_client_bytes += len(data)
            self._turn += 1
            is_timed = self._turn & _TIMED_TURNS == _TIMED_TURN or self._counts.is_watching
            self._timer = CommandTimer() if is_timed else None
            self._run(partial(self._session.client_data, data))

    def client_eof(self) -> None:
        """The client sends nothing more."""
        if self.state is State.CONNECTING:
            self.abort()
        elif self._session is not None:
            self._run(self._session.client_eof)

    def client_lost(self) -> None:
        """The client's connection has ended."""
        self.client.lost = True
        self.client_eof()
        self._after_loss(CloseReason.CLIENT_EOF)

    def client_full(self) -> None:
        """The client does not read."""
        self.client.full = True
        if self.client.held & Hold.CLIENT_FULL:
            return
        self._services.metrics.pauses.labels("client").inc()
        self.client.hold(Hold.CLIENT_FULL)
        if self.server is not None:
            self.server.hold(Hold.CLIENT_FULL)

    def client_writable(self) -> None:
        """The client reads again."""
        if not self.client.send_on():
            return
        self.client.release(Hold.CLIENT_FULL)
        if self.server is not None:
            self.server.release(Hold.CLIENT_FULL)
        self._catch_up()

    # -- what the server's transport says --------------------------------------------------------------------

    def server_data(self, data: bytes) -> None:
        """Bytes from the server."""
        if self.server is not None and (self._is_deaf() or self._is_stream_held()):
            self.server.keep(data)
        elif self._session is not None:
            self._poll.touch()
            self._counts.from_server_bytes += len(data)
            self._run(partial(self._session.server_data, data))

    def server_eof(self) -> None:
        """The server sends nothing more."""
        if self.state is State.OPEN and self._route.reach is not None:
            self._route.reach.lost()
        if self._session is not None:
            self._run(self._session.server_eof)

    def server_lost(self) -> None:
        """The server's connection has ended."""
        if self.server is not None:
            self.server.lost = True
        self.server_eof()
        self._after_loss(CloseReason.SERVER_EOF)

    def server_full(self) -> None:
        """The server does not read."""
        if self.server is not None:
            self.server.full = True
        if self.client.held & Hold.SERVER_FULL:
            return
        self._services.metrics.pauses.labels("server").inc()
        self.client.hold(Hold.SERVER_FULL)

    def server_writable(self) -> None:
        """The server reads again."""
        if self.server is not None and not self.server.send_on():
            return
        self.client.release(Hold.SERVER_FULL)
        self._catch_up()

    # -- what the proxy says ---------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """About once a second."""
        if self.state is State.CLOSING:
            waited_s = now_s - self._closed_at_s
            if has_lingered(self._services, waited_s, (self.client, self.server)):
                self.abort()
        elif self._session is not None:
            self._run(partial(self._session.tick, now_s))

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
        if self._session is not None and self._session.has_uses:
            self.abort()

    def audit_has_room(self) -> None:
        """What was sent meanwhile is read now."""
        if (self.client.held | (Hold.NONE if self.server is None else self.server.held)) & Hold.AUDIT:
            self._resume(Hold.AUDIT)
            self._catch_up()

    def drain(self) -> None:
        """Finish what is under way, then close."""
        if self._session is None:
            self.abort()
            return
        self._run(self._session.drain)

    def abort(self) -> None:
        """Cut both connections at once, without a flush."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSING
        self._connecting.cancel()
        self.client.abort()
        if self.server is not None:
            self.server.abort()
        self._forget_if_over()

    def _is_deaf(self) -> bool:
        """Whether what arrives must wait: there is no session yet, or it waits for keys."""
        return self._awaits_keys or self.state is State.CONNECTING

    def _is_held_back(self) -> bool:
        """Whether the client waits for room in the audit."""
        if self._services.audit.is_pressed:
            self.client.hold(Hold.AUDIT)
            return True
        return False

    def _is_stream_held(self) -> bool:
        """Whether replies that come without a request, each with a line, wait for room in the audit."""
        server, session = self.server, self._session
        if not self._services.audit.is_pressed or server is None or session is None:
            return False
        if session.is_streaming:
            server.hold(Hold.AUDIT)
        return session.is_streaming

    # -- effects ---------------------------------------------------------------------------------------------

    def _run(self, step: Callable[[], list[Effect]]) -> None:
        if self.state is State.OPEN:
            try:
                if self._timer is None:
                    self._carry_out(step())
                else:
                    self._run_timed(self._timer, step)
            except Unrecorded:
                self.abort()
            except Exception as error:  # noqa: BLE001 - see _bug
                self._bug(error)

    def _run_timed(self, timer: CommandTimer, step: Callable[[], list[Effect]]) -> None:
        sent, watch = self._counts.to_client_bytes, self._services.watch
        if watch is not None:
            watch.clear()
        timer.turn(is_ours=True)
        self._carry_out(step())
        timer.turn(is_ours=self._awaits_keys or bool(self.client.held & Hold.LOOK_UP))
        if watch is not None:
            timer.take(watch.taken(), watch.opened)
        if self._counts.to_client_bytes != sent:
            # the client was sent its reply, or the beginning of a long one
            self._timer = None
            self._services.finished(timer, self._recorder.peer, self.number)

    @property
    def is_busy(self) -> bool:
        """Whether a command awaits its reply."""
        return self._session is not None and not self._session.idle

    @property
    def _caller(self) -> Caller:
        return Caller() if self._session is None else self._session.caller

    def _carry_out(self, effects: list[Effect]) -> None:
        server = self.server
        if server is None:
            raise RuntimeError("effects before the server connection stands")
        for effect in effects:
            match effect:
                case ToServer():
                    self._counts.to_server_bytes += len(effect.data)
                    server.write(effect.data)
                case ToClient():
                    self._counts.to_client_bytes += len(effect.data)
                    self.client.write(effect.data)
                case LongToServer() | LongToClient():
                    self._write_pieces(effect, server)
                case Count():
                    self._counts.add(effect)
                case NeedKeys():
                    self._fetch_keys(effect)
                case PauseClient() | GoOn():
                    self._pause(server, effect)
                case Audit() | Begun() | Done():
                    self._recorder.report(effect, self._caller)
                case PlaintextMet() | StrangerMet():
                    self._tell(effect)
                case Close():
                    self._close(effect)
                case _:
                    assert_never(effect)

    def _write_pieces(self, effect: LongToServer | LongToClient, server: Pipe) -> None:
        size = sum(map(len, effect.pieces))
        if isinstance(effect, LongToServer):
            self._counts.to_server_bytes += size
            server.write_pieces(effect.pieces)
        else:
            self._counts.to_client_bytes += size
            self.client.write_pieces(effect.pieces)

    def _pause(self, server: Pipe, effect: PauseClient | GoOn) -> None:
        """Read no more from a peer, or again."""
        if isinstance(effect, PauseClient):
            change = self.client.hold if effect.paused else self.client.release
            change(Hold.LOOK_UP)
            return
        # what it has sent waits for the next turn of the loop
        (self.client if effect.from_client else server).hold(Hold.BEHIND)
        asyncio.get_running_loop().call_soon(self._catch_up)

    def _catch_up(self) -> None:
        """Handle more of what was put off, where there is room for what comes of it."""
        session, server = self._session, self.server
        for pipe in (self.client, server):
            if pipe is None or not pipe.held & Hold.BEHIND or session is None or server is None:
                continue
            is_client = pipe is self.client
            # as with reading: a server that does not read must stay able to send replies
            if self.client.full or (is_client and server.full) or self._awaits_keys:
                continue
            if self._is_held_back() if is_client else self._is_stream_held():
                continue
            pipe.lift(Hold.BEHIND)
            self._run(partial(session.go_on, from_client=is_client))
            pipe.read_if_free()

    def _tell(self, effect: PlaintextMet | StrangerMet) -> None:
        if isinstance(effect, StrangerMet):
            self._services.stranger_met()
        else:
            self._recorder.met(effect, self._caller)

    def _report_unanswered(self) -> None:
        """Whatever the server made of them, these commands were sent."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(Unrecorded):  # the connection is over; the log says that lines are missing
                for record in session.unanswered():
                    self._recorder.report(Done(record, UNANSWERED), session.caller)

    def settings_changed(self) -> None:
        """Tell the session. One that is made later finds the new settings by itself."""
        if self._session is not None:
            try:
                self._session.settings_changed()
            except Exception as error:  # noqa: BLE001 - see _bug
                self._bug(error)

    def _fetch_keys(self, need: NeedKeys) -> None:
        if not self._awaits_keys:
            self._awaits_keys = True
            self.client.hold(Hold.KEYS)
            if self.server is not None:
                self.server.hold(Hold.KEYS)
            contexts, done = self._services.contexts, self._keys_loaded
            if contexts is not None and not need.keys:
                spawn(contexts.find_for(need.contexts, need.context_keys, done), f"keys {self.number}")
            else:
                spawn(self._services.keys.load_for(need.keys, done), f"keys {self.number}")

    def _keys_loaded(self) -> None:
        self._awaits_keys = False
        if self._session is not None:
            self._run(self._session.keys_loaded)
        self._resume(Hold.KEYS)
        self._catch_up()

    def _resume(self, reason: Hold) -> None:
        """Hand over what arrived during a hold, then read again; stop where a step asks for keys."""
        for pipe, feed in ((self.client, self.client_data), (self.server, self.server_data)):
            if pipe is None or self._awaits_keys:
                continue
            pipe.lift(reason)
            while pipe.stash and not self._awaits_keys:
                if self._is_held_back() if pipe is self.client else self._is_stream_held():
                    break
                feed(pipe.stash.pop(0))
            pipe.read_if_free()

    # -- the end ---------------------------------------------------------------------------------------------

    def _close(self, close: Close) -> None:
        if self.state is not State.OPEN:
            return
        self.state = State.CLOSING
        self._closed_at_s = self._services.clock()
        say_closed(self._services, close, self.number, self._recorder.peer)
        self.client.close()
        if self.server is not None:
            self.server.close()

    def _bug(self, error: Exception) -> None:
        """An unexpected exception was raised: this conversation cannot be trusted any more.

        Both connections are cut without a flush; the process and all other connections go on.
        """
        self._services.metrics.bugs.inc()
        number, peer = self.number, self._recorder.peer
        note(_log, logging.CRITICAL, "bug: connection cut", error, connection=number, client=peer)
        self.abort()

    def _after_loss(self, reason: CloseReason) -> None:
        # The session answers an end of stream with Close; if it does not, the other side must not stay.
        self._close(Close(reason, "transport lost"))
        self._forget_if_over()

    def _forget_if_over(self) -> None:
        over = self.client.lost and (self.server is None or self.server.lost)
        if over and self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._report_unanswered()
            self._services.forget(self)
