"""Child processes end when told, and what they printed can be read."""

import socket
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from sealwire.testbed import child
from sealwire.testbed.certificates import Authority, create_authority
from sealwire.testbed.child import LOOPBACK, MAX_HELD, Child, free_port
from sealwire.testbed.errors import TestbedError, TestbedReason

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def wait_for_output(child: Child, text: str) -> None:
    while text not in child.last_lines():
        assert child.exit_code is None


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "print('one'); print('two'); raise SystemExit(3)"], tmp_path / "log")
    while child.exit_code is None:
        pass
    assert child.exit_code == 3
    assert child.last_lines() == "one\ntwo"
    assert child.stop() == 3


def test_stop_ends_it_with_sigterm(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"], tmp_path / "log"
    )
    wait_for_output(child, "ready")
    assert child.stop() == -15
    assert child.stop() == -15


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.testbed.child.TERMINATE_WITHIN_S", 0.05)
    child = Child([sys.executable, "-c", STUBBORN], tmp_path / "log")
    wait_for_output(child, "ready")
    assert child.stop() == -9


def test_only_the_end_of_long_output_is_shown(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "for n in range(9000): print(n)"], tmp_path / "log")
    while child.exit_code is None:
        pass
    assert child.last_lines().split() == [str(number) for number in range(8994, 9000)]


def test_a_given_environment_replaces_the_own(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import os; print(sorted(os.environ))"], tmp_path / "log", {"ONLY": "this"}
    )
    while child.exit_code is None:
        pass
    assert "ONLY" in child.last_lines()
    assert "PATH" not in child.last_lines()


def test_waiting_ends_when_it_answers_or_says_why_not(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"], tmp_path / "a"
    )
    child.wait_until(lambda: "ready" in child.last_lines(), "it")
    with pytest.raises(TestbedError) as silent:
        child.wait_until(lambda: False, "it", within_s=0)
    child.stop()
    with pytest.raises(TestbedError) as died:
        child.wait_until(lambda: False, "it")
    assert (silent.value.reason, died.value.reason) == (TestbedReason.SILENT, TestbedReason.DIED)


def test_nobody_else_gets_it_and_a_client_is_refused() -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port))
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((LOOPBACK, port))


def test_a_server_has_it_and_has_it_again() -> None:
    port = free_port()
    for _ in range(2):
        with socket.create_server((LOOPBACK, port)), socket.create_connection((LOOPBACK, port)) as client:
            assert client.getpeername() == (LOOPBACK, port)


def test_two_processes_of_one_server_can_share_it() -> None:
    port = free_port()
    with (
        socket.create_server((LOOPBACK, port), reuse_port=True),
        socket.create_server((LOOPBACK, port), reuse_port=True),
    ):
        pass


def test_so_many_are_held_and_no_more() -> None:
    given = [free_port() for _ in range(MAX_HELD + 10)]
    assert len(set(given[-MAX_HELD:])) == MAX_HELD
    assert len(child._held) == MAX_HELD


# The demo's authority: what it signs is accepted where it should be and nowhere else.


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
