"""Bytes, ends of stream, back-pressure, keys and bugs on real sockets, with a session that only echoes."""

import socket
import threading
from collections.abc import Callable

import pytest

from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.keyring import Keyring
from sealwire.proxy.server.config import Limits
from sealwire.proxy.server.connection import State
from sealwire.proxy.server.key_feed import Freshness
from sealwire.proxy.server.logs import LogFormat, SafeFormatter
from sealwire.proxy.server.side import WRITE_HIGH_BYTES, Hold
from sealwire.proxy.session.effects import (
    Close,
    CloseReason,
    Count,
    Counter,
    Effect,
    LongToClient,
    NeedKeys,
    ToClient,
    ToServer,
)
from tests.proxy.server.fake_session import FakeSessions
from tests.proxy.server.harness import (
    LOOPBACK,
    client_of,
    fake_server,
    hang_up,
    make_config,
    make_loaded,
    only_connection,
    run,
    running,
    soon,
    until,
)

pytestmark = pytest.mark.integration

MEGABYTE = 1 << 20
# Above what the kernel keeps for two loopback sockets (some 10 MB), so that a full pipe reaches the proxy.
FLOOD_BYTES = 48 * MEGABYTE
# One read of uvloop may pass the high-water mark; TLS adds its own buffer.
HELD_BYTES = WRITE_HIGH_BYTES + MEGABYTE


def test_bytes_go_both_ways() -> None:
    async def scenario() -> None:
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), FakeSessions()) as proxy,
            client_of(proxy) as (reader, writer),
        ):
            writer.write(b"question")
            server_reader, server_writer = await server.accepted()
            assert await soon(server_reader.readexactly(8)) == b"question"
            server_writer.write(b"answer")
            assert await soon(reader.readexactly(6)) == b"answer"

    run(scenario())


def test_bytes_sent_before_the_server_connection_stands_arrive_in_order() -> None:
    async def scenario() -> None:
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), FakeSessions()) as proxy,
            client_of(proxy) as (_, writer),
        ):
            message = bytes(range(256)) * 8192
            writer.write(message)
            server_reader, _ = await server.accepted()
            assert await soon(server_reader.readexactly(len(message))) == message

    run(scenario())


def test_each_client_gets_a_server_connection_of_its_own() -> None:
    async def scenario() -> None:
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), FakeSessions()) as proxy,
            client_of(proxy) as (first, _),
            client_of(proxy) as (second, _),
        ):
            for _ in range(2):
                _, server_writer = await server.accepted()
                server_writer.write(b"x")
            assert await soon(first.readexactly(1)) == b"x"
            assert await soon(second.readexactly(1)) == b"x"
            assert proxy.metrics.value("sealwire_client_connections") == 2

    run(scenario())


def test_the_server_connection_is_closed_when_the_client_goes() -> None:
    async def scenario() -> None:
        sessions = FakeSessions()
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), sessions) as proxy,
            client_of(proxy) as (_, writer),
        ):
            server_reader, _ = await server.accepted()
            writer.close()
            assert await soon(server_reader.read()) == b""
            await until(lambda: not proxy.services.live)
            assert sessions.made[0].calls.count("client_eof") == 1
            assert proxy.metrics.value("sealwire_client_connections") == 0

    run(scenario())


def test_a_client_that_is_reset_is_forgotten() -> None:
    async def scenario() -> None:
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), FakeSessions()) as proxy,
        ):
            raw = socket.create_connection(proxy.addresses[0])
            server_reader, _ = await server.accepted()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            raw.close()
            assert await soon(server_reader.read()) == b""
            await until(lambda: not proxy.services.live)

    run(scenario())


def test_the_client_is_closed_when_the_server_goes_in_mid_message_and_the_proxy_lives_on() -> None:
    async def scenario() -> None:
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), FakeSessions()) as proxy,
        ):
            async with client_of(proxy) as (reader, _):
                _, server_writer = await server.accepted()
                server_writer.write(b"half a mess")
                assert await soon(reader.readexactly(11)) == b"half a mess"
                await hang_up(server_writer)
                assert await soon(reader.read()) == b""
            async with client_of(proxy) as (reader, _):
                _, server_writer = await server.accepted()
                server_writer.write(b"again")
                assert await soon(reader.readexactly(5)) == b"again"
            assert proxy.metrics.value("sealwire_bugs_total") == 0

    run(scenario())


def test_a_client_is_closed_when_the_server_cannot_be_reached() -> None:
    async def scenario() -> None:
        with socket.create_server((LOOPBACK, 0)) as free:
            port = free.getsockname()[1]
        async with running(make_loaded(make_config(port)), FakeSessions()) as proxy:
            async with client_of(proxy) as (reader, _):
                assert await soon(reader.read()) == b""
            reason = {"reason": "upstream-refused"}
            assert proxy.metrics.value("sealwire_upstream_connect_failures_total", **reason) == 1
            await until(lambda: not proxy.services.live)

    run(scenario())


def test_a_client_that_does_not_read_stops_the_reading_of_both_sides() -> None:
    async def scenario() -> None:
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), FakeSessions()) as proxy,
            client_of(proxy) as (reader, _),
        ):
            _, server_writer = await server.accepted()
            server_writer.write(bytes(FLOOD_BYTES))
            connection = only_connection(proxy)
            await until(lambda: connection.server is not None and bool(connection.server.held))
            assert connection.server is not None
            assert not connection.server.transport.is_reading()
            assert not connection.client.transport.is_reading()
            assert connection.client.transport.get_write_buffer_size() <= HELD_BYTES
            assert len(await soon(reader.readexactly(FLOOD_BYTES))) == FLOOD_BYTES
            await until(lambda: connection.client.held is Hold.NONE)
            assert connection.server.transport.is_reading()
            assert proxy.metrics.value("sealwire_read_pauses_total", side="client") >= 1

    run(scenario())


def test_a_server_that_does_not_read_stops_the_client_but_can_still_send() -> None:
    async def scenario() -> None:
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), FakeSessions()) as proxy,
            client_of(proxy) as (reader, writer),
        ):
            server_reader, server_writer = await server.accepted()
            writer.write(bytes(FLOOD_BYTES))
            connection = only_connection(proxy)
            await until(lambda: Hold.SERVER_FULL in connection.client.held)
            assert not connection.client.transport.is_reading()
            assert connection.server is not None
            assert connection.server.transport.is_reading()
            assert connection.server.transport.get_write_buffer_size() <= HELD_BYTES
            server_writer.write(b"stop")
            assert await soon(reader.readexactly(4)) == b"stop"
            assert len(await soon(server_reader.readexactly(FLOOD_BYTES))) == FLOOD_BYTES
            await until(lambda: connection.client.held is Hold.NONE)

    run(scenario())


@pytest.mark.parametrize("flood", [ToClient, lambda data: LongToClient([data, b"."])])
def test_replies_of_the_proxy_itself_do_not_pile_up_for_a_client_that_does_not_read(
    flood: Callable[[bytes], Effect],
) -> None:
    async def scenario() -> None:
        sessions = FakeSessions({b"?": lambda: [flood(bytes(FLOOD_BYTES))]})
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), sessions) as proxy,
            client_of(proxy) as (_, writer),
        ):
            await server.accepted()
            connection = only_connection(proxy)
            writer.write(b"?")
            await until(lambda: Hold.CLIENT_FULL in connection.client.held)
            writer.write(b"?")
            assert not connection.client.transport.is_reading()
            assert sessions.made[0].calls.count("client_data") == 1

    run(scenario())


def need_keys() -> list[Effect]:
    return [NeedKeys(((7, 1),))]


def test_both_sides_wait_while_keys_are_loaded_and_what_arrived_then_comes_after() -> None:
    async def scenario() -> None:
        may_load = threading.Event()
        fresh = Keyring([])

        def load() -> Keyring:
            if not may_load.wait(10):
                raise TimeoutError
            return fresh

        sessions = FakeSessions({b"k": need_keys})
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port), load), sessions) as proxy,
            client_of(proxy) as (reader, writer),
        ):
            server_reader, server_writer = await server.accepted()
            connection = only_connection(proxy)
            writer.write(b"k")
            await until(lambda: Hold.KEYS in connection.client.held)
            assert connection.server is not None
            assert not connection.client.transport.is_reading()
            assert not connection.server.transport.is_reading()
            writer.write(b"later")
            server_writer.write(b"+reply")
            may_load.set()
            assert await soon(reader.readexactly(10)) == b"keys+reply"
            assert await soon(server_reader.readexactly(5)) == b"later"
            assert sessions.made[0].answers == [fresh]
            assert sessions.made[0].keyrings == [fresh]
            assert proxy.services.keys.keyring is fresh

    run(scenario())


def test_the_session_is_told_when_keys_cannot_be_loaded() -> None:
    async def scenario() -> None:
        def load() -> Keyring:
            raise DamagedFile(KeysReason.TAMPERED, "keyring.json was altered")

        sessions = FakeSessions({b"k": need_keys})
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port), load), sessions) as proxy,
            client_of(proxy) as (reader, writer),
        ):
            await server.accepted()
            writer.write(b"k")
            assert await soon(reader.readexactly(7)) == b"no keys"
            assert proxy.services.keys.freshness is Freshness.STALE
            assert proxy.metrics.value("sealwire_key_reloads_total", outcome="failed") == 1
            assert proxy.metrics.value("sealwire_bugs_total") == 0

    run(scenario())


def test_a_client_that_goes_while_keys_are_loaded_gets_no_answer() -> None:
    async def scenario() -> None:
        may_load = threading.Event()

        def load() -> Keyring:
            may_load.wait(10)
            return Keyring([])

        sessions = FakeSessions({b"k": need_keys})
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port), load), sessions) as proxy,
            client_of(proxy) as (_, writer),
        ):
            await server.accepted()
            writer.write(b"k")
            connection = only_connection(proxy)
            await until(lambda: Hold.KEYS in connection.client.held)
            connection.abort()
            await until(lambda: not proxy.services.live)
            may_load.set()
            await until(lambda: proxy.metrics.value("sealwire_key_reloads_total", outcome="loaded") == 1)
            assert "keys_ready" not in sessions.made[0].calls

    run(scenario())


def bug() -> list[Effect]:
    raise KeyError("9434765919")


def test_an_exception_from_the_core_cuts_that_connection_only_and_shows_no_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        sessions = FakeSessions({b"!": bug})
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), sessions) as proxy,
            client_of(proxy) as (other_reader, _),
        ):
            _, other_server = await server.accepted()
            async with client_of(proxy) as (reader, writer):
                server_reader, _ = await server.accepted()
                writer.write(b"!")
                assert await soon(reader.read()) == b""
                assert await soon(server_reader.read()) == b""
            assert proxy.metrics.value("sealwire_bugs_total") == 1
            other_server.write(b"alive")
            assert await soon(other_reader.readexactly(5)) == b"alive"

    run(scenario())
    (record,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    line = SafeFormatter(LogFormat.TEXT).format(record)
    assert "KeyError" in line
    assert "9434765919" not in line


def test_a_close_flushes_what_was_written_before() -> None:
    async def scenario() -> None:
        size = 4 * MEGABYTE
        effects: list[Effect] = [ToServer(b"bye"), ToClient(bytes(size)), Close(CloseReason.CLIENT_PROTOCOL)]
        sessions = FakeSessions({b"!": lambda: effects})
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), sessions) as proxy,
            client_of(proxy) as (reader, writer),
        ):
            server_reader, _ = await server.accepted()
            writer.write(b"!")
            assert len(await soon(reader.read(-1))) == size
            assert await soon(server_reader.read()) == b"bye"
            reason = {"reason": "client-protocol"}
            assert proxy.metrics.value("sealwire_connections_closed_total", **reason) == 1

    run(scenario())


def test_a_peer_that_never_reads_is_cut_when_it_has_lingered_too_long() -> None:
    async def scenario() -> None:
        effects: list[Effect] = [ToClient(bytes(FLOOD_BYTES)), Close(CloseReason.CLIENT_PROTOCOL)]
        sessions = FakeSessions({b"!": lambda: effects})
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), sessions) as proxy,
            client_of(proxy) as (_, writer),
        ):
            await server.accepted()
            connection = only_connection(proxy)
            writer.write(b"!")
            await until(lambda: connection.state is State.CLOSING)
            now = proxy.services.clock()
            connection.tick(now)
            assert connection in proxy.services.live
            connection.tick(now + 3600)
            await until(lambda: connection.state is State.CLOSED)

    run(scenario())


def test_counts_reach_the_metrics() -> None:
    async def scenario() -> None:
        effects: list[Effect] = [
            Count(Counter.COMMANDS, label="find"),
            Count(Counter.VALUES_ENCRYPTED, 3),
            ToClient(b"."),
        ]
        sessions = FakeSessions({b"!": lambda: effects})
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), sessions) as proxy,
            client_of(proxy) as (reader, writer),
        ):
            await server.accepted()
            writer.write(b"!")
            await soon(reader.readexactly(1))
            assert proxy.metrics.value("sealwire_commands_total", command="find") == 1
            assert proxy.metrics.value("sealwire_values_encrypted_total") == 3

    run(scenario())


def test_sessions_hear_the_clock() -> None:
    async def scenario() -> None:
        sessions = FakeSessions()
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port)), sessions) as proxy,
            client_of(proxy),
        ):
            await server.accepted()
            await until(lambda: bool(sessions.made) and "tick" in sessions.made[0].calls)
            assert proxy.health.alive

    run(scenario())


def test_a_client_above_the_limit_is_turned_away() -> None:
    async def scenario() -> None:
        limits = Limits(connections=1, drain_s=5)
        async with (
            fake_server() as server,
            running(make_loaded(make_config(server.port, limits=limits)), FakeSessions()) as proxy,
            client_of(proxy),
        ):
            await server.accepted()
            async with client_of(proxy) as (reader, _):
                assert await soon(reader.read()) == b""
            assert proxy.metrics.value("sealwire_connections_rejected_total", reason="limit") == 1
            assert server.connections == 1

    run(scenario())


def test_a_client_that_goes_before_the_server_answers_is_forgotten() -> None:
    async def scenario() -> None:
        # A listening socket nobody accepts from: connections stand, TLS never does.
        with socket.create_server((LOOPBACK, 0)) as silent:
            config = make_config(silent.getsockname()[1])
            async with running(make_loaded(config), FakeSessions()) as proxy:
                async with client_of(proxy):
                    await until(lambda: len(proxy.services.live) == 1)
                await until(lambda: not proxy.services.live)

    run(scenario())
