"""What is read out of certificates, sound and odd ones."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from sealwire.sidecars.tls_check.certificate import (
    MAX_TEXT,
    Revocation,
    Status,
    Via,
    check_revocation,
    describe,
    printable,
)
from sealwire.sidecars.tls_check.handshake import ClientCertificate, HttpAnswer, Trouble
from sealwire.sidecars.tls_check.judging import RULES, RuleSet, Severity, Thresholds, judge
from sealwire.sidecars.tls_check.offers import ProtocolVersion, Support, VersionSupport
from sealwire.sidecars.tls_check.target import EndpointFacts, Plaintext, Presented
from tests.sidecars.tls_check.certificates import (
    DATABASE,
    PRESENTED,
    VERSIONS,
    WEB,
    Key,
    Made,
    Odd,
    certificate,
    days,
    make,
    make_authority,
    target_facts,
    version,
    write_sha1,
)


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


# Only an answer that the issuer signed, for this certificate, in time, counts; all else is unknown.

AUTHORITY = make_authority()
OTHER = make_authority("another authority")
SERVER = make(Odd(ocsp="http://ocsp.example/", crl="http://crl.example/"), issuer=AUTHORITY)
NEIGHBOUR = make(Odd(), issuer=AUTHORITY)
RESPONDER = make(Odd(common_name="responder", usage=ExtendedKeyUsageOID.OCSP_SIGNING), issuer=AUTHORITY)
NO_RESPONDER = make(Odd(common_name="a server"), issuer=AUTHORITY)
OLD_RESPONDER = make(
    Odd(common_name="old", usage=ExtendedKeyUsageOID.OCSP_SIGNING, days_ago=9, days_left=-1), issuer=AUTHORITY
)
GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
HOUR = timedelta(hours=1)


def response(
    status: ocsp.OCSPCertStatus = GOOD,
    *,
    about: Made = SERVER,
    signer: Made = AUTHORITY,
    issuer: Made = AUTHORITY,
    made: timedelta = -HOUR,
    until: timedelta = HOUR,
) -> bytes:
    now = datetime.now(UTC)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=about.certificate,
        issuer=issuer.certificate,
        algorithm=hashes.SHA1(),  # noqa: S303 - as authorities do
        cert_status=status,
        this_update=now + made,
        next_update=now + until,
        revocation_time=now - HOUR if status is REVOKED else None,
        revocation_reason=None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if signer is not AUTHORITY:
        builder = builder.certificates([signer.certificate])
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def revocation_list(*revoked: Made, signer: Made = AUTHORITY, until: timedelta = HOUR) -> bytes:
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(AUTHORITY.certificate.subject)
    builder = builder.last_update(now - 2 * HOUR).next_update(now + until)
    for made in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(made.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(now - HOUR).build())
    crl = builder.sign(signer.key, hashes.SHA256())
    return crl.public_bytes(serialization.Encoding.DER)


@dataclass
class Web:
    """What is found at the two addresses in the certificate; None: nothing answers."""

    ocsp: bytes | None = None
    crl: bytes | None = None
    asked: list[str] = field(default_factory=list)

    def __call__(self, url: str, body: bytes | None) -> bytes:
        self.asked.append(url)
        found = {"http://ocsp.example/": self.ocsp, "http://crl.example/": self.crl}[url]
        assert (body is not None) == ("ocsp" in url)
        if found is None:
            raise OSError
        return found


def check(staple: bytes = b"", web: Web | None = None, issuer: Made | None = AUTHORITY) -> Revocation:
    return check_revocation(SERVER.certificate, issuer.certificate if issuer else None, staple, web)


@pytest.mark.parametrize(("status", "expected"), [(GOOD, Status.GOOD), (REVOKED, Status.REVOKED)])
@pytest.mark.parametrize("signer", [AUTHORITY, RESPONDER])
def test_a_stapled_response_counts(status: ocsp.OCSPCertStatus, expected: Status, signer: Made) -> None:
    web = Web()
    assert check(response(status, signer=signer), web) == Revocation(expected, Via.STAPLE, True, True)
    assert web.asked == []


@pytest.mark.parametrize(
    "staple",
    [
        response(UNKNOWN),
        response(about=NEIGHBOUR),
        response(signer=OTHER),
        response(issuer=OTHER),
        response(signer=NO_RESPONDER),
        response(signer=OLD_RESPONDER),
        response(made=-3 * HOUR, until=-HOUR),
        response(made=HOUR, until=2 * HOUR),
        ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(
            serialization.Encoding.DER
        ),
        response()[:-1] + bytes((response()[-1] ^ 1,)),
        b"\x30\x03\x0a\x01",
        b"no response",
    ],
)
def test_what_is_no_answer_about_this_certificate_does_not_count(staple: bytes) -> None:
    assert check(staple) == Revocation(Status.NOT_ASKED, Via.NOTHING, True, False)
    assert check(staple, Web(ocsp=staple)).status is Status.UNKNOWN


def test_without_the_issuer_nothing_can_count() -> None:
    assert check(response(), issuer=None).staple_valid is False
    assert check(b"", Web(ocsp=response()), issuer=None).status is Status.UNKNOWN


def test_nobody_is_asked_unless_it_is_asked_for() -> None:
    assert check() == Revocation()


def test_the_responder_is_asked_and_then_the_list() -> None:
    web = Web(ocsp=response(REVOKED))
    assert check(web=web) == Revocation(Status.REVOKED, Via.OCSP)
    assert web.asked == ["http://ocsp.example/"]
    web = Web(crl=revocation_list(NEIGHBOUR))
    assert check(web=web) == Revocation(Status.GOOD, Via.CRL)
    assert web.asked == ["http://ocsp.example/", "http://crl.example/"]


def test_a_certificate_on_the_list_is_revoked() -> None:
    assert check(web=Web(crl=revocation_list(NEIGHBOUR, SERVER))).status is Status.REVOKED


@pytest.mark.parametrize(
    "crl", [revocation_list(signer=OTHER), revocation_list(until=-HOUR), b"", b"no list", None]
)
def test_a_list_that_is_old_or_of_somebody_else_does_not_count(crl: bytes | None) -> None:
    assert check(web=Web(crl=crl)) == Revocation(Status.UNKNOWN)


# Each rule is broken by what it is about, and by nothing else.


V10, V11, V12, V13 = ProtocolVersion


def broken(facts: EndpointFacts, rules: RuleSet | None = None, **target: Any) -> set[str]:
    return {finding.rule for finding in judge(target_facts(facts, **target), rules or RuleSet())}


def shown(**changes: Any) -> EndpointFacts:
    return replace(DATABASE, presented=replace(PRESENTED, **changes))


def chain(**changes: Any) -> EndpointFacts:
    return shown(chain=(certificate(**changes),))


def versions(*found: VersionSupport) -> EndpointFacts:
    return replace(DATABASE, versions=found)


def http(*answer: Any) -> EndpointFacts:
    return replace(WEB, http=HttpAnswer(*answer))


UNSEEN = EndpointFacts(DATABASE.endpoint)
SILENT = tuple(VersionSupport(number, Support.UNKNOWN, trouble=Trouble.TIMEOUT) for number in ProtocolVersion)
REFUSED = tuple(version(number) for number in ProtocolVersion)

CASES: list[tuple[str, EndpointFacts]] = [
    ("unreachable", replace(UNSEEN, trouble=Trouble.REFUSED)),
    ("unreachable", replace(UNSEEN, versions=SILENT, trouble=Trouble.TIMEOUT, plaintext=Plaintext.REFUSED)),
    ("no-tls", replace(UNSEEN, versions=REFUSED, plaintext=Plaintext.REFUSED)),
    ("plaintext-accepted", replace(DATABASE, plaintext=Plaintext.ACCEPTED)),
    (
        "group-weak",
        versions(*VERSIONS[:2], replace(VERSIONS[2], weak_groups=("the curve secp192r1",)), VERSIONS[3]),
    ),
    ("renegotiation", shown(renegotiates=True)),
    ("protocol-tls10", versions(version(V10, 0xC02F), *VERSIONS[1:])),
    ("protocol-tls11", versions(VERSIONS[0], version(V11, 0xC02F), *VERSIONS[2:])),
    ("no-tls13", versions(*VERSIONS[:3], version(V13))),
    ("incomplete", versions(*VERSIONS[:3], replace(VERSIONS[3], trouble=Trouble.TIMEOUT))),
    ("suite-insecure", versions(*VERSIONS[:2], version(V12, 0xC02F, 0x0005), VERSIONS[3])),
    ("suite-no-forward-secrecy", versions(*VERSIONS[:2], version(V12, 0xC02F, 0x009C), VERSIONS[3])),
    ("suite-legacy", versions(*VERSIONS[:2], version(V12, 0xC02F, 0xC013), VERSIONS[3])),
    ("handshake-failed", replace(DATABASE, presented=None, trouble=Trouble.ALERT)),
    ("handshake-failed", replace(DATABASE, presented=None)),
    ("handshake-failed", replace(DATABASE, trouble=Trouble.CLOSED)),
    ("chain-untrusted", shown(distrust="no trusted authority")),
    ("name-mismatch", shown(names_host=False)),
    ("certificate-expired", chain(not_after=days(-1))),
    ("certificate-not-yet-valid", chain(not_before=days(1))),
    ("certificate-expires-soon", chain(not_after=days(20))),
    ("certificate-expires-now", chain(not_after=days(6))),
    ("key-weak", chain(key="RSA 1024", key_strong=False)),
    ("signature-weak", chain(signature="sha1", signature_strong=False)),
    ("signature-weak", chain(signature="sha1", signature_strong=False, self_signed=True)),
    ("certificate-expired", shown(chain=(*PRESENTED.chain, certificate(not_after=days(-1))))),
    ("revoked", shown(revocation=Revocation(Status.REVOKED, Via.CRL))),
    ("revocation-unknown", shown(revocation=Revocation(Status.UNKNOWN))),
    ("staple-invalid", shown(revocation=Revocation(stapled=True))),
    ("must-staple-missing", chain(must_staple=True)),
    ("mongodb-hello", replace(DATABASE, application_trouble=Trouble.PROTOCOL)),
    ("https-answer", replace(WEB, http=None, application_trouble=Trouble.PROTOCOL)),
    ("hsts-missing", http(200, "", None)),
    ("hsts-missing", http(200, "", "includeSubDomains")),
    ("hsts-short", http(200, "", "max-age=86400")),
    ("http-not-redirected", replace(WEB, plaintext=Plaintext.ACCEPTED)),
]


def demanding() -> Presented:
    return replace(PRESENTED, client_certificate=ClientCertificate.REQUIRED)


@pytest.mark.parametrize(("rule", "facts"), CASES)
def test_a_rule_is_broken_alone(rule: str, facts: EndpointFacts) -> None:
    assert broken(facts) == {rule}


ROOT = certificate(self_signed=True, signature="sha1", signature_strong=False)


@pytest.mark.parametrize(
    ("rules", "facts"),
    [
        (set(), DATABASE),
        (set(), WEB),
        (set(), shown(chain=(*PRESENTED.chain, ROOT))),
        ({"protocol-tls10", "no-modern-protocol"}, versions(version(V10, 0xC02F), *REFUSED[1:])),
        (
            {"no-tls", "plaintext-accepted"},
            replace(UNSEEN, versions=REFUSED, plaintext=Plaintext.ACCEPTED),
        ),
        (
            {"client-certificate-needed"},
            replace(DATABASE, presented=demanding(), application_trouble=Trouble.ALERT),
        ),
    ],
    ids=[
        "database",
        "web",
        "an authority's own signature",
        "old versions",
        "plaintext only",
        "not looked inside",
    ],
)
def test_sound_endpoints_break_no_rule_and_others_several(rules: set[str], facts: EndpointFacts) -> None:
    assert broken(facts) == rules


def test_mutual_tls_can_be_demanded() -> None:
    rules = RuleSet({"client-certificate-not-demanded": Severity.FAIL})
    assert broken(DATABASE, rules) == {"client-certificate-not-demanded"}
    assert broken(replace(DATABASE, presented=demanding()), rules) == set()


@pytest.mark.parametrize(
    ("change", "rule"),
    [({"asks_for_tls": False}, "uri-without-tls"), ({"verifies": False}, "uri-unverified")],
)
def test_a_connection_string_that_weakens_tls_is_found(change: dict[str, Any], rule: str) -> None:
    assert broken(DATABASE, None, **change) == {rule}


def test_rules_change_their_severity_and_can_be_off() -> None:
    weak = target_facts(shown(names_host=False, distrust="x"))
    found = judge(weak, RuleSet({"name-mismatch": Severity.WARN, "chain-untrusted": Severity.OFF}))
    assert [(finding.rule, finding.severity) for finding in found] == [("name-mismatch", Severity.WARN)]


def test_thresholds_move_the_rules() -> None:
    facts = chain(not_after=days(20))
    assert broken(facts, RuleSet(thresholds=Thresholds(expires_warn_days=19))) == set()
    assert broken(facts, RuleSet(thresholds=Thresholds(expires_fail_days=21))) == {"certificate-expires-now"}


def test_failures_come_first() -> None:
    facts = replace(chain(not_after=days(20), key_strong=False), versions=(*VERSIONS[:3], version(V13)))
    severities = [finding.severity for finding in judge(target_facts(facts), RuleSet())]
    assert severities == [Severity.FAIL, Severity.WARN, Severity.WARN]


def test_every_rule_is_tested_here() -> None:
    tested = {rule for rule, _ in CASES} | {
        "no-modern-protocol",
        "client-certificate-needed",
        "client-certificate-not-demanded",
        "uri-without-tls",
        "uri-unverified",
    }
    assert tested == set(RULES)
