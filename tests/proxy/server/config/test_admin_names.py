"""Who may see the page on the admin address, as the configuration says it."""

import pytest

from sealwire.proxy.server.config.admin_names import is_this_machine
from sealwire.proxy.server.config.settings import ListenTls, PageSettings, TlsMode
from tests.proxy.server.config_texts import FOLDER, SHORT, error_of, parse

TLS = "tls: {certificate: admin.crt, client_ca: people.crt}"


def admin(section: str) -> str:
    return f"{SHORT}\nadmin: {section}\n"


def test_a_token_on_this_machine_needs_no_tls() -> None:
    config = parse(admin("{address: '[::1]:9464', page: {token_file: token}}"))
    assert config.admin_tls == ListenTls(TlsMode.PLAINTEXT)
    assert config.admin_page == PageSettings(FOLDER / "token")


def test_a_certificate_and_a_name_are_read() -> None:
    config = parse(admin(f"{{address: '0.0.0.0:9464', {TLS}, page: {{name: Sealwire.Clinic.example}}}}"))
    assert config.admin_tls == ListenTls(TlsMode.TLS, FOLDER / "admin.crt", None, FOLDER / "people.crt")
    assert config.admin_page == PageSettings(None, "sealwire.clinic.example")


@pytest.mark.parametrize(
    ("section", "in_hint"),
    [
        ("{address: '0.0.0.0:9464', page: {token_file: token}}", "admin.tls"),
        ("{address: 'admin.example:9464', page: {token_file: token}}", "admin.tls"),
        ("{page: {name: sealwire.example}}", "remove"),
        ("{page: {watch: alerts.yaml}}", "remove"),
        ("{page: {token: secret}}", "token_file"),
        ("{page: {token_file: token, name: 'sealwire.example:9464'}}", "without a port"),
        ("{page: {token_file: token, name: 'a b'}}", "without a port"),
        ("{page: {token_file: token, name: '-a'}}", "without a port"),
        ("{tls: {key: admin.key}}", "certificate"),
        ("{tls: {mode: plaintext, certificate: a}}", "known keys"),
    ],
)
def test_what_lets_anybody_in_or_nobody_is_refused(section: str, in_hint: str) -> None:
    assert in_hint in error_of(admin(section)).hint


@pytest.mark.parametrize(
    ("host", "is_this"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - compared with
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_this_machine_is_told_without_a_resolver(host: str, *, is_this: bool) -> None:
    assert is_this_machine(host) is is_this
