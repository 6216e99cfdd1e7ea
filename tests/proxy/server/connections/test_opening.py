"""Transports that are dropped while they are opened: whoever was told of one is told of its end.

Whether that happens depends on the turn of the loop, so each is dropped in every turn that there may be.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sealwire.proxy.server.config.settings import Address, Limits
from sealwire.proxy.server.connections import listener as listeners
from sealwire.proxy.server.connections.listener import Listener
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.upstream import Upstream
from tests.proxy.server.connections.hand_moved import Scene, Scripted
from tests.proxy.server.harness import LOOPBACK, until

pytestmark = pytest.mark.integration

TURNS = range(12)


class Told:
    """What a connection would be told of its server; the client may have gone before."""

    def __init__(self, *, gone: bool) -> None:
        self._gone = gone
        self.stood = self.lost = False

    def server_connected(self, transport: asyncio.Transport) -> None:
        self.stood = True
        if self._gone:
            transport.abort()

    def server_lost(self) -> None:
        self.lost = True

    def server_eof(self) -> None:
        raise AssertionError

    def server_data(self, _data: bytes) -> None:
        raise AssertionError

    server_full = server_writable = server_eof


async def turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.mark.parametrize("gone", [False, True])
async def test_a_server_connection_that_is_given_up_is_lost(*, gone: bool) -> None:
    given_up_late = 0
    with socket.create_server((LOOPBACK, 0)) as listening:
        upstream = Upstream(Address(*listening.getsockname()), Limits(), None)
        for turns in TURNS:
            told, failed = Told(gone=gone), list[Exception]()
            opening = asyncio.get_running_loop().create_task(upstream.connect_for(told, failed.append))
            await turn(turns)
            is_dropped = opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            given_up_late += is_dropped and told.stood
            if told.stood and (is_dropped or gone):
                await until(lambda told=told: told.lost)  # type: ignore[misc]
            assert not failed
    assert given_up_late


@asynccontextmanager
async def listener_of(listening: socket.socket) -> AsyncIterator[tuple[Listener, Services]]:
    """A listener that accepts until the end; then nobody may be left whom it let in."""
    services = Scene(Scripted()).services
    services.live.clear()
    services.numbered = 0
    with listening, socket.create_server((LOOPBACK, 0)) as server:
        listening.setblocking(False)
        upstream = Upstream(Address(*server.getsockname()), Limits(), None)
        listener = Listener(services, Route(upstream, Scripted), [listening], None)
        listener.start()
        yield listener, services
        await listener.close()
        for connection in tuple(services.live):
            connection.abort()
        await until(lambda: not services.live)


async def test_a_client_that_arrives_while_its_listener_closes_is_not_kept() -> None:
    made = set[int]()
    for turns in TURNS:
        listening = socket.create_server((LOOPBACK, 0))
        async with listener_of(listening) as (listener, services):
            with socket.create_connection(listening.getsockname()):
                await turn(turns)
                await listener.close()
                made.add(services.numbered)
    assert made == {0, 1}, "closed before a client was let in, and after"


class Exhausted(socket.socket):
    """Has no descriptor left for the first client."""

    failures = 0

    def accept(self) -> tuple[socket.socket, object]:
        if not self.failures:
            self.failures += 1
            raise OSError(errno.EMFILE, "")
        return super().accept()


@pytest.mark.parametrize(("pause_s", "let_in"), [(0.01, 1), (3600.0, 0)])
async def test_a_listener_without_a_descriptor_left_waits_before_it_tries_again(
    pause_s: float, let_in: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "ACCEPT_PAUSE_S", pause_s)
    listening = Exhausted(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind((LOOPBACK, 0))
    listening.listen()
    with caplog.at_level(logging.ERROR, "sealwire.server"):
        async with listener_of(listening) as (_, services):
            with socket.create_connection(listening.getsockname()):
                await until(lambda: (listening.failures, services.numbered) == (1, let_in))
    assert [record.message for record in caplog.records] == ["cannot accept"]
