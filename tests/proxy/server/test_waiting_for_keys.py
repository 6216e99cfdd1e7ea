"""A session that needs keys: both sides wait, on real sockets, until they are there or cannot be had."""

import threading

import pytest

from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.connections.pipe import Hold
from sealwire.proxy.server.key_feed import Freshness
from sealwire.proxy.session.effects import (
    Effect,
    NeedKeys,
)
from tests.proxy.server.fake_session import FakeSessions
from tests.proxy.server.harness import (
    client_of,
    fake_server,
    make_config,
    make_loaded,
    only_connection,
    reached,
    running,
    soon,
    until,
)

pytestmark = pytest.mark.integration


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
    async with (
        fake_server() as server,
        running(make_loaded(make_config(server.port), load), sessions) as proxy,
        client_of(proxy) as (reader, writer),
    ):
        server_reader, server_writer = await reached(server, (reader, writer))
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
        assert proxy.services.keys.keyring is fresh


async def test_the_session_is_told_when_keys_cannot_be_loaded() -> None:
    def load() -> Keyring:
        raise DamagedFile(KeysReason.TAMPERED, "keyring.json was altered")

    sessions = FakeSessions({b"k": need_keys})
    async with (
        fake_server() as server,
        running(make_loaded(make_config(server.port), load), sessions) as proxy,
        client_of(proxy) as (reader, writer),
    ):
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
    async with (
        fake_server() as server,
        running(make_loaded(make_config(server.port), load), sessions) as proxy,
        client_of(proxy) as (_, writer),
    ):
        writer.write(b"k")
        connection = only_connection(proxy)
        await until(lambda: Hold.KEYS in connection.client.held)
        connection.abort()
        await until(lambda: not proxy.services.live)
        may_load.set()
        await until(lambda: proxy.metrics.value("sealwire_key_reloads_total", outcome="loaded") == 1)
        assert "keys_loaded" not in sessions.made[0].calls
