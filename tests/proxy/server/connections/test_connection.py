"""Bytes, ends of stream, limits and bugs on real sockets, with a session that only echoes."""

import asyncio
import gc
import json
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bench.workloads import message
from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.connections import entrances
from sealwire.proxy.server.errors import StartReason, UpstreamUnavailable
from sealwire.proxy.server.frontiers import feed
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.observability.logs import LogFormat, SafeFormatter
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.transports import HoldReason
from sealwire.proxy.session.effects import (
    Begun,
    Close,
    CloseReason,
    CommandRecord,
    Count,
    Counter,
    Effect,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.session import Session
from sealwire.testbed.child import free_port
from tests.proxy.server.connections.hand_moved import HandMoved, Scene, Scripted, turns
from tests.proxy.server.harness import (
    LOOPBACK,
    FakeSessions,
    between,
    client_of,
    exchange,
    fake_server,
    hang_up,
    hello_server,
    make_config,
    make_loaded,
    reached,
    running,
    soon,
    until,
)
from tests.proxy.session.world import command
from tests.support.rows import rows

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("idle", "lines"), [(False, 1), (True, 0)])
async def test_a_server_that_leaves_in_the_middle_of_a_command_is_told_of_with_the_client(
    caplog: pytest.LogCaptureFixture, *, idle: bool, lines: int
) -> None:
    sessions = FakeSessions()
    async with between(sessions) as (server, proxy), client_of(proxy) as (reader, writer):
        await exchange(server, (reader, writer), b"question", b"answer")
        sessions.made[0].idle = idle
        peer = "{}:{}".format(*writer.get_extra_info("sockname"))
        await server.hang_up_all()
        assert await soon(reader.read()) == b""
    closed = [record for record in caplog.records if record.getMessage() == "connection closed"]
    assert len(closed) == lines
    assert all(vars(record)["fields"]["client"] == peer for record in closed)


async def test_who_is_closed_since_a_member_was_added_has_a_line_and_a_hint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As after one rs.add() behind `upstream.address`: no client gets further than its handshake."""
    hello = {"ok": 1.0, "setName": "rs0", "hosts": ["a:27017"], "passives": ["b:27017"], "me": "a:27017"}
    async with (
        hello_server(hello) as port,
        running(make_loaded(make_config(port)), Session) as proxy,
        client_of(proxy) as (reader, writer),
    ):
        peer = "{}:{}".format(*writer.get_extra_info("sockname"))
        writer.write(command({"hello": 1, "$db": "admin"}, 1))
        assert await soon(reader.read()) == b""
        assert proxy.metrics.value("sealwire_connections_closed_total", reason="topology") == 1
    (closed,) = [record for record in caplog.records if record.getMessage() == "connection closed"]
    fields = vars(closed)["fields"]
    assert (closed.levelname, fields["reason"], fields["client"]) == ("WARNING", "topology", peer)
    assert fields["hint"]


@pytest.mark.parametrize(("awaited", "is_doubted"), [(7, True), (None, False)])
async def test_a_client_that_goes_before_its_reply_is_here_is_a_reason_to_look_at_the_server(
    awaited: int | None, *, is_doubted: bool
) -> None:
    """Clients wait less long than the proxy: with each that gives up a frozen server would go unnoticed."""
    session = Scripted()
    async with Scene(session) as scene:
        session.oldest_awaited = awaited
        scene.end_client()
        assert scene.reach.is_doubted is is_doubted


@pytest.mark.parametrize(("waited_s", "is_doubted"), [(0.1, False), (1.5, True)])
async def test_so_is_one_that_goes_while_the_server_has_not_accepted_for_long(
    waited_s: float, *, is_doubted: bool
) -> None:
    scene = Scene(Scripted())
    scene.connection.client_data(b"hello")
    scene.now_s += waited_s
    scene.connection.client_eof()
    assert scene.reach.is_doubted is is_doubted
    scene.connection.client_lost()
    assert not scene.services.live


@rows(
    "fences, idle, unsent, is_aborted",
    (True, False, 7, True),
    (True, False, 0, False),
    (True, True, 7, False),
    (False, False, 7, False),
)
async def test_a_command_that_is_not_sent_yet_goes_with_its_client_where_classes_are_followed(
    *, fences: bool, idle: bool, unsent: int, is_aborted: bool
) -> None:
    """Else a flush may send it when nobody counts it as under way any more."""
    session = Scripted()
    scene = Scene(session)
    scene.services.fences_servers = fences
    async with scene:
        session.idle, scene.server.unsent = idle, unsent
        scene.end_client()
        assert scene.server.is_closed
        assert scene.server.is_aborted is is_aborted
        option = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert (option in scene.server.options, option in scene.client.options) == (fences, False)


@pytest.mark.parametrize("follows", [False, True])
async def test_connections_to_servers_are_fenced_where_the_configuration_follows_classes(
    monkeypatch: pytest.MonkeyPatch, *, follows: bool
) -> None:
    monkeypatch.setattr(feed, "FIRST_READ_S", 0.01)
    async with fake_server() as server:
        uri = f"mongodb://{LOOPBACK}:{free_port()}" if follows else None
        loaded = replace(make_loaded(make_config(server.port)), frontier_uri=uri)
        async with running(loaded, FakeSessions()) as proxy:
            assert proxy.services.fences_servers is follows


class Passing(Scripted):
    """Hands on what comes, whatever it is."""

    def client_data(self, data: bytes) -> list[Effect]:
        return [ToServer(data)]

    def server_data(self, data: bytes) -> list[Effect]:
        return [ToClient(data)]


@pytest.mark.parametrize("is_watching", [False, True])
async def test_one_message_in_eight_is_timed_however_short_connections_are(*, is_watching: bool) -> None:
    metrics = Metrics()
    metrics.core.is_watching = is_watching
    sent = [message({name: 1}) for name in ("hello", "saslStart", "find", "ping", "insert")]
    for _ in range(160):
        async with Scene(Passing(), metrics=metrics) as scene:
            for each in sent:
                scene.connection.client_data(each)
                scene.connection.server_data(b"reply")
    count = metrics.value("sealwire_command_duration_seconds_count")
    assert count is not None
    # of 800 messages, and a turn that meets one that is not timed passes to the next
    assert 80 <= count <= 110
    assert metrics.value("sealwire_command_duration_seconds_bucket", le="+Inf") == count


async def test_bytes_sent_before_the_server_connection_stands_arrive_in_order() -> None:
    async with between() as (server, proxy), client_of(proxy) as (_, writer):
        message = bytes(range(256)) * 8192
        writer.write(message)
        server_reader, _ = await server.accepted()
        assert await soon(server_reader.readexactly(len(message))) == message


async def test_an_open_connection_keeps_no_task_that_opened_it() -> None:
    async with between() as (server, proxy), client_of(proxy) as client:
        await exchange(server, client, b"question", b"answer")
        await turns()
        # by its type: of a weak reference's proxy, `isinstance` asks the object, which may be gone
        tasks = [each for each in gc.get_objects() if issubclass(type(each), asyncio.Task)]
        loop = asyncio.get_running_loop()  # an earlier test may have left garbage of its own
        names = [each.get_name() for each in tasks if each.done() and each.get_loop() is loop]
        assert not [name for name in names if name.startswith(("handshake", "connect "))]


async def test_each_client_gets_a_server_connection_of_its_own() -> None:
    async with between() as (server, proxy), client_of(proxy) as first, client_of(proxy) as second:
        for client in (first, second):
            _, server_writer = await reached(server, client)
            server_writer.write(b"x")
            assert await soon(client[0].readexactly(1)) == b"x"
        assert server.connections == 2
        assert proxy.metrics.value("sealwire_client_connections") == 2


async def test_the_server_connection_is_closed_when_the_client_goes() -> None:
    sessions = FakeSessions()
    async with between(sessions) as (server, proxy), client_of(proxy) as (reader, writer):
        server_reader, _ = await reached(server, (reader, writer))
        writer.close()
        assert await soon(server_reader.read()) == b""
        await until(lambda: not proxy.services.live)
        assert "client_eof" in sessions.made[0].calls
        assert proxy.metrics.value("sealwire_client_connections") == 0


async def test_commands_that_have_no_answer_when_the_connection_ends_are_on_record(tmp_path: Path) -> None:
    record = CommandRecord("clinic.patients", "insert", written={"nhs": 1}, filtered={})
    sessions = FakeSessions({b"!": lambda: [Begun(record), ToServer(b"!")]})
    audit = AuditSettings(LogPlace(tmp_path / "log"), None, LogPace())
    async with (
        fake_server() as server,
        running(make_loaded(replace(make_config(server.port), audit=audit)), sessions) as proxy,
        client_of(proxy) as (_, writer),
    ):
        writer.write(b"!")
        server_reader, _ = await server.accepted()
        assert await soon(server_reader.readexactly(1)) == b"!"
        sessions.made[0].awaiting = [record]
        writer.close()
        await until(lambda: not proxy.services.live)
    lines = [json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    (line,) = [each for each in lines if each["event"] == "command"]
    assert (line["outcome"], line["written"]) == ("unanswered", {"nhs": 1})
    assert line["us"] >= 0


async def test_a_client_that_is_reset_is_forgotten() -> None:
    async with between() as (server, proxy):
        raw = socket.create_connection(proxy.addresses[0])
        raw.sendall(b"x")
        server_reader, _ = await server.accepted()
        assert await soon(server_reader.readexactly(1)) == b"x"
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        raw.close()
        assert await soon(server_reader.read()) == b""
        await until(lambda: not proxy.services.live)


async def test_the_client_is_closed_when_the_server_goes_in_mid_message_and_the_proxy_lives_on() -> None:
    async with between() as (server, proxy):
        async with client_of(proxy) as client:
            reader, _ = client
            _, server_writer = await reached(server, client)
            server_writer.write(b"half a mess")
            assert await soon(reader.readexactly(11)) == b"half a mess"
            await hang_up(server_writer)
            assert await soon(reader.read()) == b""
        async with client_of(proxy) as client:
            reader, _ = client
            _, server_writer = await reached(server, client)
            server_writer.write(b"again")
            assert await soon(reader.readexactly(5)) == b"again"
        assert proxy.metrics.value("sealwire_bugs_total") == 0


async def test_a_client_is_closed_when_the_server_cannot_be_reached() -> None:
    async with running(make_loaded(make_config(free_port())), FakeSessions()) as proxy:
        async with client_of(proxy) as (reader, writer):
            writer.write(b"hello")
            assert await soon(reader.read()) == b""
        reason = {"reason": "upstream-refused"}
        assert proxy.metrics.value("sealwire_upstream_connect_failures_total", **reason) == 1
        await until(lambda: not proxy.services.live)


def bug() -> list[Effect]:
    raise KeyError("9434765919")


async def test_an_exception_from_the_core_cuts_that_connection_only_and_shows_no_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sessions = FakeSessions({b"!": bug})
    async with between(sessions) as (server, proxy), client_of(proxy) as other:
        other_reader, _ = other
        _, other_server = await reached(server, other)
        async with client_of(proxy) as (reader, writer):
            server_reader, _ = await reached(server, (reader, writer))
            writer.write(b"!")
            assert await soon(reader.read()) == b""
            assert await soon(server_reader.read()) == b""
        assert proxy.metrics.value("sealwire_bugs_total") == 1
        other_server.write(b"alive")
        assert await soon(other_reader.readexactly(5)) == b"alive"
    (record,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    line = SafeFormatter(LogFormat.TEXT).format(record)
    assert "KeyError" in line
    assert "9434765919" not in line


async def test_a_close_flushes_what_was_written_before() -> None:
    size = 4 << 20
    effects: list[Effect] = [ToServer(b"bye"), ToClient(bytes(size)), Close(CloseReason.CLIENT_PROTOCOL)]
    sessions = FakeSessions({b"!": lambda: effects})
    async with between(sessions) as (server, proxy), client_of(proxy) as (reader, writer):
        server_reader, _ = await reached(server, (reader, writer))
        writer.write(b"!")
        assert len(await soon(reader.read(-1))) == size
        assert await soon(server_reader.read()) == b"bye"
        reason = {"reason": "client-protocol"}
        assert proxy.metrics.value("sealwire_connections_closed_total", **reason) == 1


async def test_counts_reach_the_metrics() -> None:
    effects: list[Effect] = [
        Count(Counter.COMMANDS, label="find"),
        Count(Counter.VALUES_ENCRYPTED, 3),
        ToClient(b"."),
    ]
    sessions = FakeSessions({b"!": lambda: effects})
    async with between(sessions) as (_, proxy), client_of(proxy) as (reader, writer):
        writer.write(b"!")
        await soon(reader.readexactly(1))
        assert proxy.metrics.value("sealwire_commands_total", command="find", outcome="sent") == 1
        assert proxy.metrics.value("sealwire_values_encrypted_total") == 3


async def test_sessions_hear_the_clock() -> None:
    sessions = FakeSessions()
    async with between(sessions) as (_, proxy), client_of(proxy):
        await until(lambda: bool(sessions.made) and "tick" in sessions.made[0].calls)
        assert proxy.health.alive


async def test_a_client_above_the_limit_is_turned_away() -> None:
    limits = Limits(connections=1, drain_s=5)
    async with between(limits=limits) as (server, proxy), client_of(proxy) as client:
        await reached(server, client)
        async with client_of(proxy) as (reader, _):
            assert await soon(reader.read()) == b""
        assert proxy.metrics.value("sealwire_connections_rejected_total", reason="limit") == 1
        assert server.connections == 1
        # one that came and stays, one that never was: memory is given back after both
        assert proxy.services.changes == 2


async def test_a_client_that_has_said_nothing_makes_room_for_a_newcomer() -> None:
    limits, sessions = Limits(connections=2, drain_s=5), FakeSessions()
    async with between(sessions, limits=limits) as (server, proxy), client_of(proxy) as (first, _):
        await until(lambda: bool(sessions.made))
        sessions.made[0].is_silent = True
        async with client_of(proxy) as second:
            await reached(server, second)
            async with client_of(proxy) as third:
                await reached(server, third)
                assert await soon(first.read()) == b""
            assert not second[0].at_eof()


async def test_clients_that_say_nothing_have_no_connection_to_the_server() -> None:
    sessions = FakeSessions()
    async with between(sessions) as (server, proxy), client_of(proxy), client_of(proxy) as client:
        await until(lambda: len(proxy.services.live) == 2)
        await reached(server, client)
        assert server.connections == 1


async def test_when_one_address_has_all_places_others_still_come(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(connections=10, drain_s=5)
    async with between(limits=limits) as (server, proxy), AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(client_of(proxy))
        await until(lambda: len(proxy.services.live) == 10)
        async with client_of(proxy) as (reader, _):
            assert await soon(reader.read()) == b""
        monkeypatch.setattr(entrances, "host_of", lambda _address: "192.0.2.7")
        async with client_of(proxy) as client:
            await reached(server, client)


async def test_clients_that_come_at_once_have_all_places_up_to_the_limit() -> None:
    count = 40
    async with between(limits=Limits(connections=count)) as (_, proxy), AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(client_of(proxy)) for _ in range(count)))
        await until(lambda: len(proxy.services.live) == count)
        assert proxy.metrics.value("sealwire_connections_rejected_total", reason="limit") == 0


async def test_a_client_that_goes_before_the_server_answers_is_forgotten() -> None:
    # A listening socket nobody accepts from: connections stand, TLS never does.
    with socket.create_server((LOOPBACK, 0)) as silent:
        config = make_config(silent.getsockname()[1])
        async with running(make_loaded(config), FakeSessions()) as proxy:
            async with client_of(proxy) as (_, writer):
                writer.write(b"x")
                await until(lambda: len(proxy.services.live) == 1)
            await until(lambda: not proxy.services.live)


async def test_what_the_proxy_says_reaches_the_session() -> None:
    talk = Scripted()
    async with Scene(talk) as scene:
        connection = scene.connection
        connection.move_began()
        connection.settings_changed()
        connection.frontier_moved()
        connection.audit_has_room()
        assert talk.calls == ["move_began", "settings_changed", "frontier_moved"]
        assert scene.client.written == [b"moved"]
        talk.idle = False
        assert connection.is_busy
        connection.frontier_lost()
        assert not scene.client.is_closed
        talk.uses = True
        connection.frontier_lost()
        assert scene.client.is_aborted
        assert scene.server.is_aborted


async def test_settings_that_a_session_does_not_take_cut_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk = Scripted()
    monkeypatch.setattr(talk, "settings_changed", bug)
    async with Scene(talk) as scene:
        scene.bugs = 1
        scene.connection.settings_changed()
        assert scene.client.is_aborted


async def test_a_server_that_ends_is_looked_at_and_one_whose_client_ends_is_not() -> None:
    async with Scene(Scripted()) as scene:
        scene.end_client()
        scene.end_server()
        assert (scene.reach.opened, scene.reach.is_doubted) == (1, False)
    async with Scene(Scripted()) as scene:
        scene.end_server()
        assert scene.reach.is_doubted


async def test_a_server_that_is_missed_is_down_and_its_client_is_cut() -> None:
    error = UpstreamUnavailable(StartReason.UPSTREAM_REFUSED, "server a:1: connection refused", "start it")
    async with Scene(Scripted(), error) as scene:
        assert scene.client.is_aborted
        assert not scene.reach.is_up
        # nothing is said to a session that does not exist
        scene.connection.settings_changed()
        scene.connection.move_began()
        scene.connection.frontier_lost()
        scene.connection.drain()


async def test_a_client_that_goes_while_its_server_is_being_reached_needs_none() -> None:
    scene = Scene(Scripted())
    scene.connection.client_data(b"hello")
    scene.connection.client_eof()
    assert scene.client.is_aborted
    scene.connection.client_lost()
    await turns()
    assert not scene.services.live
    assert scene.connection.server is None


async def test_a_server_that_is_reached_too_late_is_let_go() -> None:
    scene = Scene(Scripted())
    scene.connection.abort()
    late = HandMoved()
    scene.connection.server_connected(cast(asyncio.Transport, late))
    assert late.is_aborted
    scene.connection.server_lost()
    scene.connection.client_lost()
    assert not scene.services.live


async def test_a_session_that_cannot_be_made_cuts_its_connection() -> None:
    scene = Scene(Scripted(), make=cast(Any, bug))
    scene.bugs = 1
    async with scene:
        assert scene.client.is_aborted
        assert scene.connection.server is None


async def test_a_server_that_does_not_read_holds_its_client_until_it_does() -> None:
    async with Scene(Scripted()) as scene:
        for _ in range(2):
            scene.connection.server_full()
        assert scene.connection.client.held is HoldReason.SERVER_FULL
        assert scene.services.metrics.value("sealwire_read_pauses_total", side="server") == 1
        scene.connection.server_writable()
        assert not scene.connection.client.held
        for _ in range(2):
            scene.connection.client_full()
        assert scene.connection.server is not None
        assert scene.connection.server.held is HoldReason.CLIENT_FULL
        scene.connection.client_writable()
        assert not scene.connection.server.held
