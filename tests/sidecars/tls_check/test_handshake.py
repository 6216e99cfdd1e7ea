"""A handshake accepts everything, and tells what was wrong: trust, names, client certificates, refusals."""

import ssl
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from sealwire.sidecars.tls_check.certificate import Trust, load_identity
from sealwire.sidecars.tls_check.handshake import ClientCertificate, StreamFailed, TlsStream, Trouble
from tests.sidecars.tls_check.certificates import (
    Made,
    MemoryServer,
    Odd,
    make,
    make_authority,
    server_context,
)

AUTHORITY = make_authority()
TRUST = Trust((AUTHORITY.certificate,))
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def shake(context: ssl.SSLContext, trust: Trust = TRUST) -> TlsStream:
    tls = TlsStream(MemoryServer(context), "localhost", trust)
    tls.shake_hands()
    return tls


def distrust(tmp_path: Path, made: Made, *more: Made, trust: Trust = TRUST) -> str:
    return shake(server_context(made.write(tmp_path, "server", *more)), trust).distrust


def test_the_chain_is_what_the_server_sends_its_own_certificate_first(tmp_path: Path) -> None:
    made = make(Odd(), issuer=AUTHORITY)
    tls = shake(server_context(made.write(tmp_path, "server", AUTHORITY)))
    assert tls.chain == (made.certificate, AUTHORITY.certificate)
    assert tls.verified_chain == (made.certificate, AUTHORITY.certificate)
    assert (tls.version, tls.staple) == ("TLSv1.3", b"")


def test_the_issuer_is_completed_from_the_trusted_authorities(tmp_path: Path) -> None:
    made = make(Odd(), issuer=AUTHORITY)
    tls = shake(server_context(made.write(tmp_path, "server")))
    assert tls.chain == (made.certificate,)
    assert tls.verified_chain == (made.certificate, AUTHORITY.certificate)


def test_an_authority_that_is_trusted_vouches(tmp_path: Path) -> None:
    assert distrust(tmp_path, make(Odd(), issuer=AUTHORITY)) == ""


def test_a_self_signed_certificate_is_trusted_only_where_it_is_named(tmp_path: Path) -> None:
    made = make(Odd())
    assert distrust(tmp_path, made) != ""
    assert distrust(tmp_path, made, trust=Trust((made.certificate,))) == ""


def test_an_unknown_authority_is_not_trusted_whether_it_is_sent_or_not(tmp_path: Path) -> None:
    other = make_authority("other")
    made = make(Odd(), issuer=other)
    assert distrust(tmp_path, made) != ""
    assert distrust(tmp_path, made, other) != ""


def test_a_certificate_that_is_no_authority_vouches_for_nothing(tmp_path: Path) -> None:
    middle = make(Odd(common_name="middle"), issuer=AUTHORITY)
    assert distrust(tmp_path, make(Odd(), issuer=middle), middle) != ""


def test_a_clients_certificate_is_not_a_servers(tmp_path: Path) -> None:
    made = make(Odd(usage=ExtendedKeyUsageOID.CLIENT_AUTH), issuer=AUTHORITY)
    assert distrust(tmp_path, made) != ""


def test_the_age_of_what_was_sent_is_no_reason_for_distrust(tmp_path: Path) -> None:
    assert distrust(tmp_path, make(Odd(days_ago=9, days_left=-1), issuer=AUTHORITY)) == ""


def test_an_authority_of_our_own_that_has_expired_is_one(tmp_path: Path) -> None:
    old = make(Odd(common_name="old", authority=True, names=(), days_ago=9, days_left=-1))
    assert distrust(tmp_path, make(Odd(), issuer=old), trust=Trust((old.certificate,))) != ""


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (ssl.CERT_NONE, ClientCertificate.NOT_ASKED),
        (ssl.CERT_OPTIONAL, ClientCertificate.OPTIONAL),
        (ssl.CERT_REQUIRED, ClientCertificate.REQUIRED),
    ],
)
def test_whether_a_client_certificate_is_wanted_is_seen(
    tmp_path: Path, version: ssl.TLSVersion, mode: ssl.VerifyMode, expected: ClientCertificate
) -> None:
    context = client_checking(tmp_path, version, mode)
    tls = TlsStream(MemoryServer(context, reply=b"hello"), "localhost", TRUST)
    if expected is ClientCertificate.REQUIRED:
        with pytest.raises(StreamFailed) as raised:
            speak(tls)
        assert raised.value.trouble is Trouble.ALERT
    else:
        assert speak(tls) == b"hello"
    assert tls.client_certificate is expected
    assert tls.chain


@pytest.mark.parametrize("version", [V12, V13])
def test_with_a_certificate_the_server_lets_us_in(tmp_path: Path, version: ssl.TLSVersion) -> None:
    context = client_checking(tmp_path, version, ssl.CERT_REQUIRED)
    client = make(Odd(usage=ExtendedKeyUsageOID.CLIENT_AUTH), issuer=AUTHORITY).write(tmp_path, "client")
    tls = TlsStream(MemoryServer(context, reply=b"hello"), "localhost", TRUST, load_identity(client))
    assert speak(tls) == b"hello"


@pytest.mark.parametrize(("mode", "refused"), [(ssl.CERT_OPTIONAL, False), (ssl.CERT_REQUIRED, True)])
def test_a_refusal_after_the_handshake_is_waited_for(
    tmp_path: Path, mode: ssl.VerifyMode, refused: bool
) -> None:
    tls = TlsStream(MemoryServer(client_checking(tmp_path, V13, mode)), "localhost", TRUST)
    tls.shake_hands()
    if refused:
        with pytest.raises(StreamFailed):
            tls.await_refusal()
    else:
        tls.await_refusal()
    assert (tls.client_certificate is ClientCertificate.REQUIRED) == refused


def test_a_server_of_old_versions_only_is_still_shown(tmp_path: Path) -> None:
    made = make(Odd(), issuer=AUTHORITY)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context = server_context(
            made.write(tmp_path, "server"),
            minimum=ssl.TLSVersion.TLSv1,
            maximum=ssl.TLSVersion.TLSv1,
            suites="ALL:@SECLEVEL=0",
        )
    tls = shake(context)
    assert tls.version == "TLSv1"
    assert tls.chain == (made.certificate,)


def test_a_server_that_hangs_up_is_said_to() -> None:
    class HangsUp:
        def send(self, content: bytes) -> None:
            pass

        def receive(self, max_bytes: int) -> bytes:
            return bytes(max_bytes)[:0]

        def close(self) -> None:
            pass

    with pytest.raises(StreamFailed) as raised:
        TlsStream(HangsUp(), "localhost", TRUST).shake_hands()
    assert raised.value.trouble is Trouble.CLOSED


def client_checking(tmp_path: Path, version: ssl.TLSVersion, mode: ssl.VerifyMode) -> ssl.SSLContext:
    pem = make(Odd(), issuer=AUTHORITY).write(tmp_path, "server")
    context = server_context(pem, minimum=version, maximum=version)
    context.load_verify_locations(AUTHORITY.write(tmp_path, "authority"))
    context.verify_mode = mode
    return context


def speak(tls: TlsStream) -> bytes:
    tls.shake_hands()
    tls.send(b"question")
    return tls.receive(100)
