"""A server that goes, and one that is back: before a client tries, in the log, the figures and /readyz."""

import json

import pytest

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.observability.logs import LogFormat, SafeFormatter
from sealwire.proxy.server.observability.reach import ServerReach
from sealwire.proxy.server.upstream import Upstream, UpstreamWay, UpstreamWays
from sealwire.proxy.server.workers import pulse
from sealwire.proxy.server.workers.pulse import ServerWatch
from sealwire.testbed.child import free_port
from tests.proxy.server.harness import (
    LOOPBACK,
    UNAUTHORIZED,
    FakeSessions,
    between,
    client_of,
    hello_server,
    make_config,
    make_loaded,
    reached,
    running,
    soon,
    until,
)
from tests.proxy.server.workers.test_app import ask

pytestmark = pytest.mark.integration

HELLO = {"ok": 1.0, "isWritablePrimary": True}


async def test_a_client_that_cannot_be_served_shows_that_the_server_is_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    async with running(make_loaded(make_config(port)), FakeSessions()) as proxy:
        async with client_of(proxy) as (reader, writer):
            peer = "{}:{}".format(*writer.get_extra_info("sockname"))
            writer.write(b"hello")
            assert await soon(reader.read()) == b""
        await until(lambda: bool(proxy.health.down))
        assert proxy._admin is not None
        status, body = await ask(proxy._admin.address, "/readyz")
        said = json.loads(body)
        upstream = f"{LOOPBACK}:{port}"
        assert (status, said["upstream"], said["upstreams_down"]) == (503, "down", [upstream])
        assert proxy.metrics.value("sealwire_upstream_up", upstream=upstream) == 0
    lines = [json.loads(SafeFormatter(LogFormat.JSON).format(record)) for record in caplog.records]
    (gone,) = [line for line in lines if line["event"] == "server is down"]
    assert (gone["upstream"], gone["reason"]) == (upstream, "upstream-refused")
    (cut,) = [line for line in lines if line["event"] == "server connection failed"]
    assert cut["client"] == peer


async def test_a_server_that_answers_again_is_known_to_be_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LOOK_S", 0.0)
    async with (
        hello_server(HELLO, other=UNAUTHORIZED) as port,
        running(make_loaded(make_config(port)), FakeSessions()) as proxy,
    ):
        (server,) = proxy.metrics.reach.servers
        server.missed("upstream-refused", "server: connection refused", "")
        await until(lambda: server.is_up)
        assert server.returns == 1
        await until(lambda: not proxy.health.down)


async def test_a_server_whose_connections_end_is_looked_at() -> None:
    async with between() as (server, proxy), client_of(proxy) as client:
        reader, _ = client
        _, server_writer = await reached(server, client)
        await until(lambda: proxy.metrics.reach.servers[0].opened == 1)
        server_writer.transport.abort()
        assert await soon(reader.read()) == b""
        await until(lambda: server.connections == 2)


async def test_a_server_that_accepts_and_answers_nothing_is_down_however_many_clients_it_accepts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that is frozen: the kernel goes on accepting for it."""
    monkeypatch.setattr(pulse, "LOOK_S", 0.0)
    monkeypatch.setattr(pulse, "TICK_S", 0.01)
    sessions, limits = FakeSessions(), Limits(connect_s=0.4, handshake_s=5.0)
    async with between(sessions, limits=limits) as (_, proxy), client_of(proxy) as (_, writer):
        (reach,) = proxy.metrics.reach.servers
        writer.write(b"x")
        await until(lambda: reach.opened == 1)
        assert reach.is_up
        sessions.made[0].oldest_awaited = 7
        await until(lambda: not reach.is_up)
        for count in (2, 3):
            async with client_of(proxy) as (_, another):
                another.write(b"x")
                await until(lambda: reach.opened == count)  # noqa: B023 - called at once
                assert not reach.is_up
        await until(lambda: proxy.health.down != ())
        assert (reach.opened, reach.returns) == (3, 0)
    events = [record.getMessage() for record in caplog.records]
    assert (events.count("server is down"), events.count("server is back")) == (1, 0)


async def test_a_server_that_works_on_something_long_is_asked_and_stays_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulse, "LOOK_S", 0.0)
    monkeypatch.setattr(pulse, "TICK_S", 0.01)
    sessions, limits = FakeSessions(), Limits(connect_s=0.5, handshake_s=5.0)
    async with (
        hello_server(HELLO, other=UNAUTHORIZED) as port,
        running(make_loaded(make_config(port, limits=limits)), sessions) as proxy,
        client_of(proxy) as (_, writer),
    ):
        (reach,) = proxy.metrics.reach.servers
        writer.write(b"x")
        await until(lambda: reach.opened == 1)
        sessions.made[0].oldest_awaited = 7
        await until(lambda: reach.is_doubted)
        await until(lambda: not reach.is_doubted)
        assert (reach.is_up, reach.returns) == (True, 0)


async def test_servers_that_have_gone_are_forgotten() -> None:
    address = Address(LOOPBACK, free_port())
    watch, limits = ServerWatch(lambda: 0.0), Limits(connect_s=1.0)
    down = ServerReach(str(address))
    down.doubt()
    watch.use([(Upstream(address, UpstreamWays(limits, UpstreamWay(None))), down)])
    watch.tick(limits)
    assert list(watch._last) == [str(address)]
    await until(lambda: not watch._looking)
    watch.use([])
    assert watch._last == {}
