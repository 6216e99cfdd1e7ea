"""Certificates, keys and authorities as files: what is wrong with them is said before anything listens."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from sealwire.proxy.server.config.settings import ListenTls, TlsMode, UpstreamTls
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason
from sealwire.proxy.server.tls import TLS12_SUITES, listen_side, upstream_side
from sealwire.testbed.certificates import Authority, Issued, create_authority
from tests.proxy.server.tls_contexts import serving


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "authority")


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


def days(number: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=number)


@pytest.mark.parametrize(("ends", "is_warned_of"), [(5, True), (90, False)])
def test_a_certificate_near_its_end_is_warned_of(
    authority: Authority, ends: int, *, is_warned_of: bool
) -> None:
    side = listen_side(serving(authority.issue("proxy", valid_until=days(ends))))
    assert side.not_after is not None
    assert bool(side.warning) is is_warned_of
    assert not side.authority_warning


OUT_OF_TIME = [
    (-9, -1, StartReason.CERTIFICATE_EXPIRED),
    (1, 90, StartReason.CERTIFICATE_NOT_YET_VALID),
]


@pytest.mark.parametrize(("starts", "ends", "reason"), OUT_OF_TIME)
def test_a_certificate_out_of_its_time_is_refused_on_both_sides(
    authority: Authority, starts: int, ends: int, reason: StartReason
) -> None:
    issued = authority.issue("proxy", valid_from=days(starts), valid_until=days(ends))
    inner = UpstreamTls(TlsMode.TLS, authority.certificate_file, issued.certificate, issued.key)
    for load in (partial(listen_side, serving(issued)), partial(upstream_side, inner)):
        with pytest.raises(FileProblem) as caught:
            load()
        assert caught.value.reason is reason
        assert str(issued.certificate) in str(caught.value)
        assert caught.value.hint


def bundle(authority: Authority, *lives: tuple[int, int]) -> Path:
    file = authority.folder / "bundle.crt"
    issued = [
        authority.issue(f"ca{number}", valid_from=days(starts), valid_until=days(ends))
        for number, (starts, ends) in enumerate(lives)
    ]
    file.write_bytes(b"".join(each.certificate.read_bytes() for each in issued))
    return file


@pytest.mark.parametrize(("starts", "ends", "reason"), OUT_OF_TIME)
def test_authorities_of_which_none_is_valid_are_refused_on_both_sides(
    authority: Authority, starts: int, ends: int, reason: StartReason
) -> None:
    file, issued = bundle(authority, (starts, ends - 1), (starts, ends)), authority.issue("proxy")
    outer, inner = serving(issued, client_ca=file), UpstreamTls(TlsMode.TLS, file)
    for load in (partial(listen_side, outer), partial(upstream_side, inner)):
        with pytest.raises(FileProblem) as caught:
            load()
        assert caught.value.reason is reason
        assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("lives", "word"),
    [
        (((-9, -1), (-1, 90)), "expired"),
        (((-1, 5), (-1, 6)), "soon"),
        (((-1, 5), (-1, 90)), ""),
        (((-1, 5), (1, 90)), "soon"),
    ],
)
def test_authorities_near_their_end_or_past_it_are_warned_of(
    authority: Authority, lives: tuple[tuple[int, int], ...], word: str
) -> None:
    file, issued = bundle(authority, *lives), authority.issue("proxy")
    outer, inner = listen_side(serving(issued, client_ca=file)), upstream_side(UpstreamTls(TlsMode.TLS, file))
    for side in (outer, inner):
        assert word in side.authority_warning
        assert bool(word) is bool(side.authority_warning)
