"""What is read out of certificates, sound and odd ones."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sealwire.sidecars.tls_check.certificate.certificate import MAX_TEXT, describe, printable
from tests.sidecars.tls_check.certificates import Key, Odd, make, make_authority, write_sha1


@pytest.mark.parametrize(
    ("key", "text", "strong"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "RSA 1024", False),  # noqa: S505 - the point
        (lambda: rsa.generate_private_key(65537, 2048), "RSA 2048", True),
        (lambda: ec.generate_private_key(ec.SECP224R1()), "ECDSA secp224r1", False),
        (lambda: ec.generate_private_key(ec.SECP256R1()), "ECDSA secp256r1", True),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519", True),
    ],
)
def test_a_key_is_named_and_weighed(key: Callable[[], Key], text: str, strong: bool) -> None:
    facts = describe(make(Odd(), key()).certificate)
    assert (facts.key, facts.key_strong) == (text, strong)


def test_a_signature_is_named_and_weighed(tmp_path: Path) -> None:
    weak = describe(x509.load_pem_x509_certificate(write_sha1(tmp_path).read_bytes()))
    assert (weak.signature, weak.signature_strong) == ("sha1", False)
    strong = describe(make(Odd(digest=hashes.SHA384())).certificate)
    assert (strong.signature, strong.signature_strong) == ("sha384", True)
    edwards = describe(make(Odd(), ed25519.Ed25519PrivateKey.generate()).certificate)
    assert (edwards.signature, edwards.signature_strong) == ("ed25519", True)


def test_names_addresses_and_who_made_it_are_read() -> None:
    authority = make_authority("the authority")
    facts = describe(
        make(Odd(names=("db.example", "*.db.example", "192.0.2.1")), issuer=authority).certificate
    )
    assert facts.names == ("db.example", "*.db.example", "192.0.2.1")
    assert (facts.subject, facts.issuer, facts.self_signed) == ("CN=odd", "CN=the authority", False)
    assert describe(authority.certificate).self_signed
    assert describe(authority.certificate).names == ()


def test_where_revocation_is_published_is_read() -> None:
    odd = Odd(ocsp="http://ocsp.example/", crl="http://crl.example/ca.crl", must_staple=True)
    facts = describe(make(odd).certificate)
    assert facts.ocsp == ("http://ocsp.example/",)
    assert facts.crl == ("http://crl.example/ca.crl",)
    assert facts.must_staple
    assert not describe(make(Odd()).certificate).must_staple


def test_names_that_others_chose_are_harmless_in_a_terminal() -> None:
    facts = describe(make(Odd(common_name="\x1b[2J\r\nevil")).certificate)
    assert facts.subject.isprintable()
    assert len(printable("x" * 1000)) == MAX_TEXT
