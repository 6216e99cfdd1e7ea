"""`upstream.identities`: as whom holders of certificates are logged in."""

import pytest

from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.settings import IdentitySettings
from sealwire.proxy.session.login.identities import Holder
from sealwire.proxy.session.login.scram import ScramHash
from tests.proxy.server.config_texts import FOLDER, SHORT, parse

LISTEN = "{certificate: proxy.crt, client_ca: clients.crt}"


def text(identities: str, listen: str = LISTEN, upstream: str = "{ca: ca.crt}") -> str:
    return (
        SHORT.replace("tls: {mode: plaintext}}\nupstream", f"tls: {listen}}}\nupstream")
        .replace('"mongo:27017", tls: {mode: plaintext}', f'"mongo:27017", tls: {upstream}')
        .replace("}\npolicy", f", identities: {identities}}}\npolicy")
    )


def test_users_and_certificates_are_read_and_paths_start_at_the_files_folder() -> None:
    config = parse(
        text(
            "[{subject: 'CN=ward-3,O=Clinic', user: app, password_file: app.password}, "
            "{subject: 'CN=ward-4', user: other, database: users, mechanism: SCRAM-SHA-1, "
            "password_variable: OTHER_PASSWORD}, {subject: 'CN=ward-5', certificate: app.crt, key: app.key}]"
        )
    )
    assert config.identities == (
        IdentitySettings("CN=ward-3,O=Clinic", "app", "admin", password_file=FOLDER / "app.password"),
        IdentitySettings("CN=ward-4", "other", "users", ScramHash.SHA_1, None, "OTHER_PASSWORD"),
        IdentitySettings("CN=ward-5", certificate=FOLDER / "app.crt", key=FOLDER / "app.key"),
    )


def test_a_password_in_a_variable_is_no_misspelt_setting() -> None:
    source = text("[{subject: 'CN=a', user: b, password_variable: SEALWIRE_APP_PASSWORD}]")
    environ = {"SEALWIRE_APP_PASSWORD": "x", "SEALWIRE_AP_PASSWORD": "x"}
    assert parse(source, environ).ignored_variables == ("SEALWIRE_AP_PASSWORD",)


@pytest.mark.parametrize(
    ("written", "subject"),
    [
        ("emailAddress=a@b,CN=c", "1.2.840.113549.1.9.1=a@b,CN=c"),
        ("1.2.840.113549.1.9.1=a@b,CN=c", "1.2.840.113549.1.9.1=a@b,CN=c"),
        ("CN=a\\\\,b", "CN=a\\,b"),
    ],
)
def test_a_subject_has_one_spelling_within(written: str, subject: str) -> None:
    source = text(f'[{{subject: "{written}", user: a, password_file: b}}]')
    assert parse(source).identities[0].subject == subject


def test_the_same_subject_may_have_an_identity_for_each_authority() -> None:
    where = "user: b, password_file: c"
    first, second = "issuer: 'emailAddress=a@b,CN=x'", "issuer: 'CN=y'"
    source = text(f"[{{subject: 'CN=a', {first}, {where}}}, {{subject: 'CN=a', {second}, {where}}}]")
    assert [each.holder for each in parse(source).identities] == [
        Holder("CN=a", "1.2.840.113549.1.9.1=a@b,CN=x"),
        Holder("CN=a", "CN=y"),
    ]


@pytest.mark.parametrize(
    "identities",
    [
        "[{subject: 'CN=a'}]",
        "[{subject: 'CN=a', user: b}]",
        "[{subject: 'CN=a', user: b, password_file: c, password_variable: D}]",
        "[{subject: 'CN=a', user: b, password_file: c, certificate: d}]",
        "[{subject: 'CN=a', user: b, password_file: c, key: d}]",
        "[{subject: 'CN=a', user: b, password_file: c, mechanism: PLAIN}]",
        "[{subject: 'CN=a', certificate: d, password_file: c}]",
        "[{subject: 'CN=a', certificate: d, database: c}]",
        "[{subject: 'ward-3', user: b, password_file: c}]",
        "[{subject: 'CN=ward-3,2.5.4.45=#0001', user: b, password_file: c}]",
        "[{subject: '', user: b, password_file: c}]",
        "[{user: b, password_file: c}]",
        "[{subject: 'CN=a', issuer: '', user: b, password_file: c}]",
        "[{subject: 'CN=a', issuer: 'Clinic CA', user: b, password_file: c}]",
        "[{subject: 'CN=a', issuer: 'CN=x', user: b, password_file: c}, "
        "{subject: 'CN=a', issuer: 'CN=x', user: d, password_file: c}]",
        "[{subject: 'CN=a', user: b, password_file: c}, {subject: 'CN=a', user: d, password_file: c}]",
    ],
)
def test_what_says_nothing_or_two_things_is_refused(identities: str) -> None:
    with pytest.raises(SourceError):
        parse(text(identities))


def test_certificates_have_to_be_verified_and_can_be_shown_with_tls_only() -> None:
    user = "[{subject: 'CN=a', user: b, password_file: c}]"
    with pytest.raises(SourceError):
        parse(text(user, listen="{certificate: proxy.crt}"))
    plain = "{mode: plaintext}"
    assert parse(text(user, upstream=plain)).identities
    with pytest.raises(SourceError):
        parse(text("[{subject: 'CN=a', certificate: b}]", upstream=plain))
