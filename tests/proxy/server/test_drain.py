"""The end of a proxy: who is waited for, and for how long."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sealwire.proxy.server.config.settings import Limits, ListenTls, TlsMode
from sealwire.proxy.server.health import Phase
from sealwire.proxy.server.workers.app import Proxy
from sealwire.testbed.certificates import create_authority
from tests.proxy.server.fake_session import FakeSessions
from tests.proxy.server.harness import (
    client_of,
    fake_server,
    make_config,
    make_loaded,
    only_connection,
    reached,
    soon,
    until,
)
from tests.proxy.server.tls_contexts import client_context

pytestmark = pytest.mark.integration


async def test_a_drain_closes_idle_connections_waits_for_busy_ones_and_takes_no_new_ones() -> None:
    sessions = FakeSessions()
    async with fake_server() as server:
        proxy = Proxy(make_loaded(make_config(server.port)), sessions)
        serving = asyncio.get_running_loop().create_task(proxy.run())
        await soon(proxy.ready.wait())
        async with client_of(proxy) as (idle, _), client_of(proxy) as client:
            busy, _ = client
            await until(lambda: len(sessions.made) == 2)
            _, busy_server = await reached(server, client)
            sessions.made[1].idle = False
            address = proxy.addresses[0]
            proxy.stop()
            assert await soon(idle.read()) == b""
            assert proxy.health.phase is Phase.DRAINING
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            sessions.made[1].idle = True
            busy_server.write(b"last reply")
            assert await soon(busy.read()) == b"last reply"
            await soon(serving)
        assert proxy.metrics.value("sealwire_connections_closed_total", reason="drained") == 2


@pytest.mark.parametrize(("drain_s", "end"), [(0.05, lambda _proxy: None), (3600, Proxy.stop)])
async def test_a_drain_ends_by_its_limit_or_at_once_by_a_second_stop(
    drain_s: float, end: Callable[[Proxy], None]
) -> None:
    sessions = FakeSessions()
    async with fake_server() as server:
        limits = Limits(drain_s=drain_s)
        proxy = Proxy(make_loaded(make_config(server.port, limits=limits)), sessions)
        serving = asyncio.get_running_loop().create_task(proxy.run())
        await soon(proxy.ready.wait())
        async with client_of(proxy) as (reader, _):
            await until(lambda: bool(sessions.made))
            sessions.made[0].idle = False
            proxy.stop()
            await until(lambda: "drain" in sessions.made[0].calls)
            end(proxy)
            assert await soon(reader.read()) == b""
            await soon(serving)


async def test_a_drain_does_not_wait_for_an_idle_tls_client_that_never_reads(tmp_path: Path) -> None:
    authority = create_authority(tmp_path)
    issued = authority.issue("proxy")
    listen_tls = ListenTls(TlsMode.TLS, issued.certificate, issued.key)
    async with fake_server() as server:
        proxy = Proxy(make_loaded(make_config(server.port, listen_tls=listen_tls)), FakeSessions())
        serving = asyncio.get_running_loop().create_task(proxy.run())
        await soon(proxy.ready.wait())
        async with client_of(proxy, client_context(authority)) as (_, writer):
            await until(lambda: bool(proxy.services.live))
            connection = only_connection(proxy)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            proxy.stop()
            await until(lambda: not proxy.services.live)
            assert connection.client.lost
            await soon(serving)
