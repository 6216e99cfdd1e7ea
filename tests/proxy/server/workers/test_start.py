"""Passwords and certificates of identities are loaded all or not at all, and no text shows a password."""

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.proxy.server.config.settings import Config, IdentitySettings, TlsMode, UpstreamTls
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, ServerError, StartReason
from sealwire.proxy.server.workers.start import load_identities
from sealwire.proxy.session.choices import Holder, ScramHash
from sealwire.proxy.session.login.identities import CertificateIdentity, ScramIdentity
from sealwire.testbed.certificates import Authority, create_authority
from tests.proxy.server.harness import make_config

SALT = b"salt" * 4


HOLDER = Holder("CN=a")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("authority"))


def config(*identities: IdentitySettings, authority: Authority | None = None) -> Config:
    tls = None if authority is None else UpstreamTls(TlsMode.TLS, authority.certificate_file)
    return replace(make_config(1, upstream_tls=tls), identities=identities)


def password_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "password"
    file.write_bytes(content)
    file.chmod(mode)
    return file


def user(**where: object) -> IdentitySettings:
    return replace(IdentitySettings("CN=a", user="app", database="admin"), **where)  # type: ignore[arg-type]


def test_a_password_comes_from_a_file_or_the_environment_and_is_the_same(tmp_path: Path) -> None:
    file = password_file(tmp_path, b"p\xc3\xa4ss word\r\n")
    found = []
    for where in (user(password_file=file), user(password_variable="P")):
        identity = load_identities(config(where), {"P": "päss word"}).identities[HOLDER]
        assert isinstance(identity, ScramIdentity)
        assert (identity.user, identity.database) == ("app", "admin")
        assert "ss word" not in repr(identity)
        found.append(identity.secret.salted(SALT, 4096))
    assert found[0] == found[1]


def test_sha_1_takes_mongodbs_digest_and_sha_256_the_prepared_text() -> None:
    for mechanism, same in ((ScramHash.SHA_256, True), (ScramHash.SHA_1, False)):
        found = []
        for text in ("I\u00adX", "IX"):  # a soft hyphen is mapped to nothing (RFC 4013)
            settings = user(password_variable="P", mechanism=mechanism)
            identity = load_identities(config(settings), {"P": text}).identities[HOLDER]
            assert isinstance(identity, ScramIdentity)
            found.append(identity.secret.salted(SALT, 4096))
        assert (found[0] == found[1]) is same


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", "\u0007".encode()])
def test_what_is_no_password_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FileProblem) as caught:
        load_identities(config(user(password_file=password_file(tmp_path, content))))
    assert caught.value.reason is StartReason.PASSWORD_UNUSABLE


def test_a_variable_that_is_not_set_is_refused() -> None:
    with pytest.raises(FileProblem) as caught:
        load_identities(config(user(password_variable="P")), {})
    assert caught.value.reason is StartReason.PASSWORD_UNUSABLE


def test_a_file_that_others_may_read_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError):
        load_identities(config(user(password_file=password_file(tmp_path, b"x", 0o644))))
    with pytest.raises(ServerError):
        load_identities(config(user(password_file=tmp_path / "none")))


def test_a_certificate_is_shown_on_a_way_of_its_own(authority: Authority) -> None:
    issued = authority.issue("app", client=True)
    settings = IdentitySettings("CN=a", certificate=issued.certificate, key=issued.key)
    loaded = load_identities(config(settings, authority=authority))
    assert loaded.identities == {HOLDER: CertificateIdentity("CN=app")}
    way = loaded.ways[HOLDER]
    assert way.presented == CertificateIdentity("CN=app")
    assert isinstance(way.context, ssl.SSLContext)
    assert loaded.findings == ()


def test_a_certificate_that_ends_soon_is_told(authority: Authority) -> None:
    issued = authority.issue("late", client=True, valid_until=datetime.now(UTC) + timedelta(days=5))
    settings = IdentitySettings("CN=a", certificate=issued.certificate, key=issued.key)
    (finding,) = load_identities(config(settings, authority=authority)).findings
    assert dict(finding.fields)["certificate"] == str(issued.certificate)


def test_a_key_that_others_may_read_or_of_another_certificate_is_refused(authority: Authority) -> None:
    one, two = (authority.issue(name, client=True) for name in ("one", "two"))
    settings = IdentitySettings("CN=a", certificate=one.certificate, key=two.key)
    with pytest.raises(FileProblem) as caught:
        load_identities(config(settings, authority=authority))
    assert caught.value.reason is StartReason.KEY_MISMATCH
    one.key.chmod(0o644)
    with pytest.raises(PermissionProblem):
        load_identities(
            config(IdentitySettings("CN=a", certificate=one.certificate, key=one.key), authority=authority)
        )


def test_the_same_subject_of_two_authorities_is_two_persons() -> None:
    clinic = user(password_variable="P", issuer="CN=Clinic CA", user="ward")
    supplier = user(password_variable="P", issuer="CN=Supplier CA", user="stock")
    found = load_identities(config(clinic, supplier), {"P": "p"}).identities
    assert {holder.issuer: getattr(identity, "user", "") for holder, identity in found.items()} == {
        "CN=Clinic CA": "ward",
        "CN=Supplier CA": "stock",
    }
