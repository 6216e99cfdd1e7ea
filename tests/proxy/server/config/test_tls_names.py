"""How both sides use TLS, as the configuration says it."""

import ssl

import pytest

from sealwire.proxy.server.config.settings import ListenTls, TlsMode, UpstreamTls
from tests.proxy.server.config_texts import FOLDER, SHORT, WHOLE, error_of, parse


def test_tls_cannot_be_left_out_on_the_way_to_the_server() -> None:
    error = error_of(SHORT.replace('27017", tls: {mode: plaintext}', '27017"'))
    assert (error.line, error.column) == (2, 11)


def test_client_certificates_cannot_be_required_without_their_authority() -> None:
    error = error_of(WHOLE.replace("    client_ca: tls/clients.crt\n", ""))
    assert error.line == 7


@pytest.mark.parametrize(
    ("side", "tls"),
    [
        ("listen", "{mode: plaintext, certificate: a.crt}"),
        ("listen", "{key: a.key}"),
        ("upstream", "{mode: plaintext, server_name: db}"),
        ("upstream", "{key: a.key}"),
        ("upstream", "{minimum: '1.1'}"),
    ],
)
def test_what_makes_no_sense_together_is_refused(side: str, tls: str) -> None:
    line = {"listen": 1, "upstream": 2}[side]
    lines = SHORT.splitlines()
    assert lines[line - 1].count("{mode: plaintext}") == 1
    lines[line - 1] = lines[line - 1].replace("{mode: plaintext}", tls)
    assert error_of("\n".join(lines)).line == line


def test_each_file_is_found_beside_the_configuration_and_the_oldest_version_is_said() -> None:
    lines = SHORT.splitlines()
    ours = "{certificate: a.crt, key: a.key, client_ca: c.crt, minimum: '1.3'}"
    lines[0] = lines[0].replace("{mode: plaintext}", ours)
    lines[1] = lines[1].replace("{mode: plaintext}", "{ca: ca.crt, server_name: db}")
    config = parse("\n".join(lines))
    assert config.listen_tls == ListenTls(
        TlsMode.TLS, FOLDER / "a.crt", FOLDER / "a.key", FOLDER / "c.crt", minimum=ssl.TLSVersion.TLSv1_3
    )
    assert config.upstream_tls == UpstreamTls(TlsMode.TLS, FOLDER / "ca.crt", server_name="db")
    assert config.upstream_tls.minimum is ssl.TLSVersion.TLSv1_2
