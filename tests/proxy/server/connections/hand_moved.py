"""A connection between two transports that tests move by hand, without a socket."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.connections.connection import Connection
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.connections.sessions import SessionCore
from sealwire.proxy.server.errors import UpstreamUnavailable
from sealwire.proxy.server.observability.audit import LogAudit
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.server.upstream import Upstream, UpstreamWay
from sealwire.proxy.session.effects import Effect, ToClient, ToServer
from sealwire.proxy.session.shared import SessionSettings, Shared
from tests.proxy.server.harness import FakeSession
from tests.proxy.session.world import POLICY


class HandMoved:
    """A transport that keeps what it is given until it is closed."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = self.is_aborted = False
        self.unsent = 0
        self.options: dict[tuple[int, int], int | bytes] = {}
        self.sock: socket.socket | None = None

    def fileno(self) -> int:
        """That of a socket, if a test gives it one."""
        return -1 if self.sock is None else self.sock.fileno()

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_closed

    def set_write_buffer_limits(self, high: int) -> None:
        """Its buffer never fills."""

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str) -> object:
        return self if name == "socket" else None

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """The socket's options mean nothing here."""
        self.options[level, option] = value

    def pause_reading(self) -> None:
        """Nothing reads by itself."""

    def resume_reading(self) -> None:
        """As above."""


class AtOnce(Upstream):
    """A server that is reached at once, or missed; `may_answer` holds that up."""

    def __init__(self, error: UpstreamUnavailable | None) -> None:
        self.transport = HandMoved()
        self.error = error
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def way_for(self, _names: tuple[str, ...], _issuer: str) -> UpstreamWay:
        return UpstreamWay(None)

    async def connect_for(self, events: Any, failed: Any, way: UpstreamWay | None = None) -> None:
        del way
        await self.may_answer.wait()
        if self.error is None:
            events.server_connected(self.transport)
        else:
            failed(self.error)


class Keys:
    """Loads keys when a test says so."""

    def __init__(self) -> None:
        self.done: Callable[[], None] = lambda: None

    async def load_for(self, _keys: object, done: Callable[[], None]) -> None:
        self.done = done


def make_services(keys: Keys, metrics: Metrics) -> Services:
    """What connections use, with none open."""
    return Services(cast(Any, keys), metrics, LogAudit(), Limits())


class Scene:
    """One connection, with a session that tests choose."""

    def __init__(
        self,
        talk: SessionCore,
        error: UpstreamUnavailable | None = None,
        metrics: Metrics | None = None,
        make: Callable[[], SessionCore] | None = None,
    ) -> None:
        self.keys = Keys()
        self.now_s, self.bugs = 100.0, 0
        self.services = make_services(self.keys, metrics or Metrics())
        self.services.clock = lambda: self.now_s
        self.upstream, self.client = AtOnce(error), HandMoved()
        transport = cast(asyncio.Transport, self.client)
        self.reach = ServerReach("a:1")
        route = Route(self.upstream, make or (lambda: talk), self.reach)
        self.connection = Connection(self.services, route, transport)

    async def __aenter__(self) -> "Scene":
        """The server connection stands, as after the client's first message."""
        if not self.client.is_aborted:
            self.connection._connect()
        await turns()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.end_client()
        self.end_server()
        await turns()
        assert not self.services.live
        assert self.services.metrics.value("sealwire_bugs_total") == self.bugs

    @property
    def server(self) -> HandMoved:
        return self.upstream.transport

    def end_client(self) -> None:
        """As TLS does it: the end, and the transport is gone."""
        self.connection.client_eof()
        self.client.is_closed = True
        self.connection.client_lost()

    def end_server(self) -> None:
        self.connection.server_eof()
        self.server.is_closed = True
        self.connection.server_lost()


async def turns(count: int = 40) -> None:
    """Let the loop turn so often."""
    for _ in range(count):
        await asyncio.sleep(0)


class Scripted(FakeSession):
    """Answers bytes of both peers by a script."""

    def __init__(self, **script: list[Effect]) -> None:
        super().__init__(Shared(SessionSettings(POLICY), Keyring([])), {})
        self.replies = script

    def client_data(self, data: bytes) -> list[Effect]:
        return self.replies.get(data.decode(), [ToServer(data)])

    def server_data(self, data: bytes) -> list[Effect]:
        return self.replies.get(data.decode(), [ToClient(data)])

    def go_on(self, *, from_client: bool) -> list[Effect]:
        self.calls.append("go_on")
        return [ToServer(b"late") if from_client else ToClient(b"late")]
