"""The end of a stream is heard of after all that came before it, with transports that tests move by hand."""

import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest
from bson import Int64

from sealwire.keys.frontier.frontier import BEFORE_ALL, Frontier, Window
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.server.config.settings import TlsMode, UpstreamTls
from sealwire.proxy.server.connections.carrying import (
    CLOSE_LINGER_S,
    DRAIN_LINGER_S,
    CarryState,
    has_lingered,
    say_closed,
)
from sealwire.proxy.server.connections.services import ClientGate
from sealwire.proxy.server.connections.sessions import ClientStage, SessionCore
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.transports import HoldReason
from sealwire.proxy.session.effects import (
    Close,
    CloseReason,
    Effect,
    GoOn,
    NeedKeys,
    PauseClient,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.shared import SessionSettings
from sealwire.testbed.certificates import create_authority
from sealwire.wire.compressors import Zlib
from tests.compressed_messages import ZLIB, packed, unpacked
from tests.proxy.server.connections.hand_moved import Scene, Scripted, turns
from tests.proxy.server.harness import Stream, client_of, fake_server, make_config, make_loaded, running, soon
from tests.proxy.server.tls_contexts import server_context
from tests.proxy.session.world import POLICY_TEXT, class_id_of, command, data_key, reply, session, session_of
from tests.support.rows import rows

MEGABYTE = 1 << 20
MORE_TO_COME = 2
T = TypeVar("T")


def compressing() -> SessionCore:
    """After a handshake with a server that compresses."""
    talk = session(compress_to_clients=(Zlib(),), compress_to_server=(Zlib(),))
    hello = {"hello": 1, "client": {}, "compression": ["zlib"], "$db": "admin"}
    talk.client_data(command(hello, 90))
    talk.server_data(reply({"ok": 1.0, "compression": ["zlib"]}, 90))
    return talk


def long_replies(amount: int) -> list[bytes]:
    """Of a megabyte each, before they are compressed."""
    rows = [{"t": "x" * MEGABYTE}]
    body = {"cursor": {"id": Int64(0), "ns": "other.wards", "firstBatch": rows}, "ok": 1.0}
    return [reply(body, number) for number in range(1, amount + 1)]


async def test_the_last_replies_reach_the_client_before_its_connection_is_closed() -> None:
    async with Scene(compressing()) as scene:
        for number in range(1, 6):
            scene.connection.client_data(command({"find": "wards", "$db": "other"}, number))
        wanted = long_replies(5)
        scene.connection.server_data(b"".join(packed(each, ZLIB) for each in wanted))
        scene.end_server()
        assert not scene.client.is_closed
        assert b"".join(scene.client.written) != b"".join(wanted)
        await turns()
        assert b"".join(scene.client.written) == b"".join(wanted)
        assert scene.client.is_closed
        assert not scene.client.is_aborted
        closed = {"reason": "server-eof"}
        assert scene.services.metrics.value("sealwire_connections_closed_total", **closed) == 1


class LastWords:
    """A server behind TLS whose last bytes and whose end are in one write."""

    def __init__(self, stream: Stream, context: ssl.SSLContext) -> None:
        self._reader, self._writer = stream
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=True)

    async def _whatever(self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._writer.write(self._leaving.read())
                self._arrived.write(await soon(self._reader.read(1 << 16)))

    async def hear(self, size: int) -> None:
        """Read so many bytes, after the handshake."""
        await self._whatever(self._tls.do_handshake)
        self._writer.write(self._leaving.read())
        while size:
            size -= len(await self._whatever(partial(self._tls.read, size)))

    def say(self, data: bytes) -> None:
        self._tls.write(data)
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._writer.write(self._leaving.read())
        self._writer.write_eof()


@pytest.mark.integration
async def test_the_last_replies_of_a_server_behind_tls_reach_the_client(tmp_path: Path) -> None:
    authority = create_authority(tmp_path)
    inner = UpstreamTls(TlsMode.TLS, authority.certificate_file)
    context = server_context(authority.issue("database"))
    async with fake_server() as server:
        loaded = make_loaded(make_config(server.port, upstream_tls=inner))
        async with running(loaded, lambda _shared, _told: compressing()) as proxy, client_of(proxy) as stream:
            reader, writer = stream
            asked = [command({"find": "wards", "$db": "other"}, number) for number in range(1, 6)]
            writer.write(b"".join(asked))
            database = LastWords(await server.accepted(), context)
            await database.hear(sum(map(len, asked)))
            wanted = long_replies(5)
            database.say(b"".join(packed(each, ZLIB) for each in wanted))
            assert await soon(reader.read(-1)) == b"".join(wanted)


async def test_what_a_client_has_written_without_asking_for_an_answer_reaches_the_server() -> None:
    async with Scene(compressing()) as scene:
        body = {"insert": "wards", "documents": [{"t": "x" * MEGABYTE}], "$db": "other"}
        wanted = [command(body, number, flags=MORE_TO_COME) for number in range(1, 6)]
        scene.connection.client_data(b"".join(packed(each, ZLIB) for each in wanted))
        scene.end_client()
        assert not scene.server.is_closed
        await turns()
        assert [unpacked(each) for each in scene.server.written] == wanted
        assert scene.server.is_closed
        assert not scene.server.is_aborted


async def test_a_reply_that_waits_for_a_key_outlives_its_server() -> None:
    async with Scene(Scripted(sealed=[NeedKeys(((1, 1),))])) as scene:
        scene.connection.server_data(b"sealed")
        scene.connection.server_data(b"behind it")
        scene.end_server()
        await turns()
        assert not scene.client.is_closed
        scene.keys.done()
        assert scene.client.written == [b"no keys", b"behind it"]
        assert scene.client.is_closed


async def test_a_command_that_waits_for_an_answer_of_the_server_outlives_its_client() -> None:
    answer: list[Effect] = [PauseClient(False), ToServer(b"ask"), ToClient(b"nobody reads this")]
    async with Scene(Scripted(ask=[PauseClient(True)], told=answer)) as scene:
        scene.connection.client_data(b"ask")
        scene.end_client()
        await turns()
        assert not scene.server.is_closed
        scene.connection.server_data(b"told")
        await turns()
        assert (scene.server.written, scene.client.written) == ([b"ask"], [])
        assert scene.server.is_closed


async def test_an_end_with_nothing_before_it_is_heard_of_at_once() -> None:
    async with Scene(Scripted()) as scene:
        scene.connection.client.hold(HoldReason.SERVER_FULL)
        scene.end_client()
        assert scene.server.is_closed
    async with Scene(Scripted()) as scene:
        assert scene.connection.server is not None
        scene.connection.server.hold(HoldReason.CLIENT_FULL)
        scene.end_server()
        assert scene.client.is_closed


async def test_the_server_s_end_ends_a_client_that_still_waits_for_it() -> None:
    async with Scene(Scripted(ask=[PauseClient(True)])) as scene:
        scene.connection.client_data(b"ask")
        scene.end_server()
        assert scene.client.is_closed


async def test_a_client_that_does_not_read_keeps_the_last_replies_for_a_while_only() -> None:
    async with Scene(Scripted(much=[ToClient(b"first"), GoOn(False)])) as scene:
        scene.connection.server_data(b"much")
        scene.connection.client_full()
        scene.end_server()
        await turns()
        scene.connection.tick(scene.now_s + CLOSE_LINGER_S - 1)
        assert (scene.client.written, scene.client.is_closed) == ([b"first"], False)
        scene.connection.tick(scene.now_s + CLOSE_LINGER_S)
        assert scene.client.is_aborted
        closed = {"reason": "server-eof"}
        assert scene.services.metrics.value("sealwire_connections_closed_total", **closed) == 1


async def test_once_it_reads_again_it_has_them() -> None:
    async with Scene(Scripted(much=[ToClient(b"first"), GoOn(False)])) as scene:
        scene.connection.server_data(b"much")
        scene.connection.client_full()
        scene.end_server()
        await turns()
        scene.connection.client_writable()
        assert scene.client.written == [b"first", b"late"]
        assert scene.client.is_closed
        assert not scene.client.is_aborted


@pytest.mark.parametrize("waiting", ["ask", "sealed"])
async def test_a_client_that_is_gone_holds_its_server_for_a_while_only(waiting: str) -> None:
    async with Scene(Scripted(ask=[PauseClient(True)], sealed=[NeedKeys(((1, 1),))])) as scene:
        scene.connection.client_data(waiting.encode())
        scene.end_client()
        await turns()
        scene.connection.tick(scene.now_s + CLOSE_LINGER_S - 1)
        assert not scene.server.is_closed
        scene.connection.tick(scene.now_s + CLOSE_LINGER_S)
        assert scene.server.is_aborted
        closed = {"reason": "client-eof"}
        assert scene.services.metrics.value("sealwire_connections_closed_total", **closed) == 1


async def test_a_client_that_hangs_up_while_it_is_not_read_holds_its_server_for_a_while_only() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with Scene(Scripted(ask=[PauseClient(True)])) as scene:
            scene.client.sock = ours
            scene.connection.client_data(b"ask")
            scene.connection.tick(scene.now_s)
            scene.connection.tick(scene.now_s + 10 * CLOSE_LINGER_S)
            assert not scene.server.is_closed
            theirs.close()
            scene.now_s += 20 * CLOSE_LINGER_S
            scene.connection.tick(scene.now_s)
            scene.connection.tick(scene.now_s + CLOSE_LINGER_S - 1)
            assert not scene.server.is_closed
            scene.connection.tick(scene.now_s + CLOSE_LINGER_S)
            assert scene.server.is_aborted
            closed = {"reason": "client-eof"}
            assert scene.services.metrics.value("sealwire_connections_closed_total", **closed) == 1


async def test_a_connection_that_is_cut_holds_up_no_move() -> None:
    text = POLICY_TEXT.replace(b"type: string}", b"type: string, ask: true}", 1)
    settings = SessionSettings(load_policy(text, "policy.yaml"), login_required=False)
    names = settings.policy.class_names
    keys = [data_key(name) for name in names] + [data_key("nhs", 2, KeyState.PENDING)]
    talk = session_of(settings, Keyring(keys))
    moves = talk.shared.moves
    moves.follow("nhs", Frontier(class_id_of("nhs"), 1, 2, 2, Window(BEFORE_ALL, BEFORE_ALL)))
    uses = moves.classes["nhs"]
    assert uses is not None
    async with Scene(cast(SessionCore, talk)) as scene:
        question = {"find": "patients", "filter": {"nhs_number": {"$gt": "5"}}, "$db": "clinic"}
        scene.connection.client_data(command(question, 70))
        assert not uses.is_idle
        scene.connection.abort()
    moves.tick(1e9)  # what the server may still be at work with is over
    moves.tick(2e9)
    assert uses.is_idle


async def test_ends_of_both_leave_nothing_behind() -> None:
    for much in ([GoOn(False)], [GoOn(True)], [NeedKeys(((1, 1),))], [PauseClient(True)]):
        scene = Scene(Scripted(much=cast(list[Effect], much)))
        async with scene:
            scene.connection.server_data(b"much")
            scene.end_server()
            scene.end_client()
            await turns()
            scene.connection.tick(scene.now_s + CLOSE_LINGER_S)
            assert scene.connection.state is CarryState.CLOSED
            # whatever comes late finds nobody
            scene.keys.done()


def unopened(**script: list[Effect]) -> Scene:
    """A client whose server has not accepted yet, and does once `may_answer` is set."""
    scene = Scene(Scripted(**script))
    scene.upstream.may_answer.clear()
    return scene


async def opened(scene: Scene) -> None:
    """The server accepts."""
    scene.upstream.may_answer.set()
    await turns()


async def over(scene: Scene) -> None:
    """Both go, and nothing of them stays."""
    scene.end_client()
    scene.end_server()
    await turns()
    assert not scene.services.live
    assert scene.services.metrics.value("sealwire_bugs_total") == 0


async def test_a_client_whose_message_is_not_whole_has_no_server_connection() -> None:
    scene = Scene(session())
    hello = command({"hello": 1, "$db": "admin"}, 1)
    scene.connection.client_data(hello[:-1])
    await turns()
    assert scene.connection.server is None
    assert scene.connection.standing is ClientStage.SILENT
    scene.connection.client_data(hello[-1:])
    await turns()
    assert scene.server.written == [hello]
    await over(scene)


async def test_neither_has_one_that_is_refused_before_its_login_or_breaks_the_protocol() -> None:
    scene = Scene(session(login_required=True))
    scene.connection.client_data(command({"find": "patients", "$db": "clinic"}, 1))
    scene.connection.client_data(b"GET / HTTP/1.1\r\n\r\n")
    await turns()
    assert len(scene.client.written) == 1
    assert scene.client.is_closed
    assert scene.connection.server is None
    scene.connection.client_lost()
    assert not scene.services.live


async def test_a_client_that_goes_without_a_word_is_counted() -> None:
    scene = Scene(Scripted())
    scene.connection.client_eof()
    scene.connection.client_lost()
    closed = {"reason": "client-eof"}
    assert scene.services.metrics.value("sealwire_connections_closed_total", **closed) == 1
    assert not scene.services.live


async def test_what_a_client_sends_while_its_server_connection_is_opened_comes_after() -> None:
    scene = unopened()
    scene.connection.client_data(b"first")
    scene.connection.client_data(b"second")
    await turns()
    assert scene.connection.client.held is HoldReason.CONNECTING
    await opened(scene)
    assert scene.server.written == [b"first", b"second"]
    assert not scene.connection.client.held
    await over(scene)


@pytest.mark.parametrize("keys_first", [True, False])
async def test_keys_may_be_awaited_while_the_server_connection_is_opened(*, keys_first: bool) -> None:
    scene = unopened(first=[ToServer(b"hello"), NeedKeys(((1, 1),))])
    scene.connection.client_data(b"first")
    scene.connection.client_data(b"second")
    await turns()
    if keys_first:
        scene.keys.done()
        assert scene.client.written == [b"no keys"]
        await opened(scene)
    else:
        await opened(scene)
        assert scene.connection.server is not None
        assert scene.connection.server.held is HoldReason.KEYS
        assert scene.server.written == [b"hello"]
        scene.keys.done()
    assert scene.server.written == [b"hello", b"second"]
    assert scene.connection.server is not None
    assert not scene.connection.client.held | scene.connection.server.held
    await over(scene)


async def test_a_client_that_does_not_read_meanwhile_holds_its_server_from_the_first_byte_on() -> None:
    scene = unopened(first=[ToServer(b"hello"), ToClient(b"refused")])
    scene.connection.client_data(b"first")
    scene.connection.client_full()
    await opened(scene)
    assert scene.connection.server is not None
    assert scene.connection.server.held is HoldReason.CLIENT_FULL
    scene.connection.client_writable()
    assert not scene.connection.server.held
    await over(scene)


async def test_what_is_put_off_is_handled_without_a_server_connection() -> None:
    scene = unopened(many=[ToClient(b"refused"), GoOn(True)])
    scene.connection.client_data(b"many")
    await opened(scene)
    assert scene.server.written == [b"late"]
    await over(scene)


async def test_a_session_that_ends_needs_no_server_any_more() -> None:
    bye: list[Effect] = [ToServer(b"hello"), ToClient(b"bye"), Close(CloseReason.CLIENT_PROTOCOL)]
    scene = unopened(first=bye)
    scene.connection.client_data(b"first")
    assert (scene.client.written, scene.client.is_closed) == ([b"bye"], True)
    await opened(scene)
    assert scene.connection.server is None
    assert not scene.client.is_aborted
    await over(scene)


async def test_nothing_is_sent_under_a_lease_that_ran_out_meanwhile() -> None:
    talk = Scripted()
    scene = Scene(talk)
    scene.connection.client_data(b"insert")
    talk.is_outdated = True
    await turns()
    assert scene.server.written == []
    assert scene.client.is_aborted
    await over(scene)


def services(*, draining: bool = False) -> Any:
    return SimpleNamespace(draining=draining, metrics=Metrics(), gate=ClientGate(lambda: 0.0))


def pipe(*, has_unsent: bool) -> Any:
    return SimpleNamespace(has_unsent=has_unsent)


@pytest.mark.plain_core(reason="stands in for pipes, which a compiled function does not take")
@rows(
    "draining, unsent, waited_s, is_over",
    (False, False, CLOSE_LINGER_S - 1, False),
    (False, False, CLOSE_LINGER_S, True),
    (True, False, DRAIN_LINGER_S, True),
    (True, False, DRAIN_LINGER_S / 2, False),
    (True, True, DRAIN_LINGER_S, False),
    (True, True, CLOSE_LINGER_S, True),
)
def test_a_drain_waits_for_what_is_unsent_only(
    draining: bool, unsent: bool, waited_s: float, is_over: bool
) -> None:
    pipes = (pipe(has_unsent=False), None, pipe(has_unsent=unsent))
    assert has_lingered(services(draining=draining), waited_s, pipes) is is_over


@rows(
    "reason, is_busy, level, is_hinted",
    (CloseReason.CLIENT_EOF, True, logging.DEBUG, False),
    (CloseReason.SERVER_PROTOCOL, False, logging.WARNING, False),
    (CloseReason.TOPOLOGY, False, logging.WARNING, True),
    (CloseReason.SERVER_EOF, True, logging.WARNING, True),
    (CloseReason.SERVER_EOF, False, logging.DEBUG, False),
)
def test_the_ends_that_somebody_has_to_look_at_are_loud(
    caplog: pytest.LogCaptureFixture, reason: CloseReason, is_busy: bool, level: int, is_hinted: bool
) -> None:
    here = services()
    with caplog.at_level(logging.DEBUG, "sealwire.server"):
        say_closed(here, Close(reason, "flags at 16"), 7, "10.0.0.7:4711", is_busy=is_busy)
    (record,) = caplog.records
    assert record.levelno == level
    fields = dict(vars(record)["fields"])
    assert bool(fields.pop("hint", "")) is is_hinted
    assert fields == {
        **{"reason": reason.value, "detail": "flags at 16"},
        **{"connection": 7, "client": "10.0.0.7:4711"},
    }
    counted = cast(Any, here.metrics.registry).get_sample_value(
        "sealwire_connections_closed_total", {"reason": reason.value}
    )
    assert counted == 1
