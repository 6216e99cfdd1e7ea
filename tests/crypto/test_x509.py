"""From when until when a certificate is valid, and whose it is."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sealwire.crypto.host_names import (
    ascii_host,
    authority,
    is_this_machine,
    names_host,
    server_name,
    whose_address,
)
from sealwire.crypto.x509 import (
    MAX_LINE,
    MAX_SUBJECT,
    InvalidCertificate,
    Validity,
    bundle_validities,
    certificate_names,
    certificate_validity,
    issuer_of,
    read_subject,
    subject_line,
    subject_of_pem,
    subject_spellings,
)
from sealwire.testbed.certificates import create_authority
from tests.support.rows import rows

STARTS = datetime(2024, 1, 2, tzinfo=UTC)
ENDS = datetime(2031, 3, 4, tzinfo=UTC)


def test_the_first_certificate_counts(tmp_path: Path) -> None:
    authority = create_authority(tmp_path)
    issued = authority.issue("proxy", valid_from=STARTS, valid_until=ENDS)
    chain = issued.certificate.read_bytes() + authority.certificate_file.read_bytes()
    assert certificate_validity(chain) == Validity(STARTS, ENDS)


@rows("pem", b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\xfe")
def test_what_holds_no_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidCertificate):
        certificate_validity(pem)


def test_each_certificate_of_a_bundle_has_its_own_life(tmp_path: Path) -> None:
    authority = create_authority(tmp_path)
    one = authority.issue("one", valid_from=STARTS, valid_until=ENDS).certificate.read_bytes()
    two = authority.issue("two", valid_from=STARTS, valid_until=ENDS.replace(day=5)).certificate.read_bytes()
    odd = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    lives = bundle_validities(b"# \xc3\xa9\n" + one + odd + two)
    assert (lives[0], lives[2]) == (Validity(STARTS, ENDS), Validity(STARTS, ENDS.replace(day=5)))
    assert lives[1].not_before < STARTS < ENDS < lives[1].not_after
    assert bundle_validities(b"text") == ()


def der_of(folder: Path, name: str) -> bytes:
    issued = create_authority(folder).issue(name, client=True)
    (found,) = x509.load_pem_x509_certificates(issued.certificate.read_bytes())
    return found.public_bytes(Encoding.DER)


@rows(
    "name, subject, line",
    ("ward-3", "CN=ward-3", "CN=ward-3"),
    ("a, b", "CN=a\\, b", "CN=a\\, b"),
    ("a\nb\u202ec", "CN=a\nb\u202ec", "CN=a?b?c...;f07b5e06b4aee5e9"),
)
def test_a_subject_is_whole_and_its_line_is_printable(
    tmp_path: Path, name: str, subject: str, line: str
) -> None:
    assert subject_spellings(der_of(tmp_path, name)) == (subject,)
    assert subject_line(subject) == line


def test_the_line_of_a_long_subject_is_cut_and_no_other_subjects_line() -> None:
    exact, one, two = "a" * MAX_LINE, "a" * MAX_LINE + "b", "a" * MAX_LINE + "c"
    assert subject_line(exact) == exact
    assert len(subject_line(one)) == len(subject_line(two)) == MAX_LINE
    assert subject_line(one)[:230] == one[:230]
    assert len({subject_line(each) for each in (exact, one, two)}) == 3
    (named,) = subject_spellings(
        signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a...;b")])).public_bytes(Encoding.DER)
    )
    assert "...;" not in named


def test_a_subject_without_end_names_nobody() -> None:
    def of(units: int) -> bytes:
        unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "a" * 60)
        return signed(x509.Name([unit] * units)).public_bytes(Encoding.DER)

    (longest,) = subject_spellings(of(MAX_SUBJECT // 64))
    assert len(longest) == MAX_SUBJECT - 1
    with pytest.raises(InvalidCertificate):
        subject_spellings(of(MAX_SUBJECT // 64 + 1))


@rows("data", b"", b"text", b"\x30\x03\x02\x01\x01", b"no certificate")
@rows("read", subject_spellings, issuer_of, subject_of_pem)
def test_bytes_that_are_no_certificate_have_no_subject(read: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(InvalidCertificate):
        read(data)


def test_an_issuer_is_whole_and_as_the_rfc_writes_it(tmp_path: Path) -> None:
    assert issuer_of(der_of(tmp_path, "ward-3")) == "CN=Sealwire demo authority"


def signed(name: x509.Name) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, STARTS, ENDS)
    return builder.sign(key, SHA256())


def test_a_subject_is_whole_and_in_the_spellings_of_the_rfc_and_of_openssl() -> None:
    long = "a" * 60
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "GB"),
            *(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"{long}{number}") for number in range(6)),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a,b@c"),
        ]
    )
    certificate = signed(name)
    first, second = subject_spellings(certificate.public_bytes(Encoding.DER))
    assert len(first) > MAX_LINE
    assert first.startswith(f"1.2.840.113549.1.9.1=a\\,b@c,OU={long}5,")
    assert second.startswith("emailAddress=a\\,b@c,OU=")
    assert read_subject(first) == read_subject(second) == first
    assert subject_of_pem(certificate.public_bytes(Encoding.PEM)) == first


def test_subjects_that_differ_behind_the_end_of_a_line_are_two() -> None:
    def of(end: str) -> bytes:
        units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "a" * 60) for _ in range(6)]
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, end), *units])
        return signed(name).public_bytes(Encoding.DER)

    (one,), (two,) = subject_spellings(of("one")), subject_spellings(of("two"))
    assert one[:MAX_LINE] == two[:MAX_LINE]
    assert one != two
    assert subject_line(one) != subject_line(two)


@rows(
    "text",
    *("2.5.4.45=#0001", "CN=a,2.5.4.45=ab", "CN=#616263", "O=b,CN= #0c0161", "O=b+CN=#61"),
    *("", "ward-3", "CN=a,,", "CN", "=a", "nonsense=a"),
)
def test_what_is_no_subject_is_refused(text: str) -> None:
    with pytest.raises(InvalidCertificate):
        read_subject(text)


@pytest.mark.parametrize("text", ["CN=\\#a", "CN=a#b", "CN=a=#b"])
def test_a_number_sign_in_a_text_is_read(text: str) -> None:
    assert read_subject(text) == text


def test_a_certificate_names_hosts_and_addresses_or_nobody(tmp_path: Path) -> None:
    named = create_authority(tmp_path).issue("proxy").certificate.read_bytes()
    assert {"localhost", "127.0.0.1"} <= set(certificate_names(named))
    bare = signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy.example")]))
    assert certificate_names(bare.public_bytes(Encoding.PEM)) == ()


# Which hosts a certificate's names cover: RFC 9525's rules.


@rows(
    "name, host, covered",
    ("db.example", "db.example", True),
    ("DB.Example", "db.example.", True),
    ("db.example", "db.example.org", False),
    ("db.example", "x.db.example", False),
    ("*.clinic.example", "db.clinic.example", True),
    ("*.clinic.example", "clinic.example", False),
    ("*.clinic.example", "a.b.clinic.example", False),
    ("*.example", "clinic.example", False),
    ("d*.clinic.example", "db.clinic.example", False),
    ("*", "localhost", False),
    ("xn--bcher-kva.example", "bücher.example", True),
    ("127.0.0.1", "127.0.0.1", True),
    ("127.0.0.1", "127.0.0.2", False),
    ("::1", "0:0:0:0:0:0:0:1", True),
    ("*.0.0.1", "127.0.0.1", False),
    ("db.example", "127.0.0.1", False),
)
def test_a_name_covers_a_host_or_not(name: str, host: str, covered: bool) -> None:
    assert names_host(("other.example", name), host) is covered
    assert not names_host((), host)


def test_a_host_is_written_as_urls_have_it() -> None:
    assert authority("Bücher.example", 443, 443) == "xn--bcher-kva.example"
    assert authority("::1", 8443, 443) == "[::1]:8443"
    assert ascii_host("192.0.2.1") == "192.0.2.1"


def test_addresses_are_not_indicated() -> None:
    assert server_name("192.0.2.7") is None
    assert server_name("db.example.") == b"db.example"


@rows(
    "host, is_this",
    ("127.0.0.1", True),
    ("127.8.9.10", True),
    ("::1", True),
    ("localhost", True),
    ("LOCALHOST", True),
    ("0.0.0.0", False),  # noqa: S104 - compared with
    ("::", False),
    ("10.0.0.1", False),
    ("localhost.example", False),
)
def test_this_machine_is_told_without_a_resolver(host: str, *, is_this: bool) -> None:
    assert is_this_machine(host) is is_this


@rows(
    "host, whose",
    ("192.0.2.7", "192.0.2.7"),
    ("::ffff:192.0.2.7", "192.0.2.7"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("fe80::1%eth0", "fe80::/64"),
    ("db.example", "db.example"),
)
def test_a_client_is_counted_by_the_network_of_one_customer(host: str, whose: str) -> None:
    assert whose_address(host) == whose
