"""What the ClientHello says is understood by a real TLS library."""

import ssl
from pathlib import Path

import pytest

from sealwire.sidecars.tls_check.connection.client_hello import ProtocolVersion, client_hello
from sealwire.sidecars.tls_check.connection.server_answer import AnswerReader, Choice, Rejection
from sealwire.sidecars.tls_check.connection.suites import SUITES
from tests.sidecars.tls_check.certificates import Odd, make
from tests.sidecars.tls_check.memory_server import CHUNK, MemoryServer, server_context


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return make(Odd()).write(tmp_path, "server")


def answer(context: ssl.SSLContext, hello: bytes) -> object:
    server = MemoryServer(context)
    server.send(hello)
    return AnswerReader().read(server.receive(CHUNK))


@pytest.mark.parametrize("version", [ProtocolVersion.TLS12, ProtocolVersion.TLS13])
def test_a_server_takes_the_version_that_is_offered_and_one_of_its_suites(
    pem: Path, version: ProtocolVersion
) -> None:
    found = answer(server_context(pem), client_hello(version, SUITES, "localhost"))
    assert isinstance(found, Choice)
    assert found.version == version.value
    assert found.suite in SUITES


def test_only_the_offered_suites_are_taken(pem: Path) -> None:
    for code in (0xC02B, 0xC02C):
        found = answer(server_context(pem), client_hello(ProtocolVersion.TLS12, [code], "localhost"))
        assert found == Choice(0x0303, code)
    for code in (0x1301, 0x1302, 0x1303):
        found = answer(server_context(pem), client_hello(ProtocolVersion.TLS13, [code], "localhost"))
        assert found == Choice(0x0304, code)


def test_a_version_below_the_servers_is_refused(pem: Path) -> None:
    for version in (ProtocolVersion.TLS10, ProtocolVersion.TLS11):
        found = answer(server_context(pem), client_hello(version, SUITES, "localhost"))
        assert found == Rejection.ALERT  # protocol_version


def test_suites_that_a_server_does_not_have_are_refused(pem: Path) -> None:
    found = answer(server_context(pem), client_hello(ProtocolVersion.TLS12, [0x0005], "localhost"))
    assert found == Rejection.ALERT  # handshake_failure


def test_no_hello_has_a_length_on_which_old_load_balancers_hang() -> None:
    for count in range(1, len(SUITES)):
        for version in ProtocolVersion:
            record = client_hello(version, list(SUITES)[:count], "db.example")
            assert int.from_bytes(record[3:5], "big") == len(record) - 5
            assert not 256 <= len(record) - 5 < 512


@pytest.mark.parametrize(
    ("host", "seen"),
    [
        ("db.example", "db.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", None),
        ("::1", None),
    ],
)
def test_the_host_name_is_indicated_and_an_address_is_not(pem: Path, host: str, seen: str | None) -> None:
    context = server_context(pem)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    answer(context, client_hello(ProtocolVersion.TLS12, SUITES, host))
    assert names == [seen]
