"""Back-pressure on real sockets: who does not read stops who sends, and memory stays bounded."""

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.settings import Limits, ListenTls, TlsMode
from sealwire.proxy.server.connections.carrying import CarryState
from sealwire.proxy.server.health import Freshness, ProxyPhase
from sealwire.proxy.server.observability.audit import LogAudit
from sealwire.proxy.server.transports import WRITE_HIGH_BYTES, HoldReason
from sealwire.proxy.server.workers.app import Proxy
from sealwire.proxy.session.effects import Close, CloseReason, Effect, GoOn, LongToClient, NeedKeys, ToClient
from sealwire.testbed.certificates import create_authority
from tests.proxy.server.harness import (
    FakeSessions,
    between,
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

MEGABYTE = 1 << 20


# Above what the kernel keeps for two loopback sockets (some 10 MB), so that a full pipe reaches the proxy.
FLOOD_BYTES = 48 * MEGABYTE


# One read of uvloop may pass the high-water mark; TLS adds its own buffer.
HELD_BYTES = WRITE_HIGH_BYTES + MEGABYTE


async def test_a_client_that_does_not_read_stops_the_reading_of_both_sides() -> None:
    async with between() as (server, proxy), client_of(proxy) as client:
        reader, _ = client
        _, server_writer = await reached(server, client)
        server_writer.write(bytes(FLOOD_BYTES))
        connection = only_connection(proxy)
        await until(lambda: connection.server is not None and bool(connection.server.held))
        assert connection.server is not None
        assert not connection.server.transport.is_reading()
        assert not connection.client.transport.is_reading()
        assert connection.client.transport.get_write_buffer_size() <= HELD_BYTES
        assert len(await soon(reader.readexactly(FLOOD_BYTES))) == FLOOD_BYTES
        await until(lambda: connection.client.held is HoldReason.NONE)
        assert connection.server.transport.is_reading()
        assert proxy.metrics.value("sealwire_read_pauses_total", side="client") >= 1


async def test_a_server_that_does_not_read_stops_the_client_but_can_still_send() -> None:
    async with between() as (server, proxy), client_of(proxy) as (reader, writer):
        server_reader, server_writer = await reached(server, (reader, writer))
        writer.write(bytes(FLOOD_BYTES))
        connection = only_connection(proxy)
        await until(lambda: HoldReason.SERVER_FULL in connection.client.held)
        assert not connection.client.transport.is_reading()
        assert connection.server is not None
        assert connection.server.transport.is_reading()
        assert connection.server.transport.get_write_buffer_size() <= HELD_BYTES
        server_writer.write(b"stop")
        assert await soon(reader.readexactly(4)) == b"stop"
        assert len(await soon(server_reader.readexactly(FLOOD_BYTES))) == FLOOD_BYTES
        await until(lambda: connection.client.held is HoldReason.NONE)


@pytest.mark.parametrize("flood", [ToClient, lambda data: LongToClient([data, b"."])])
async def test_replies_of_the_proxy_itself_do_not_pile_up_for_a_client_that_does_not_read(
    flood: Callable[[bytes], Effect],
) -> None:
    sessions = FakeSessions({b"?": lambda: [flood(bytes(FLOOD_BYTES))]})
    async with between(sessions) as (_, proxy), client_of(proxy) as (_, writer):
        connection = only_connection(proxy)
        writer.write(b"?")
        await until(lambda: HoldReason.CLIENT_FULL in connection.client.held)
        writer.write(b"?")
        assert not connection.client.transport.is_reading()
        assert sessions.made[0].calls.count("client_data") == 1


async def test_a_peer_that_never_reads_is_cut_when_it_has_lingered_too_long() -> None:
    effects: list[Effect] = [ToClient(bytes(FLOOD_BYTES)), Close(CloseReason.CLIENT_PROTOCOL)]
    sessions = FakeSessions({b"!": lambda: effects})
    async with between(sessions) as (_, proxy), client_of(proxy) as (_, writer):
        connection = only_connection(proxy)
        writer.write(b"!")
        await until(lambda: connection.state is CarryState.CLOSING)
        now = proxy.services.clock()
        connection.tick(now)
        assert connection in proxy.services.live
        connection.tick(now + 3600)
        await until(lambda: connection.state is CarryState.CLOSED)


class PressedAudit(LogAudit):  # type: ignore[misc]  # it is final for the product
    """Wants nobody to be read."""

    is_pressed = True


async def test_a_stream_waits_for_room_in_the_audit_and_a_single_reply_does_not() -> None:
    sessions = FakeSessions()
    async with between(sessions) as (server, proxy), client_of(proxy) as client:
        reader, _ = client
        _, server_writer = await reached(server, client)
        connection = only_connection(proxy)
        await until(lambda: connection.state is CarryState.OPEN)
        pressed = PressedAudit()
        proxy.services.audit = pressed
        server_writer.write(b"a reply that was asked for")
        assert await soon(reader.readexactly(26)) == b"a reply that was asked for"
        sessions.made[0].is_streaming = True
        server_writer.write(b"more")
        assert connection.server is not None
        held = connection.server
        await until(lambda: held.held is HoldReason.AUDIT)
        assert held.stash == [b"more"]
        connection.audit_has_room()
        assert (held.stash, held.held) == ([b"more"], HoldReason.AUDIT)
        server_writer.write(bytes(FLOOD_BYTES))
        pressed.is_pressed = False
        connection.audit_has_room()
        assert held.held is HoldReason.NONE
        assert (await soon(reader.readexactly(4 + FLOOD_BYTES)))[:4] == b"more"


async def test_what_was_put_off_goes_on_while_somebody_reads() -> None:
    steps = [b"%d" % number for number in range(5)]

    def go_on() -> list[Effect]:
        step = ToClient(steps.pop(0))
        return [step, GoOn(True)] if steps else [step]

    sessions = FakeSessions({b"begin": lambda: [GoOn(True)], b"go on": go_on})
    async with between(sessions) as (_, proxy), client_of(proxy) as (reader, writer):
        connection = only_connection(proxy)
        await until(lambda: connection.state is CarryState.OPEN)
        connection.client.full = True
        writer.write(b"begin")
        await until(lambda: connection.client.held is HoldReason.BEHIND)
        assert not connection.client.transport.is_reading()
        assert not any(call.startswith("go_on") for call in sessions.made[0].calls)
        connection.client_writable()
        assert await soon(reader.readexactly(5)) == b"01234"
        await until(lambda: connection.client.held is HoldReason.NONE)
        assert connection.client.transport.is_reading()
        assert sessions.made[0].calls.count("go_on True") == 5


# ----------------------------------------------------------------------------------------------------
# The end of a proxy: who is waited for, and for how long.


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
            assert proxy.health.phase is ProxyPhase.DRAINING
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


# ----------------------------------------------------------------------------------------------------
# A session that needs keys: both sides wait, on real sockets, until they are there or cannot be had.


def need_keys() -> list[Effect]:
    return [NeedKeys(((7, 1),))]


async def test_both_sides_wait_while_keys_are_loaded_and_what_arrived_then_comes_after() -> None:
    may_load = threading.Event()
    fresh = Keyring([])

    def load() -> Keyring:
        if not may_load.wait(10):
            raise TimeoutError
        return fresh

    sessions = FakeSessions({b"k": need_keys})
    async with between(sessions, load=load) as (server, proxy), client_of(proxy) as (reader, writer):
        server_reader, server_writer = await reached(server, (reader, writer))
        connection = only_connection(proxy)
        writer.write(b"k")
        await until(lambda: HoldReason.KEYS in connection.client.held)
        assert connection.server is not None
        assert not connection.client.transport.is_reading()
        assert not connection.server.transport.is_reading()
        writer.write(b"later")
        server_writer.write(b"+reply")
        may_load.set()
        assert await soon(reader.readexactly(10)) == b"keys+reply"
        assert await soon(server_reader.readexactly(5)) == b"later"
        assert sessions.made[0].answers == [fresh]
        assert proxy.services.keys.keyring is fresh


async def test_the_session_is_told_when_keys_cannot_be_loaded() -> None:
    def load() -> Keyring:
        raise DamagedFile(KeysReason.TAMPERED, "keyring.json was altered")

    sessions = FakeSessions({b"k": need_keys})
    async with between(sessions, load=load) as (_, proxy), client_of(proxy) as (reader, writer):
        writer.write(b"k")
        assert await soon(reader.readexactly(7)) == b"no keys"
        assert proxy.services.keys.freshness is Freshness.STALE
        assert proxy.metrics.value("sealwire_key_reloads_total", outcome="failed") == 1
        assert proxy.metrics.value("sealwire_bugs_total") == 0


async def test_a_client_that_goes_while_keys_are_loaded_gets_no_answer() -> None:
    may_load = threading.Event()

    def load() -> Keyring:
        may_load.wait(10)
        return Keyring([])

    sessions = FakeSessions({b"k": need_keys})
    async with between(sessions, load=load) as (_, proxy), client_of(proxy) as (_, writer):
        writer.write(b"k")
        connection = only_connection(proxy)
        await until(lambda: HoldReason.KEYS in connection.client.held)
        connection.abort()
        await until(lambda: not proxy.services.live)
        may_load.set()
        await until(lambda: proxy.metrics.value("sealwire_key_reloads_total", outcome="loaded") == 1)
        assert "keys_loaded" not in sessions.made[0].calls
