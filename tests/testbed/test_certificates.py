"""The demo's authority: what it signs is accepted where it should be and nowhere else."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from sealwire.testbed.certificates import Authority, create_authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "tls")


def loaded(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def verify_host(authority: Authority, certificate: x509.Certificate, host: str) -> None:
    builder = PolicyBuilder().store(Store([loaded(authority.certificate_file)]))
    builder.build_server_verifier(x509.DNSName(host)).verify(certificate, [])


def test_a_server_certificate_is_good_for_its_names_only(authority: Authority) -> None:
    certificate = loaded(authority.issue("database").certificate)
    verify_host(authority, certificate, "localhost")
    with pytest.raises(VerificationError):
        verify_host(authority, certificate, "elsewhere.example")


def test_it_names_the_loopback_addresses(authority: Authority) -> None:
    certificate = loaded(authority.issue("database").certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    now = datetime.now(UTC)
    issued = authority.issue("old", valid_from=now - timedelta(days=9), valid_until=now - timedelta(days=2))
    with pytest.raises(VerificationError):
        verify_host(authority, loaded(issued.certificate), "localhost")


def test_another_authority_does_not_vouch_for_it(authority: Authority, tmp_path: Path) -> None:
    other = create_authority(tmp_path / "other")
    with pytest.raises(VerificationError):
        verify_host(other, loaded(authority.issue("database").certificate), "localhost")


def test_a_client_certificate_is_not_a_servers(authority: Authority) -> None:
    certificate = loaded(authority.issue("clinic", client=True).certificate)
    with pytest.raises(VerificationError):
        verify_host(authority, certificate, "localhost")


def test_keys_are_private_and_fit_their_certificates(authority: Authority) -> None:
    issued = authority.issue("database")
    for file in (issued.key, issued.combined):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        key = load_pem_private_key(file.read_bytes(), None)
        assert key.public_key() == loaded(issued.certificate).public_key()
    assert loaded(issued.combined) == loaded(issued.certificate)


def test_issuing_under_the_same_name_replaces_the_files(authority: Authority) -> None:
    first = loaded(authority.issue("database").certificate)
    second = loaded(authority.issue("database").certificate)
    assert first.serial_number != second.serial_number


def test_the_authoritys_repr_shows_no_key(authority: Authority) -> None:
    assert "Key" not in repr(authority)
