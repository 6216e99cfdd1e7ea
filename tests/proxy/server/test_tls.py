"""TLS on both sides with real handshakes; what is wrong with files is said before anything listens."""

import asyncio
import ssl
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from sealwire.demo.certificates import Authority, Issued, create_authority
from sealwire.proxy.server.config import Address, Limits, ListenTls, TlsMode, UpstreamTls
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason, UpstreamUnavailable
from sealwire.proxy.server.tls import TLS12_SUITES, listen_side, upstream_side
from sealwire.proxy.server.upstream import ServerProtocol, Upstream
from tests.proxy.server.fake_session import FakeSessions
from tests.proxy.server.harness import (
    LOOPBACK,
    client_of,
    fake_server,
    hello_server,
    make_config,
    make_loaded,
    run,
    running,
    soon,
    until,
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "authority")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "stranger", "another authority")


def serving(issued: Issued, **more: Any) -> ListenTls:
    return ListenTls(TlsMode.TLS, issued.certificate, issued.key, **more)


def server_context(issued: Issued, client_ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(authority: Authority, certificate: Issued | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return context


@pytest.mark.integration
def test_bytes_go_both_ways_with_tls_and_client_certificates_on_both_sides(authority: Authority) -> None:
    async def scenario() -> None:
        proxy_certificate = authority.issue("proxy")
        inward = authority.issue("proxy-as-client", client=True)
        outer = serving(
            proxy_certificate, client_ca=authority.certificate_file, require_client_certificate=True
        )
        inner = UpstreamTls(TlsMode.TLS, authority.certificate_file, inward.certificate, inward.key)
        database = server_context(authority.issue("database"), authority.certificate_file)
        application = client_context(authority, authority.issue("application", client=True))
        async with fake_server(database) as server:
            loaded = make_loaded(make_config(server.port, listen_tls=outer, upstream_tls=inner))
            async with running(loaded, FakeSessions()) as proxy, client_of(proxy, application) as stream:
                reader, writer = stream
                message = bytes(range(256)) * 4096
                writer.write(message)
                server_reader, server_writer = await server.accepted()
                assert await soon(server_reader.readexactly(len(message))) == message
                server_writer.write(message)
                assert await soon(reader.readexactly(len(message))) == message
                assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"

    run(scenario())


@pytest.mark.integration
def test_tls_1_2_gets_a_forward_secret_authenticated_suite(authority: Authority) -> None:
    async def scenario() -> None:
        async with fake_server() as server:
            config = make_config(server.port, listen_tls=serving(authority.issue("proxy")))
            application = client_context(authority)
            application.maximum_version = ssl.TLSVersion.TLSv1_2
            async with (
                running(make_loaded(config), FakeSessions()) as proxy,
                client_of(proxy, application) as (_, writer),
            ):
                suite = writer.get_extra_info("cipher")[0]
                assert suite.startswith("ECDHE-")
                assert "GCM" in suite or "POLY1305" in suite

    run(scenario())


async def refused_handshake(listen_tls: ListenTls, application: ssl.SSLContext) -> None:
    """The proxy turns the client away in the handshake and opens no server connection."""
    async with (
        fake_server() as server,
        running(make_loaded(make_config(server.port, listen_tls=listen_tls)), FakeSessions()) as proxy,
    ):
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            async with client_of(proxy, application) as (reader, _):
                # TLS 1.3 clients are done before the server has looked at their certificate
                await soon(reader.readexactly(1))
        await until(
            lambda: proxy.metrics.value("sealwire_connections_rejected_total", reason="handshake") == 1
        )
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


@pytest.mark.integration
@pytest.mark.parametrize("weaken", [old_version, old_suites], ids=["TLS 1.1", "CBC suites"])
def test_weak_clients_are_refused(
    authority: Authority, weaken: Callable[[ssl.SSLContext], ssl.SSLContext]
) -> None:
    run(refused_handshake(serving(authority.issue("proxy")), weaken(client_context(authority))))


@pytest.mark.integration
def test_a_client_without_certificate_is_refused_where_one_is_required(authority: Authority) -> None:
    required = serving(
        authority.issue("proxy"), client_ca=authority.certificate_file, require_client_certificate=True
    )
    run(refused_handshake(required, client_context(authority)))


@pytest.mark.integration
def test_a_client_certificate_of_another_authority_is_refused_even_where_none_is_required(
    authority: Authority, stranger: Authority
) -> None:
    optional = serving(authority.issue("proxy"), client_ca=authority.certificate_file)
    certificate = stranger.issue("application", client=True)
    run(refused_handshake(optional, client_context(authority, certificate)))


@pytest.mark.integration
def test_a_client_that_speaks_plaintext_to_a_tls_listener_is_refused(authority: Authority) -> None:
    async def scenario() -> None:
        async with fake_server() as server:
            config = make_config(server.port, listen_tls=serving(authority.issue("proxy")))
            async with (
                running(make_loaded(config), FakeSessions()) as proxy,
                client_of(proxy) as (reader, writer),
            ):
                writer.write(b"\x3a\x00\x00\x00 not a TLS record")
                await soon(reader.read())
                rejected = "sealwire_connections_rejected_total"
                await until(lambda: proxy.metrics.value(rejected, reason="handshake") == 1)
                assert server.connections == 0

    run(scenario())


class Nobody:
    """Takes what a server protocol reports."""

    def server_connected(self, transport: object) -> None: ...
    def server_data(self, data: bytes) -> None: ...
    def server_eof(self) -> None: ...
    def server_lost(self) -> None: ...
    def server_full(self) -> None: ...
    def server_writable(self) -> None: ...


def expired(authority: Authority) -> Issued:
    now = datetime.now(UTC)
    return authority.issue("db", valid_from=now - timedelta(days=9), valid_until=now - timedelta(days=1))


def elsewhere(authority: Authority) -> Issued:
    return authority.issue("db", ["db.example"])


def good(authority: Authority) -> Issued:
    return authority.issue("db")


@pytest.mark.integration
@pytest.mark.parametrize("issue", [expired, elsewhere], ids=["expired", "another host name"])
def test_a_server_with_a_bad_certificate_is_not_used(
    authority: Authority, issue: Callable[[Authority], Issued]
) -> None:
    run(bad_server(authority, server_context(issue(authority)), StartReason.UPSTREAM_TLS_VERIFY))


@pytest.mark.integration
def test_a_server_of_another_authority_is_not_used(authority: Authority, stranger: Authority) -> None:
    run(bad_server(authority, server_context(good(stranger)), StartReason.UPSTREAM_TLS_VERIFY))


@pytest.mark.integration
def test_a_server_that_answers_a_handshake_with_something_else_is_not_used(authority: Authority) -> None:
    async def scenario() -> None:
        async with hello_server({"ok": 1}, greeting=b"\x3a\0\0\0 not a TLS record") as port:
            with pytest.raises(UpstreamUnavailable) as caught:
                await soon(tls_upstream(authority, port).connect(lambda: ServerProtocol(Nobody())))
        assert caught.value.reason is StartReason.UPSTREAM_TLS

    run(scenario())


def tls_upstream(authority: Authority, port: int, server_name: str | None = None) -> Upstream:
    side = upstream_side(UpstreamTls(TlsMode.TLS, authority.certificate_file))
    return Upstream(Address(LOOPBACK, port), Limits(), side.context, server_name)


async def bad_server(authority: Authority, database: ssl.SSLContext, reason: StartReason) -> None:
    async with fake_server(database) as server:
        with pytest.raises(UpstreamUnavailable) as caught:
            await soon(tls_upstream(authority, server.port).connect(lambda: ServerProtocol(Nobody())))
    assert caught.value.reason is reason
    assert caught.value.hint


@pytest.mark.integration
def test_the_server_name_of_the_configuration_is_verified_instead_of_the_address(
    authority: Authority,
) -> None:
    async def scenario() -> None:
        async with (
            fake_server(server_context(elsewhere(authority))) as server,
            running(
                make_loaded(
                    make_config(
                        server.port,
                        upstream_tls=UpstreamTls(
                            TlsMode.TLS, authority.certificate_file, server_name="db.example"
                        ),
                    )
                ),
                FakeSessions(),
            ) as proxy,
            client_of(proxy) as (_, writer),
        ):
            writer.write(b"x")
            server_reader, _ = await server.accepted()
            assert await soon(server_reader.readexactly(1)) == b"x"

    run(scenario())


@pytest.mark.integration
def test_reloaded_certificates_serve_new_connections_and_open_ones_stay(authority: Authority) -> None:
    async def scenario() -> None:
        issued = authority.issue("proxy")
        async with fake_server() as server:
            config = make_config(server.port, listen_tls=serving(issued))
            async with running(make_loaded(config), FakeSessions()) as proxy:
                async with client_of(proxy, client_context(authority)) as (reader, before):
                    _, server_writer = await server.accepted()
                    authority.issue("proxy")  # over the same files
                    proxy.reload_certificates()
                    async with client_of(proxy, client_context(authority)) as (_, after):
                        assert serial(after) != serial(before)
                    server_writer.write(b"still there")
                    assert await soon(reader.readexactly(11)) == b"still there"
                assert proxy.metrics.value("sealwire_certificate_reloads_total", outcome="loaded") == 1
                assert proxy.metrics.value("sealwire_certificate_expiry_timestamp_seconds", side="listen") > 0

    run(scenario())


@pytest.mark.integration
def test_a_reload_that_fails_keeps_the_certificates_of_before(authority: Authority) -> None:
    async def scenario() -> None:
        issued = authority.issue("proxy")
        async with fake_server() as server:
            config = make_config(server.port, listen_tls=serving(issued))
            async with running(make_loaded(config), FakeSessions()) as proxy:
                issued.certificate.write_text("no certificate")
                proxy.reload_certificates()
                async with client_of(proxy, client_context(authority)) as (_, writer):
                    assert serial(writer)
                assert proxy.metrics.value("sealwire_certificate_reloads_total", outcome="failed") == 1

    run(scenario())


def serial(writer: asyncio.StreamWriter) -> str:
    certificate = writer.get_extra_info("peercert")
    return str(certificate["serialNumber"])


def mismatch(issued: Issued, authority: Authority) -> None:
    authority.issue("other").key.replace(issued.key)


def not_pem(issued: Issued, _: Authority) -> None:
    issued.certificate.write_text("-----BEGIN NONSENSE-----")


def key_not_pem(issued: Issued, _: Authority) -> None:
    issued.key.write_text("-----BEGIN NONSENSE-----")


def no_certificate(issued: Issued, _: Authority) -> None:
    issued.certificate.unlink()


def no_key(issued: Issued, _: Authority) -> None:
    issued.key.unlink()


def encrypted_key(issued: Issued, _: Authority) -> None:
    key = load_pem_private_key(issued.key.read_bytes(), None)
    protection = BestAvailableEncryption(b"passphrase")
    issued.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (mismatch, StartReason.KEY_MISMATCH),
        (not_pem, StartReason.BAD_PEM),
        (key_not_pem, StartReason.BAD_PEM),
        (no_certificate, StartReason.FILE_MISSING),
        (no_key, StartReason.FILE_MISSING),
        (encrypted_key, StartReason.KEY_ENCRYPTED),
    ],
)
def test_what_is_wrong_with_a_certificate_or_key_is_said(
    authority: Authority, damage: Callable[[Issued, Authority], None], reason: StartReason
) -> None:
    issued = authority.issue("proxy")
    damage(issued, authority)
    with pytest.raises(FileProblem) as caught:
        listen_side(serving(issued))
    assert caught.value.reason is reason
    assert caught.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610])
def test_a_private_key_that_others_can_reach_is_refused(authority: Authority, mode: int) -> None:
    issued = authority.issue("proxy")
    issued.key.chmod(mode)
    with pytest.raises(PermissionProblem) as caught:
        listen_side(serving(issued))
    assert caught.value.reason is StartReason.KEY_EXPOSED


@pytest.mark.parametrize(
    "content", ["", "no authority", "\u00e9", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_an_authority_file_without_authorities_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ca.crt"
    file.write_text(content)
    with pytest.raises(FileProblem) as caught:
        upstream_side(UpstreamTls(TlsMode.TLS, file))
    assert caught.value.reason is StartReason.BAD_PEM


def test_certificate_and_key_may_stand_in_one_file(authority: Authority) -> None:
    issued = authority.issue("proxy")
    assert listen_side(ListenTls(TlsMode.TLS, issued.combined)).context is not None


def test_without_an_authority_file_the_systems_store_is_trusted_and_names_are_verified() -> None:
    context = upstream_side(UpstreamTls(TlsMode.TLS)).context
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_tls_1_3_can_be_demanded(authority: Authority) -> None:
    side = listen_side(serving(authority.issue("proxy"), minimum=ssl.TLSVersion.TLSv1_3))
    assert side.context is not None
    assert side.context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_every_suite_of_tls_1_2_is_ephemeral_and_authenticated() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(TLS12_SUITES)
    suites = [suite for suite in context.get_ciphers() if suite["protocol"] == "TLSv1.2"]
    assert suites
    assert all(suite["aead"] and suite["name"].startswith("ECDHE-") for suite in suites)


@pytest.mark.parametrize(
    ("starts", "ends", "word"),
    [(-9, -1, "expired"), (1, 90, "not valid yet"), (-1, 5, "soon"), (-1, 90, "")],
)
def test_a_certificate_out_of_its_time_is_warned_of(
    authority: Authority, starts: int, ends: int, word: str
) -> None:
    now = datetime.now(UTC)
    issued = authority.issue(
        "proxy", valid_from=now + timedelta(days=starts), valid_until=now + timedelta(days=ends)
    )
    side = listen_side(serving(issued))
    assert side.not_after is not None
    assert word in side.warning
    assert bool(word) == bool(side.warning)
