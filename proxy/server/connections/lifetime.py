"""How far one connection is, what it consists of, and how it ends.

Theory of operation. A connection walks OPEN -> CLOSING -> CLOSED and never back.

    OPEN        bytes go to the session, its effects are carried out in order. The server connection is opened
                when the session has something to send there; the client is not read until it stands
    CLOSING     both transports flush and close; whatever still arrives is dropped. `tick` aborts what has
                not closed in time (`closing`), so a peer that never reads cannot keep memory
    CLOSED      both transports have ended; the connection is forgotten
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum, auto
from typing import Final

from sealwire.proxy.server.connections.pipe import Pipe
from sealwire.proxy.server.connections.places import ClientStage
from sealwire.proxy.server.connections.recorder import LineRecorder, Unrecorded, host_of
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.connections.sessions import SessionCore
from sealwire.proxy.server.observability.logs import Field, note
from sealwire.proxy.session.effects import UNANSWERED, Close, CloseReason, Done
from sealwire.proxy.session.login.handshake import UnknownMember

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
        CloseReason.SERVER_PROTOCOL,
        CloseReason.KEYS_UNAVAILABLE,
        CloseReason.TOPOLOGY,
    }
)

_HINTS: Final = {
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


class State(Enum):
    """Where a connection is on its way."""

    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class Lifetime(ABC):
    """The two transports of a connection and the session between them, from the first to the last."""

    def __init__(self, services: Services, route: Route, transport: asyncio.Transport) -> None:
        services.numbered += 1
        # First what every message needs, so that it lies together.
        self.state = State.OPEN
        self._awaits_keys = self._is_connecting = False
        self._session: SessionCore | None = None
        self.client = Pipe(transport)
        self.server: Pipe | None = None
        self._counts = services.metrics.core
        self._services = services
        self.number = services.numbered
        self._ending_since_s = 0.0
        """When it began to close, or a peer's end began to wait for what came before it."""
        self._recorder = LineRecorder(services, transport, self.number)
        self._route = route
        self.host = host_of(transport.get_extra_info("peername"))
        self._connecting: asyncio.Task[None] | None = None

    @property
    def route(self) -> Route:
        """Where the client goes."""
        return self._route

    @property
    def is_busy(self) -> bool:
        """Whether a command awaits its reply."""
        return self._session is not None and not self._session.idle

    @property
    def standing(self) -> ClientStage:
        """How far the client has got."""
        if self.state in (State.CLOSING, State.CLOSED):
            return ClientStage.ENDING
        if self._session is None or self._session.is_silent:
            return ClientStage.SILENT
        return ClientStage.ANONYMOUS if self._session.is_anonymous else ClientStage.KNOWN

    def abort(self) -> None:
        """Cut both connections at once, without a flush."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSING
        if self._connecting is not None:
            self._connecting.cancel()
        self.client.abort()
        if self.server is not None:
            self.server.abort()
        self._forget_if_over()

    def _close(self, close: Close) -> None:
        """Flush both connections and close them."""
        if self.state is not State.OPEN:
            return
        self.state = State.CLOSING
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
        if over and self.state is not State.CLOSED:
            self.state = State.CLOSED
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
