"""Groups that are too small are found where a server takes them, and nothing is said of one that does not."""

import math
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealwire.sidecars.tls_check.connection.client_hello import ProtocolVersion
from sealwire.sidecars.tls_check.connection.offers import accepted_versions, weak_groups
from sealwire.sidecars.tls_check.connection.stream import StreamFailed, Trouble
from sealwire.sidecars.tls_check.connection.suites import SUITES
from tests.sidecars.tls_check.certificates import Key, Odd, make
from tests.sidecars.tls_check.connection.test_offers import Counting, Scripted
from tests.sidecars.tls_check.memory_server import server_context

V12, V13 = ProtocolVersion.TLS12, ProtocolVersion.TLS13
DHE, ECDHE = SUITES[0x009E], SUITES[0xC02B]

# The second Oakley group, of 1024 bits (RFC 2409 section 6.2).
OAKLEY = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    16,
)


def old_server(folder: Path, suites: str, key: Key | None = None) -> ssl.SSLContext:
    pem = make(Odd(), key=key).write(folder, "server")
    return server_context(pem, maximum=ssl.TLSVersion.TLSv1_2, suites=f"{suites}:@SECLEVEL=0")


@pytest.fixture
def finite(tmp_path: Path) -> ssl.SSLContext:
    return old_server(tmp_path, "DHE-RSA-AES128-GCM-SHA256", rsa.generate_private_key(65537, 2048))


def test_a_field_of_1024_bits_is_found(tmp_path: Path, finite: ssl.SSLContext) -> None:
    # PKCS #3: a sequence of the prime and the generator 2
    parameters = bytes.fromhex("30818702818100") + OAKLEY.to_bytes(128, "big") + bytes((2, 1, 2))
    path = tmp_path / "dh.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(parameters).replace("CERTIFICATE", "DH PARAMETERS"))
    finite.load_dh_params(str(path))
    (found,) = weak_groups(Counting(finite), V12, [DHE], "localhost")
    assert "1024" in found


def test_a_named_field_of_2048_bits_is_none(finite: ssl.SSLContext) -> None:
    assert weak_groups(Counting(finite), V12, [DHE], "localhost") == ()


def test_a_small_curve_is_found(tmp_path: Path) -> None:
    context = old_server(tmp_path, "ECDHE-RSA-AES128-GCM-SHA256", rsa.generate_private_key(65537, 2048))
    context.set_ecdh_curve("prime192v1")
    (found,) = weak_groups(Counting(context), V12, [SUITES[0xC02F]], "localhost")
    assert "secp192r1" in found


def test_a_server_that_takes_large_curves_only_refuses(tmp_path: Path) -> None:
    context = old_server(tmp_path, "ECDHE+AESGCM")
    assert weak_groups(Counting(context), V12, [ECDHE], "localhost") == ()


def test_a_server_whose_certificate_is_of_a_small_curve_speaks_tls(tmp_path: Path) -> None:
    context = old_server(tmp_path, "ECDHE+AESGCM", ec.generate_private_key(ec.SECP192R1()))
    found = accepted_versions(Counting(context), "localhost", math.inf)
    assert [each.version for each in found if each.suites] == [V12]


def test_tls_13_is_not_asked(finite: ssl.SSLContext) -> None:
    dial = Counting(finite)
    assert weak_groups(dial, V13, [DHE, ECDHE], "localhost") == ()
    assert dial.servers == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 no\r\n\r\n",
        bytes((21, 3, 3, 0, 2, 2, 40)),  # an alert
        bytes((22, 3, 3, 0, 4, 14, 0, 0, 0)),  # the end of a flight without a key exchange
        bytes((22, 3, 3, 0, 6, 12, 0, 0, 2, 8, 0)),  # a prime that is cut off
        bytes((22, 3, 3, 0, 4, 12, 0, 0, 0)),
    ],
)
def test_what_a_stranger_answers_is_no_group(answer: bytes) -> None:
    assert weak_groups(lambda: Scripted(answer), V12, [DHE, ECDHE], "localhost") == ()


def test_silence_is_not_taken_for_a_refusal() -> None:
    with pytest.raises(StreamFailed) as caught:
        weak_groups(lambda: Scripted(trouble=Trouble.TIMEOUT), V12, [DHE], "localhost")
    assert caught.value.trouble is Trouble.TIMEOUT
