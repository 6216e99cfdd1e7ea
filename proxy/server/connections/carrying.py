"""Feeds the session of a connection with what arrives, and carries out its effects in order.

Theory of operation. What arrives while the session may not be given anything is kept by its pipe (`Hold`),
and handed over when the hold ends. So is the end of a stream. A transport that is not read shows no end
before what was sent is read; but TLS hands on what it has decrypted already together with the end, and the
pipe of a peer that was put off `is_behind` then. Its session hears of the end when it is not any more: the
last replies of a server still reach the client, and what a client has written without asking for an answer
still goes out. `tick` bounds how long that may take.

No coroutine is written here, since this module may be compiled, and exceptions pass through a compiled one in
a form that Python has deprecated. What waits calls back, as `KeyFeed.load_for` does.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import Final, assert_never

from sealwire.proxy.server.connections.recorder import LineRecorder, Unrecorded, host_of
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.connections.sessions import ClientStage, SessionCore
from sealwire.proxy.server.observability.counts import CommandTimer
from sealwire.proxy.server.observability.logs import Field, note
from sealwire.proxy.server.tasks import spawn
from sealwire.proxy.server.transports import HoldReason, Pipe
from sealwire.proxy.session.effects import (
    UNANSWERED,
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
    ObservedCommand,
    PauseClient,
    PlaintextMet,
    StrangerMet,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.login.caller import Caller
from sealwire.proxy.session.login.handshake import UnknownMember

# ------------------------------------------ how far one connection is, what it consists of, and how it ends
#
# Theory of operation. A connection walks OPEN -> CLOSING -> CLOSED and never back.
#
#     OPEN        bytes go to the session, its effects are carried out in order. The server connection is
#                 opened when the session has something to send there; the client is not read until it stands
#     CLOSING     both transports flush and close; whatever still arrives is dropped. `tick` aborts what has
#                 not closed in time (`closing`), so a peer that never reads cannot keep memory
#     CLOSED      both transports have ended; the connection is forgotten

_log = logging.getLogger("sealwire.server")


# ----------------------------- how a connection ends: what is said of it, and how long it may take to flush

CLOSE_LINGER_S: Final = 10.0

# A TLS peer that does not read never answers our close-notify. In a drain, one that has been sent everything
# is not waited for any longer than this.
DRAIN_LINGER_S: Final = 1.0

# Reasons that deserve an operator's attention; the others are the ordinary ends of a connection.
_LOUD: Final = frozenset(
    {
        CloseReason.CLIENT_PROTOCOL,
        CloseReason.CLIENT_TLS,
        CloseReason.SERVER_PROTOCOL,
        CloseReason.KEYS_UNAVAILABLE,
        CloseReason.TOPOLOGY,
    }
)

_HINTS: Final = {
    CloseReason.CLIENT_TLS: "the client uses TLS and this listener does not: set listen.tls, or tls=false "
    "in the client's connection string",
    CloseReason.TOPOLOGY: UnknownMember.hint,
    CloseReason.SERVER_EOF: "look into the server's log: it stopped, or closed the connection in the middle",
}


def say_closed(services: Services, close: Close, number: int, peer: str, *, is_busy: bool) -> None:
    """Count why the connection `number` of the client `peer` ends, and log it.

    `is_busy`: a command awaited its reply. A server that leaves then leaves a client without an answer.
    """
    reason = close.reason
    services.metrics.closed.labels(reason.value).inc()
    fields: dict[str, Field] = {
        "reason": reason.value,
        "detail": close.detail,
        "connection": number,
        "client": peer,
    }
    if reason in _LOUD or (reason is CloseReason.SERVER_EOF and is_busy):
        if reason in _HINTS:
            fields["hint"] = _HINTS[reason]
        kind = f"closed {reason.value}"
        services.gate.note(_log, logging.WARNING, "connection closed", kind, **fields)
    else:
        note(_log, logging.DEBUG, "connection closed", **fields)


def has_lingered(services: Services, waited_s: float, pipes: Iterable[Pipe | None]) -> bool:
    """Whether a connection has flushed for as long as it may, `waited_s` after its end began."""
    if services.draining and waited_s >= DRAIN_LINGER_S:
        return not any(pipe and pipe.has_unsent for pipe in pipes) or waited_s >= CLOSE_LINGER_S
    return waited_s >= CLOSE_LINGER_S


class CarryState(Enum):
    """Where a connection is on its way."""

    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class Carrier(ABC):
    """The two transports of a connection and the session between them, from the first to the last."""

    def __init__(self, services: Services, route: Route, transport: asyncio.Transport) -> None:
        services.numbered += 1
        # First what every message needs, so that it lies together.
        self.state = CarryState.OPEN
        self._awaits_keys = self._is_connecting = False
        self._session: SessionCore | None = None
        self.client = Pipe(transport)
        self.server: Pipe | None = None
        self._counts = services.metrics.core
        self._services = services
        self.number = services.numbered
        self._ending_since_s = 0.0
        """When it began to close, or a peer's end began to wait for what came before it."""
        self._recorder = LineRecorder(
            services.audit, services.failed_logins, services.metrics.plaintext, transport, self.number
        )
        self.route = route
        """Where the client goes."""
        self.host = host_of(transport.get_extra_info("peername"))
        self._connecting: asyncio.Task[None] | None = None
        self._timer: CommandTimer | None = None
        """It runs while the client's last message is timed."""
        self._unsent: list[bytes] = []
        """The bytes that the server gets as soon as its connection stands, from one read of the client."""

    @property
    def is_busy(self) -> bool:
        """Whether a command awaits its reply."""
        return self._session is not None and not self._session.idle

    @property
    def standing(self) -> ClientStage:
        """How far the client has got."""
        if self.state in (CarryState.CLOSING, CarryState.CLOSED):
            return ClientStage.ENDING
        if self._session is None or self._session.is_silent:
            return ClientStage.SILENT
        return ClientStage.ANONYMOUS if self._session.is_anonymous else ClientStage.KNOWN

    def abort(self) -> None:
        """Cut both connections at once, without a flush."""
        if self.state is CarryState.CLOSED:
            return
        self.state = CarryState.CLOSING
        if self._connecting is not None:
            self._connecting.cancel()
        self.client.abort()
        if self.server is not None:
            self.server.abort()
        self._forget_if_over()

    def _close(self, close: Close) -> None:
        """Flush both connections and close them."""
        if self.state is not CarryState.OPEN:
            return
        self.state = CarryState.CLOSING
        self._ending_since_s = self._services.clock()
        peer, is_busy = self._recorder.peer, self.is_busy
        say_closed(self._services, close, self.number, peer, is_busy=is_busy)
        self.client.close()
        if self.server is None:
            # what was to be sent goes with its client
            if self._connecting is not None:
                self._connecting.cancel()
                self._is_connecting = False
            return
        if is_busy and self._services.fences_servers and self.server.has_unsent:
            # Nobody waits for the reply, and what a flush sends may arrive when it is not waited for either.
            self.server.abort()
        else:
            self.server.close()

    def _abort_if_late(self, now_s: float) -> None:
        """Cut what has not ended in time."""
        waited_s = now_s - self._ending_since_s
        if has_lingered(self._services, waited_s, (self.client, self.server)):
            reason = CloseReason.CLIENT_EOF if self.client.ended else CloseReason.SERVER_EOF
            self._close(Close(reason, "held up"))  # counted, where it was not closing yet
            self.abort()

    def _bug(self, error: Exception) -> None:
        """An unexpected exception was raised: this conversation cannot be trusted any more.

        Both connections are cut without a flush; the process and all other connections go on.
        """
        self._services.metrics.bugs.inc()
        number, peer = self.number, self._recorder.peer
        note(_log, logging.CRITICAL, "bug: connection cut", error, connection=number, client=peer)
        self.abort()

    def _forget_if_over(self) -> None:
        over = self.client.lost and (self.server is None or self.server.lost)
        if over and self.state is not CarryState.CLOSED:
            self.state = CarryState.CLOSED
            self._report_unanswered()
            self._forget()

    @abstractmethod
    def _forget(self) -> None:
        """Nobody needs the connection any more."""

    def _report_unanswered(self) -> None:
        """Whatever the server made of them, these commands were sent."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(Unrecorded):  # the connection is over; the log says that lines are missing
                for record in session.unanswered():
                    self._recorder.report(Done(record, UNANSWERED), session.caller)
            session.client_eof()  # a connection that was cut must not hold up moves forever

    # -- what arrives ----------------------------------------------------------------------------------------

    def client_data(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._is_deaf() or self._is_held_back():
            self.client.keep(data)
        elif self._session is not None:
            counts = self._counts
            counts.from_client_bytes += len(data)
            counts.until_sampled -= 1
            is_sampled = counts.until_sampled <= 0 and counts.samples(data)
            is_timed = is_sampled or counts.is_watching
            self._timer = CommandTimer(is_sampled=is_sampled) if is_timed else None
            self._run(None, data, from_client=True)

    def server_data(self, data: bytes) -> None:
        """Bytes from the server."""
        if self.server is not None and (self._is_deaf() or self._is_stream_held()):
            self.server.keep(data)
        elif self._session is not None:
            self._counts.from_server_bytes += len(data)
            self._run(None, data)

    def _ended(self, pipe: Pipe) -> None:
        """A peer sends nothing more, and takes nothing either: its transport closes itself."""
        pipe.ended = True
        pipe.full = False
        self._hear_ends()

    def _hear_ends(self) -> None:
        """Tell the session who has ended, once all is handled that came before."""
        session, server = self._session, self.server
        if self.client.ended and session is not None:
            self._hear_end(self.client, session.client_eof, CloseReason.CLIENT_EOF)
        if server is not None and server.ended and session is not None:
            self._hear_end(server, session.server_eof, CloseReason.SERVER_EOF)
        self._forget_if_over()

    def _hear_end(self, pipe: Pipe, step: Callable[[], list[Effect]], reason: CloseReason) -> None:
        if self.state is not CarryState.OPEN:
            return
        if pipe.is_behind:
            if not self._ending_since_s:
                self._ending_since_s = self._services.clock()
            return
        self._run(step)
        if pipe.lost:
            # The session answers an end of stream with Close; if it does not, the other side must not stay.
            self._close(Close(reason, "transport lost"))

    def _is_deaf(self) -> bool:
        """Whether what arrives must wait: for keys, or until the server connection stands."""
        return self._awaits_keys or self._is_connecting

    def _is_held_back(self) -> bool:
        """Whether the client waits for room in the audit."""
        if self._services.audit.is_pressed:
            self.client.hold(HoldReason.AUDIT)
            return True
        return False

    def _is_stream_held(self) -> bool:
        """Whether replies that come without a request, each with a line, wait for room in the audit."""
        server, session = self.server, self._session
        if not self._services.audit.is_pressed or server is None or session is None:
            return False
        if session.is_streaming:
            server.hold(HoldReason.AUDIT)
        return session.is_streaming

    # -- effects ---------------------------------------------------------------------------------------------

    def _run(
        self, step: Callable[[], list[Effect]] | None, data: bytes = b"", *, from_client: bool = False
    ) -> None:
        """Take a step. Without one the session is given `data`: no function is made for each message."""
        session = self._session
        if self.state is not CarryState.OPEN or session is None:
            return
        timer, sent = self._timer, self._counts.to_client_bytes
        try:
            if timer is not None:
                self._begin_step(timer)
            if step is not None:
                effects = step()
            else:
                effects = session.client_data(data) if from_client else session.server_data(data)
            self._carry_out(effects)
            if timer is not None:
                self._end_step(timer, sent)
        except Unrecorded:
            self.abort()
        except Exception as error:  # noqa: BLE001 - see _bug
            self._bug(error)

    def _begin_step(self, timer: CommandTimer) -> None:
        watch = self._services.watch
        if watch is not None:
            watch.clear()
        timer.turn(is_ours=True)

    def _end_step(self, timer: CommandTimer, sent: int) -> None:
        """`sent`: how many bytes clients had been sent before the step."""
        watch, held = self._services.watch, self.client.held
        # arithmetic with flags takes 6,000 instructions, and hardly ever does anything hold a client
        timer.turn(is_ours=self._awaits_keys or (held is not HoldReason.NONE and HoldReason.LOOK_UP in held))
        if watch is not None:
            timer.take(watch.taken(), watch.opened)
        if self._counts.to_client_bytes != sent:
            # the client was sent its reply, or the beginning of a long one
            self._timer = None
            if timer.is_sampled:
                self._counts.times.add(timer.total_s, timer.own_s)
            if timer.note is not None:
                self._services.finished(timer.note, timer, self._recorder.peer, self.number)

    @property
    def _caller(self) -> Caller:
        return Caller() if self._session is None else self._session.caller

    def _carry_out(self, effects: list[Effect]) -> None:
        server = self.server
        # `match` would ask Python whether each class is that of the effect, `isinstance` compares pointers
        for effect in effects:
            if isinstance(effect, Count):
                self._counts.add(effect)
            elif isinstance(effect, ToServer):
                self._counts.to_server_bytes += len(effect.data)
                if server is None:
                    self._send_later([effect.data])
                else:
                    server.write(effect.data)
            elif isinstance(effect, ToClient):
                self._counts.to_client_bytes += len(effect.data)
                self.client.write(effect.data)
            elif isinstance(effect, (LongToServer, LongToClient)):
                self._write_pieces(effect)
            elif isinstance(effect, (Audit, Begun, Done)):
                self._recorder.report(effect, self._caller)
            else:
                self._carry_out_rare(effect)

    def _carry_out_rare(
        self, effect: NeedKeys | PauseClient | GoOn | PlaintextMet | StrangerMet | ObservedCommand | Close
    ) -> None:
        match effect:
            case NeedKeys():
                self._fetch_keys(effect)
            case PauseClient() | GoOn():
                self._pause(effect)
            case PlaintextMet():
                self._recorder.met(effect, self._caller)
            case StrangerMet():
                self._services.stranger_met()
            case ObservedCommand():
                self._services.metrics.observed.add(effect)
            case Close():
                self._close(effect)
            case _:
                assert_never(effect)

    def _send_later(self, pieces: list[bytes]) -> None:
        """Send these once the server connection stands, and open it. The client is not read meanwhile."""
        self._unsent += pieces
        if not self._is_connecting:
            self._connect()

    @abstractmethod
    def _connect(self) -> None:
        """Open the server connection."""

    def _write_pieces(self, effect: LongToServer | LongToClient) -> None:
        size = sum(map(len, effect.pieces))
        if isinstance(effect, LongToServer):
            self._counts.to_server_bytes += size
            if self.server is None:
                self._send_later(effect.pieces)
            else:
                self.server.write_pieces(effect.pieces)
        else:
            self._counts.to_client_bytes += size
            self.client.write_pieces(effect.pieces)

    def _pause(self, effect: PauseClient | GoOn) -> None:
        """Read no more from a peer, or again."""
        if isinstance(effect, PauseClient):
            change = self.client.hold if effect.paused else self.client.release
            change(HoldReason.LOOK_UP)
            if self.client.ended:
                asyncio.get_running_loop().call_soon(self._hear_ends)
            return
        # what it has sent waits for the next turn of the loop
        if (pipe := self.client if effect.from_client else self.server) is not None:
            pipe.hold(HoldReason.BEHIND)
        asyncio.get_running_loop().call_soon(self._catch_up)

    def _catch_up(self) -> None:
        """Handle more of what was put off, where there is room for what comes of it."""
        session, server = self._session, self.server
        for pipe in (self.client, server):
            if pipe is None or not pipe.held & HoldReason.BEHIND or session is None:
                continue
            is_client = pipe is self.client
            # as with reading: a server that does not read must stay able to send replies
            is_full = self.client.full or (is_client and server is not None and server.full)
            if is_full or self._is_deaf():
                continue
            if self._is_held_back() if is_client else self._is_stream_held():
                continue
            pipe.lift(HoldReason.BEHIND)
            self._run(partial(session.go_on, from_client=is_client))
            pipe.read_if_free()
        if self.client.ended or (server is not None and server.ended):
            self._hear_ends()

    def _fetch_keys(self, need: NeedKeys) -> None:
        if not self._awaits_keys:
            self._awaits_keys = True
            self.client.hold(HoldReason.KEYS)
            if self.server is not None:
                self.server.hold(HoldReason.KEYS)
            contexts, done = self._services.contexts, self._keys_loaded
            if contexts is not None and not need.keys:
                spawn(contexts.find_for(need.contexts, need.context_keys, done), f"keys {self.number}")
            else:
                spawn(self._services.keys.load_for(need.keys, done), f"keys {self.number}")

    def _keys_loaded(self) -> None:
        self._awaits_keys = False
        if self._session is not None:
            self._run(self._session.keys_loaded)
        self._resume(HoldReason.KEYS)
        self._catch_up()

    def _resume(self, reason: HoldReason) -> None:
        """Hand over what arrived during a hold, then read again; stop where a step has to wait."""
        for pipe, feed in ((self.client, self.client_data), (self.server, self.server_data)):
            if pipe is None or self._awaits_keys:
                continue
            pipe.lift(reason)
            while pipe.stash and not self._is_deaf():
                if self._is_held_back() if pipe is self.client else self._is_stream_held():
                    break
                feed(pipe.stash.pop(0))
            pipe.read_if_free()
