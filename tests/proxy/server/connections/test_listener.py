"""Accepting: clients that come while a listener closes, and a process without a descriptor left."""

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
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.upstream import Upstream
from tests.proxy.server.connections.hand_moved import Keys, Scripted, make_services, turns
from tests.proxy.server.harness import LOOPBACK, until

pytestmark = pytest.mark.integration


@asynccontextmanager
async def listener_of(listening: socket.socket) -> AsyncIterator[tuple[Listener, Services]]:
    """A listener that accepts until the end; then nobody may be left whom it let in."""
    services = make_services(Keys(), Metrics())
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
    """In whichever turn of the loop that is."""
    made = set[int]()
    for count in range(12):
        listening = socket.create_server((LOOPBACK, 0))
        async with listener_of(listening) as (listener, services):
            with socket.create_connection(listening.getsockname()):
                await turns(count)
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
                await turns()
                assert services.numbered == let_in
    assert [record.message for record in caplog.records] == ["cannot accept"]
