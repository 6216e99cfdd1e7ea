"""TLS on both sides with real handshakes: who is let in, who is trusted, what a reload changes."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Limits, ListenTls, TlsMode, UpstreamTls
from sealwire.proxy.server.errors import StartReason, UpstreamUnavailable
from sealwire.proxy.server.tls import upstream_side
from sealwire.proxy.server.transports import ServerProtocol
from sealwire.proxy.server.upstream import Upstream, UpstreamWay, UpstreamWays
from sealwire.proxy.server.workers.app import Proxy
from sealwire.testbed.certificates import Authority, Issued, create_authority
from tests.proxy.server.harness import (
    LOOPBACK,
    FakeServer,
    FakeSessions,
    between,
    client_of,
    exchange,
    fake_server,
    hello_server,
    known_keys,
    make_config,
    make_loaded,
    policy_file,
    reached,
    running,
    soon,
    until,
)
from tests.proxy.server.tls_contexts import client_context, server_context, serving

pytestmark = pytest.mark.integration


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "authority")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "stranger", "another authority")


async def test_bytes_go_both_ways_with_tls_and_client_certificates_on_both_sides(
    authority: Authority,
) -> None:
    proxy_certificate = authority.issue("proxy")
    inward = authority.issue("proxy-as-client", client=True)
    outer = serving(proxy_certificate, client_ca=authority.certificate_file, require_client_certificate=True)
    inner = UpstreamTls(TlsMode.TLS, authority.certificate_file, inward.certificate, inward.key)
    database = server_context(authority.issue("database"), authority.certificate_file)
    application = client_context(authority, authority.issue("application", client=True))
    async with fake_server(database) as server:
        loaded = make_loaded(make_config(server.port, listen_tls=outer, upstream_tls=inner))
        async with running(loaded, FakeSessions()) as proxy, client_of(proxy, application) as stream:
            message = bytes(range(256)) * 4096
            await exchange(server, stream, message, message)
            _, writer = stream
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"


async def test_tls_1_2_gets_a_forward_secret_authenticated_suite(authority: Authority) -> None:
    application = client_context(authority)
    application.maximum_version = ssl.TLSVersion.TLSv1_2
    async with (
        between(listen_tls=serving(authority.issue("proxy"))) as (_, proxy),
        client_of(proxy, application) as (_, writer),
    ):
        suite = writer.get_extra_info("cipher")[0]
        assert suite.startswith("ECDHE-")
        assert "GCM" in suite or "POLY1305" in suite


async def refused_handshake(listen_tls: ListenTls, application: ssl.SSLContext) -> None:
    """The proxy turns the client away in the handshake and opens no server connection."""
    async with between(listen_tls=listen_tls) as (server, proxy):
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            async with client_of(proxy, application) as (reader, _):
                # TLS 1.3 clients are done before the server has looked at their certificate
                await soon(reader.readexactly(1))
        rejected = "sealwire_connections_rejected_total"
        await until(lambda: proxy.metrics.value(rejected, reason="handshake") == 1)
        assert server.connections == 0
        assert proxy.metrics.value("sealwire_bugs_total") == 0


def old_version(context: ssl.SSLContext) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def old_suites(context: ssl.SSLContext) -> ssl.SSLContext:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA")
    return context


@pytest.mark.parametrize("weaken", [old_version, old_suites], ids=["TLS 1.1", "CBC suites"])
async def test_weak_clients_are_refused(
    authority: Authority, weaken: Callable[[ssl.SSLContext], ssl.SSLContext]
) -> None:
    await refused_handshake(serving(authority.issue("proxy")), weaken(client_context(authority)))


async def test_a_client_without_certificate_is_refused_where_one_is_required(authority: Authority) -> None:
    required = serving(
        authority.issue("proxy"), client_ca=authority.certificate_file, require_client_certificate=True
    )
    await refused_handshake(required, client_context(authority))


async def test_a_client_certificate_of_another_authority_is_refused_even_where_none_is_required(
    authority: Authority, stranger: Authority
) -> None:
    optional = serving(authority.issue("proxy"), client_ca=authority.certificate_file)
    certificate = stranger.issue("application", client=True)
    await refused_handshake(optional, client_context(authority, certificate))


async def test_a_client_that_speaks_plaintext_to_a_tls_listener_is_refused(authority: Authority) -> None:
    async with (
        between(listen_tls=serving(authority.issue("proxy"))) as (server, proxy),
        client_of(proxy) as (reader, writer),
    ):
        writer.write(b"\x3a\x00\x00\x00 not a TLS record")
        await soon(reader.read())
        rejected = "sealwire_connections_rejected_total"
        await until(lambda: proxy.metrics.value(rejected, reason="handshake") == 1)
        assert server.connections == 0


class Nobody:
    """Takes what a server protocol reports."""

    def server_connected(self, transport: asyncio.Transport) -> None: ...
    def server_data(self, data: bytes) -> None: ...
    def server_eof(self) -> None: ...
    def server_lost(self) -> None: ...
    def server_full(self) -> None: ...
    def server_writable(self) -> None: ...


def expired(authority: Authority, name: str = "db") -> Issued:
    now = datetime.now(UTC)
    return authority.issue(name, valid_from=now - timedelta(days=9), valid_until=now - timedelta(days=1))


def elsewhere(authority: Authority) -> Issued:
    return authority.issue("db", ["db.example"])


def good(authority: Authority) -> Issued:
    return authority.issue("db")


@pytest.mark.parametrize("issue", [expired, elsewhere], ids=["expired", "another host name"])
async def test_a_server_with_a_bad_certificate_is_not_used(
    authority: Authority, issue: Callable[[Authority], Issued]
) -> None:
    await bad_server(authority, server_context(issue(authority)), StartReason.UPSTREAM_TLS_VERIFY)


async def test_a_server_of_another_authority_is_not_used(authority: Authority, stranger: Authority) -> None:
    await bad_server(authority, server_context(good(stranger)), StartReason.UPSTREAM_TLS_VERIFY)


async def test_a_server_that_answers_a_handshake_with_something_else_is_not_used(
    authority: Authority,
) -> None:
    async with hello_server({"ok": 1}, greeting=b"\x3a\0\0\0 not a TLS record") as port:
        with pytest.raises(UpstreamUnavailable) as caught:
            await soon(tls_upstream(authority, port).connect(lambda: ServerProtocol(Nobody())))
    assert caught.value.reason is StartReason.UPSTREAM_TLS


def tls_upstream(authority: Authority, port: int, server_name: str | None = None) -> Upstream:
    side = upstream_side(UpstreamTls(TlsMode.TLS, authority.certificate_file))
    return Upstream(Address(LOOPBACK, port), UpstreamWays(Limits(), UpstreamWay(side.context), server_name))


class HangsUp(Nobody):
    """A connection that should not be there ends at once, so that the test fails and does not wait for it."""

    def server_connected(self, transport: asyncio.Transport) -> None:
        transport.abort()


async def bad_server(authority: Authority, database: ssl.SSLContext, reason: StartReason) -> None:
    async with fake_server(database) as server:
        with pytest.raises(UpstreamUnavailable) as caught:
            await soon(tls_upstream(authority, server.port).connect(lambda: ServerProtocol(HangsUp())))
    assert caught.value.reason is reason
    assert caught.value.hint


async def test_the_server_name_of_the_configuration_is_verified_instead_of_the_address(
    authority: Authority,
) -> None:
    inner = UpstreamTls(TlsMode.TLS, authority.certificate_file, server_name="db.example")
    async with fake_server(server_context(elsewhere(authority))) as server:
        loaded = make_loaded(make_config(server.port, upstream_tls=inner))
        async with running(loaded, FakeSessions()) as proxy, client_of(proxy) as (_, writer):
            writer.write(b"x")
            server_reader, _ = await server.accepted()
            assert await soon(server_reader.readexactly(1)) == b"x"


@asynccontextmanager
async def with_certificate(authority: Authority, folder: Path) -> AsyncIterator[tuple[FakeServer, Proxy]]:
    """A server, and a proxy before it that can load its files anew."""
    async with fake_server() as server:
        config = make_config(server.port, listen_tls=serving(authority.issue("proxy")))
        loaded = make_loaded(replace(config, policy=policy_file(folder)), known_keys)
        async with running(loaded, FakeSessions()) as proxy:
            yield server, proxy


async def test_reloaded_certificates_serve_new_connections_and_open_ones_stay(
    authority: Authority, tmp_path: Path
) -> None:
    async with with_certificate(authority, tmp_path) as (server, proxy):
        async with client_of(proxy, client_context(authority)) as client:
            reader, before = client
            _, server_writer = await reached(server, client)
            authority.issue("proxy")  # over the same files
            proxy.reload()
            await until(lambda: proxy.metrics.value("sealwire_reloads_total", outcome="loaded") == 1)
            async with client_of(proxy, client_context(authority)) as (_, after):
                assert serial(after) != serial(before)
            server_writer.write(b"still there")
            assert await soon(reader.readexactly(11)) == b"still there"
        assert proxy.metrics.value("sealwire_certificate_reloads_total", outcome="loaded") == 1
        assert proxy.metrics.value("sealwire_certificate_expiry_timestamp_seconds", side="listen") > 0


def unreadable(authority: Authority) -> None:
    (authority.folder / "proxy.crt").write_text("no certificate")


def out_of_time(authority: Authority) -> None:
    expired(authority, "proxy")


@pytest.mark.parametrize("harm", [unreadable, out_of_time])
async def test_a_reload_that_fails_keeps_the_certificates_of_before(
    authority: Authority, tmp_path: Path, harm: Callable[[Authority], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with with_certificate(authority, tmp_path) as (_, proxy):
        async with client_of(proxy, client_context(authority)) as (_, writer):
            before = serial(writer)
        harm(authority)
        proxy.reload()
        await until(lambda: proxy.metrics.value("sealwire_reloads_total", outcome="failed") == 1)
        async with client_of(proxy, client_context(authority)) as (_, writer):
            assert serial(writer) == before
        refused = [each for each in caplog.records if each.message.startswith("reload refused")]
        assert [each.levelname for each in refused] == ["ERROR"]
        assert proxy.metrics.value("sealwire_certificate_reloads_total", outcome="failed") == 1


def serial(writer: asyncio.StreamWriter) -> str:
    certificate = writer.get_extra_info("peercert")
    return str(certificate["serialNumber"])
