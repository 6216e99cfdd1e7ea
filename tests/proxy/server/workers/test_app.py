"""The start of a proxy and its services: what the probe finds, ports, audit, the admin address."""

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import bson
import pytest

from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.audit.files import LogPlace
from sealwire.audit.line import read_line
from sealwire.audit.log import LogPace
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.audit_writer import keeper
from sealwire.proxy.server.audit_writer.ring import make_memory
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import AccessControl, Config, Limits
from sealwire.proxy.server.errors import (
    AccessProblem,
    ListenProblem,
    ServerError,
    StartReason,
    TopologyProblem,
    UpstreamUnavailable,
)
from sealwire.proxy.server.findings import LOGIN_WANTED, NO_ACCESS_CONTROL
from sealwire.proxy.server.health import Following, Freshness, Keeping, ProxyPhase
from sealwire.proxy.server.observability.audit import Origin
from sealwire.proxy.server.observability.audit_settings import AuditSettings, WhenFull
from sealwire.proxy.server.transports import HoldReason
from sealwire.proxy.server.workers.app import Proxy
from sealwire.proxy.session.effects import Audit, Done, Effect, ToClient
from sealwire.testbed.child import free_port
from sealwire.wire.op_msg import build_op_msg
from tests.proxy.server.harness import (
    LOOPBACK,
    POLICY,
    UNAUTHORIZED,
    FakeSessions,
    between,
    client_of,
    fake_server,
    hello_server,
    make_config,
    make_loaded,
    only_connection,
    running,
    soon,
    until,
    with_members,
)
from tests.support.reasons import raising
from tests.support.rows import rows

pytestmark = pytest.mark.integration

STANDALONE = {"ok": 1.0, "isWritablePrimary": True}


def replica_set(*hosts: str, **more: Any) -> dict[str, Any]:
    return {"ok": 1.0, "setName": "rs0", "hosts": list(hosts), "me": hosts[0], **more}


async def start_error(config: Config, reason: StartReason) -> ServerError:
    """What keeps a proxy with this configuration from starting."""
    proxy = Proxy(make_loaded(config), FakeSessions())
    with pytest.raises(ServerError) as caught:
        await soon(proxy.run())
    assert not proxy.ready.is_set()
    assert caught.value.hint
    assert caught.value.reason is reason
    return caught.value


@rows(
    "hello, told",
    (STANDALONE, "whatever:1"),
    # the only member of a set may call itself anything
    (replica_set("inside-the-container:27017"), "inside-the-container:27017"),
)
async def test_a_single_server_passes_the_probe_and_is_told_as_the_advertised_address(
    hello: dict[str, Any], told: str
) -> None:
    sessions = FakeSessions()
    async with (
        hello_server(hello) as port,
        running(make_loaded(make_config(port, probe=True)), sessions) as proxy,
        client_of(proxy),
    ):
        await until(lambda: bool(sessions.topologies))
        (topology,) = sessions.topologies
        assert topology.advertised(told) == "proxy.test:27018"


@pytest.mark.parametrize("role", ["hosts", "passives", "arbiters"])
async def test_a_member_without_a_listener_keeps_the_proxy_from_starting(role: str) -> None:
    reply = replica_set("a:27017")
    reply[role] = [*reply.get(role, []), "b:27017"]
    async with hello_server(reply) as port:
        error = await start_error(make_config(port, probe=True), StartReason.MEMBER_WITHOUT_LISTENER)
        assert isinstance(error, TopologyProblem)
        assert "b:27017" in str(error)


async def test_each_member_of_a_set_is_told_by_the_address_of_its_listener_and_one_may_be_down() -> None:
    down = free_port()
    reply = replica_set("PLACEHOLDER", f"LocalHost:{down}")
    async with hello_server(reply) as port:
        reply["hosts"][0] = f"{LOOPBACK}:{port}"
        config = with_members(make_config(port, probe=True), (LOOPBACK, port), ("localhost", down))
        async with running(make_loaded(config), FakeSessions()) as proxy:
            assert len(proxy.addresses) == 2
            first, second = proxy._probed.topologies
            assert (first.own, second.own) == ("proxy.test:27018", "proxy.test:27019")
            assert first.advertised(f"{LOOPBACK}:{port}") == "proxy.test:27018"
            assert first.advertised(f"LocalHost:{down}") == "proxy.test:27019"


async def test_a_server_that_is_down_keeps_the_proxy_from_starting() -> None:
    error = await start_error(make_config(free_port(), probe=True), StartReason.UPSTREAM_REFUSED)
    assert isinstance(error, UpstreamUnavailable)


@pytest.mark.parametrize(
    ("reply", "greeting"),
    [
        ({"ok": 0.0}, b""),
        ({"ok": 1.0, "hosts": "a:27017"}, b""),
        (STANDALONE, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        (STANDALONE, b"\x15\0\0\0" + bytes(17)),
        (STANDALONE, (1 << 30).to_bytes(4, "little") + bytes(12)),
    ],
    ids=["refuses hello", "hosts of another type", "HTTP", "another opcode", "too long"],
)
async def test_what_is_not_a_mongodb_server_keeps_the_proxy_from_starting(
    reply: dict[str, Any], greeting: bytes
) -> None:
    async with hello_server(reply, greeting) as port:
        await start_error(make_config(port, probe=True), StartReason.UPSTREAM_PROTOCOL)


DATABASES = {"ok": 1.0, "databases": [{"name": "admin"}]}


async def test_a_server_without_logins_keeps_a_proxy_that_expects_them_from_starting() -> None:
    async with hello_server(STANDALONE, other=DATABASES) as port:
        config = make_config(port, probe=True)
        error = await start_error(config, StartReason.ACCESS_CONTROL_MISSING)
        assert isinstance(error, AccessProblem)
        async with running(make_loaded(replace(config, probe=False)), FakeSessions()):
            pass  # who asks nothing is told nothing
        config = replace(config, access_control=AccessControl.NONE)
        async with running(make_loaded(config), FakeSessions()) as proxy:
            assert not proxy.shared.settings.login_required


@rows(
    "other",
    UNAUTHORIZED,
    {"ok": 0.0, "code": 13436, "codeName": "NotPrimaryOrSecondary"},
    {"ok": 0.0, "code": 59, "codeName": "CommandNotFound"},
    {"ok": 0.0},
    {"ok": "yes"},
    {},
)
@pytest.mark.parametrize("setting", AccessControl)
async def test_what_does_not_tell_of_access_control_keeps_nothing_from_starting(
    other: dict[str, Any], setting: AccessControl, caplog: pytest.LogCaptureFixture
) -> None:
    async with hello_server(STANDALONE, other=other) as port:
        config = replace(make_config(port, probe=True), access_control=setting)
        async with running(make_loaded(config), FakeSessions()) as proxy:
            assert proxy.shared.settings.login_required is (setting is AccessControl.REQUIRED)
    warned = {record.getMessage() for record in caplog.records if record.levelname == "WARNING"}
    assert (NO_ACCESS_CONTROL.event in warned) is (setting is AccessControl.NONE)
    disagree = other is UNAUTHORIZED and setting is AccessControl.NONE
    assert (LOGIN_WANTED.event in warned) is disagree


async def test_one_member_without_logins_is_enough() -> None:
    async with (
        hello_server(STANDALONE) as guarded,
        hello_server(STANDALONE, other=DATABASES) as open_port,
    ):
        config = with_members(make_config(1, probe=True), (LOOPBACK, guarded), ("localhost", open_port))
        await start_error(config, StartReason.ACCESS_CONTROL_MISSING)


async def test_a_server_that_falls_silent_after_hello_is_not_waited_for_without_end() -> None:
    async with silent_after_hello() as port:
        config = make_config(port, probe=True, limits=Limits(connect_s=0.5))
        async with running(make_loaded(config), FakeSessions()):
            pass


@asynccontextmanager
async def silent_after_hello() -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(16)
        writer.write(build_op_msg(1, 1, bson.encode(STANDALONE)))
        await reader.read()
        writer.transport.abort()

    listening = await asyncio.start_server(talk, LOOPBACK, 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def test_a_server_that_says_nothing_or_hangs_up_keeps_the_proxy_from_starting() -> None:
    async with fake_server() as server:
        config = make_config(server.port, probe=True, limits=Limits(connect_s=0.5))
        await start_error(config, StartReason.UPSTREAM_PROTOCOL)
    async with fake_server() as server:
        failing = start_error(make_config(server.port, probe=True), StartReason.UPSTREAM_PROTOCOL)
        starting = asyncio.get_running_loop().create_task(failing)
        await server.accepted()
        await server.hang_up_all()
        await starting


async def test_nothing_is_left_listening_when_one_port_is_in_use() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        free = free_port()
        config = with_members(make_config(1), (LOOPBACK, 1), (LOOPBACK, 2))
        first = replace(config.members[0], listen=Address(LOOPBACK, free))
        second = replace(config.members[1], listen=Address(LOOPBACK, taken.getsockname()[1]))
        error = await start_error(replace(config, members=(first, second)), StartReason.PORT_IN_USE)
        assert isinstance(error, ListenProblem)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, free))


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_of_another_machine_cannot_be_listened_on(host: str) -> None:
    config = make_config(1)
    member = replace(config.members[0], listen=Address(host, 0))
    await start_error(replace(config, members=(member,)), StartReason.ADDRESS_UNUSABLE)


def audit_settings(path: Path) -> AuditSettings:
    return AuditSettings(LogPlace(path), None, LogPace())


async def test_an_audit_file_that_cannot_be_opened_keeps_the_proxy_from_starting(tmp_path: Path) -> None:
    config = replace(make_config(1), audit=audit_settings(tmp_path / "missing" / "audit.jsonl"))
    with raising(AuditFileProblem, AuditReason.FILE_MISSING):
        await soon(Proxy(make_loaded(config), FakeSessions()).run())


def audited(file: Path) -> list[dict[str, Any]]:
    return [dict(read_line(line).fields) for line in file.read_bytes().splitlines(keepends=True)]


async def test_another_keyring_is_on_record(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    async with fake_server() as server:
        loaded = make_loaded(replace(make_config(server.port), audit=audit_settings(file)))
        async with running(loaded, FakeSessions()) as proxy:
            proxy.shared.use_keyring(Keyring([], generation=7))
            await until(lambda: b'"keyring"' in file.read_bytes())
    said = [(line["event"], line.get("generation")) for line in audited(file)]
    assert said == [("file", None), ("started", 0), ("keyring", 7), ("stopped", None)]


async def test_audit_effects_become_lines_of_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    refused = Audit("refused", "clinic.patients", "find", "pattern", "nhs_number")
    effects: list[Effect] = [refused, ToClient(b".")]
    async with fake_server() as server:
        loaded = make_loaded(replace(make_config(server.port), audit=audit_settings(file)))
        async with (
            running(loaded, FakeSessions({b"!": lambda: effects})) as proxy,
            client_of(proxy) as (reader, writer),
        ):
            writer.write(b"!")
            await soon(reader.readexactly(1))
    lines = audited(file)
    assert [line["event"] for line in lines] == ["file", "started", "refused", "stopped"]
    assert lines[1]["policy"] != ""
    line = lines[2]
    assert str(line.pop("time")).endswith("+00:00")
    assert str(line.pop("client")).startswith(LOOPBACK)
    assert (line.pop("n"), len(str(line.pop("prev")))) == (2, 64)
    what = {"namespace": "clinic.patients", "command": "find", "reason": "pattern", "path": "nhs_number"}
    assert line == {"event": "refused", **what, "connection": 1}
    assert file.stat().st_mode & 0o777 == 0o600


async def test_where_it_is_to_block_clients_wait_for_the_audit_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "make_memory", partial(make_memory, 500_000))
    file = tmp_path / "audit.jsonl"
    settings = replace(audit_settings(file), when_full=WhenFull.BLOCK)
    effects: list[Effect] = [Audit("refused", "clinic.patients", "find", "x" * 50_000), ToClient(b".")]
    async with fake_server() as server:
        loaded = make_loaded(replace(make_config(server.port), audit=settings))
        async with (
            running(loaded, FakeSessions({b"!": lambda: effects})) as proxy,
            client_of(proxy) as (reader, writer),
        ):
            await until(lambda: file.exists() and b"started" in file.read_bytes())
            connection = only_connection(proxy)
            assert proxy._writer is not None
            assert proxy._writer._process is not None
            os.kill(proxy._writer._process.pid, signal.SIGSTOP)
            for _ in range(5):
                writer.write(b"!")
                await soon(reader.readexactly(1))
            assert not connection.client.held & HoldReason.AUDIT
            writer.write(b"!")
            await until(lambda: bool(connection.client.held & HoldReason.AUDIT))
            os.kill(proxy._writer._process.pid, signal.SIGCONT)
            assert await soon(reader.readexactly(1)) == b"."
            assert not connection.client.held & HoldReason.AUDIT
    assert file.read_bytes().count(b'"refused"') == 6


class FullAudit:
    """Takes nothing more."""

    keeping = Keeping.FULL
    is_full = True
    is_pressed = False
    trouble = "unwritable"

    def write(self, record: Audit | Done, origin: Origin) -> bool:
        return False

    def say(self, event: str, **fields: str | int) -> None:
        pass

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass


async def test_what_cannot_be_recorded_does_not_happen() -> None:
    effects: list[Effect] = [Audit("refused", "clinic.patients", "find", "pattern"), ToClient(b".")]
    async with between(FakeSessions({b"!": lambda: effects})) as (_, proxy):
        proxy.services.audit = FullAudit()
        async with client_of(proxy) as (reader, writer):
            writer.write(b"!")
            with suppress(ConnectionResetError):
                assert await soon(reader.read()) == b""
        await until(lambda: not proxy.services.live)
        assert proxy._admin is not None
        await until(lambda: proxy.health.audit is Keeping.FULL)
        status, body = await ask(proxy._admin.address, "/readyz")
        said = json.loads(body)
        assert (status, said["audit"], said["audit_trouble"]) == (503, "full", "unwritable")


async def ask(address: Address, path: str) -> tuple[int, bytes]:
    reader, writer = await soon(asyncio.open_connection(*address))
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = await soon(reader.read())
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


READY = {"status": "ready", "keyring": "ok", "policy": sha256(POLICY).hexdigest()[:12], "provider": "env"}
PLAINTEXT = (("clinic.a", "b"), ("clinic.a", "c"), ("clinic.d", "b"))
STANDINGS: list[tuple[dict[str, Any], int, dict[str, Any]]] = [
    ({}, 200, {}),
    ({"plaintext": PLAINTEXT}, 200, {"plaintext": {"clinic.a": ["b", "c"], "clinic.d": ["b"]}}),
    ({"in_clear": ("nhs",)}, 200, {"in_clear": ["nhs"]}),
    ({"observed": ("clinic.a",)}, 200, {"mode": "observe", "not_protected": ["clinic.a"]}),
    ({"keyring": Freshness.STALE}, 200, {"keyring": "stale"}),
    ({"keyring": Freshness.EXPIRED}, 503, {"status": "not-ready", "keyring": "expired"}),
    ({"frontier": Following.LOST}, 503, {"status": "not-ready", "frontier": "lost"}),
    ({"frontier": Following.FOLLOWS}, 200, {"frontier": "ok"}),
]
"""Fields of the proxy's health, and what /readyz answers: the status, and what differs from READY."""


async def test_the_admin_address_tells_health_readiness_and_metrics() -> None:
    async with between() as (_, proxy):
        assert proxy._admin is not None
        address, health = proxy._admin.address, proxy.health
        assert await ask(address, "/healthz") == (200, b'{"status": "ok"}\n')
        for fields, status, differs in STANDINGS:
            usual = {name: getattr(health, name) for name in fields}
            for name, value in fields.items():
                setattr(health, name, value)
            found, body = await ask(address, "/readyz" if fields else "/readyz?probe=1")
            assert (found, json.loads(body)) == (status, READY | differs)
            found, page = await ask(address, "/metrics")
            assert found == 200
            assert f"sealwire_ready {float(status == 200)}\n".encode() in page
            if "frontier" in fields:
                assert f"sealwire_frontier_lost {float(status != 200)}\n".encode() in page
            assert f'sealwire_policy_info{{digest="{READY["policy"]}"}} 1.0\n'.encode() in page
            for name, value in usual.items():
                setattr(health, name, value)
        assert (await ask(address, "/"))[0] == 404
        health.phase = ProxyPhase.DRAINING
        assert (await ask(address, "/readyz"))[0] == 503
        health.clock = lambda: health.beat_at + 3600
        assert await ask(address, "/healthz") == (503, b'{"status": "stuck"}\n')
        health.clock = lambda: health.beat_at


async def test_an_exception_in_the_event_loop_is_counted_and_shown_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise ValueError("9434765919")

    async with between() as (_, proxy):
        asyncio.get_running_loop().call_soon(fail)
        await until(lambda: proxy.metrics.value("sealwire_bugs_total") == 1)
    assert "9434765919" not in "".join(record.getMessage() for record in caplog.records)


async def test_what_was_held_of_a_storm_is_told_of_before_the_proxy_has_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with between() as (_, proxy):
        log = logging.getLogger("sealwire.server")
        for peer in ("10.0.0.7:1", "10.0.0.7:2"):
            proxy.services.gate.note(log, logging.WARNING, "client not served", "limit", client=peer)
    said = [record.getMessage() for record in caplog.records]
    assert said.index("client not served") < said.index("similar lines held") < said.index("stopped")
