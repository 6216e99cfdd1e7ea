"""The rules, what an operator can set of them, and which of them a server breaks. Judging reads nothing."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from sealwire.files.yaml_source import Node, parse_yaml
from sealwire.sidecars.tls_check.certificate import CertificateFacts, Status
from sealwire.sidecars.tls_check.handshake import ClientCertificate
from sealwire.sidecars.tls_check.offers import ProtocolVersion, Support
from sealwire.sidecars.tls_check.suites import SuiteVerdict
from sealwire.sidecars.tls_check.target import EndpointFacts, Plaintext, Presented, TargetFacts, TargetKind


class Severity(Enum):
    """What a finding means for the exit code."""

    OFF = "off"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class TlsRule:
    """One rule. `explanation` says why it matters, `remedy` what to do, `source` who says so."""

    id: str
    severity: Severity
    explanation: str
    remedy: str
    source: str


def _rules(*rows: tuple[str, Severity, str, str, str]) -> dict[str, TlsRule]:
    return {row[0]: TlsRule(*row) for row in rows}


_FAIL, _WARN, _OFF = Severity.FAIL, Severity.WARN, Severity.OFF
_NCSC = "NCSC, Using TLS to protect data"

RULES: dict[str, TlsRule] = _rules(
    ("unreachable", _FAIL, "nothing can be said of a server that does not answer",
     "check address, firewall and service", "-"),
    ("no-tls", _FAIL, "the port does not speak TLS: everything on it can be read on the way",
     "turn TLS on at the server", "UK GDPR article 32"),
    ("plaintext-accepted", _FAIL, "the server also answers without TLS, so a client may send data in clear",
     "MongoDB: tlsMode requireTLS", "UK GDPR article 32, RFC 9325 section 3.2"),
    ("uri-without-tls", _FAIL, "the connection string does not turn TLS on",
     "add tls=true", "MongoDB connection string options"),
    ("uri-unverified", _FAIL, "the connection string turns verification off: anybody can read along",
     "remove tlsInsecure, tlsAllowInvalidCertificates and tlsAllowInvalidHostnames; set tlsCAFile",
     "RFC 9525, RFC 5280 section 6"),
    ("protocol-tls10", _FAIL, "TLS 1.0 is deprecated", "allow TLS 1.2 and 1.3 only", "RFC 8996"),
    ("protocol-tls11", _FAIL, "TLS 1.1 is deprecated", "allow TLS 1.2 and 1.3 only", "RFC 8996"),
    ("no-modern-protocol", _FAIL, "neither TLS 1.2 nor TLS 1.3 is offered", "update the server",
     "RFC 9325 section 3.1.1"),
    ("no-tls13", _WARN, "TLS 1.3 is not offered", "allow TLS 1.3 as well", _NCSC),
    ("incomplete", _FAIL, "the server stopped answering, so the list of versions or suites is not complete",
     "try again, with a longer --timeout or --budget", "-"),
    ("suite-insecure", _FAIL, "a cipher suite that is broken or protects nothing",
     "restrict the suites to ECDHE with AES-GCM or ChaCha20-Poly1305", "RFC 9325 section 4.1"),
    ("suite-no-forward-secrecy", _FAIL, "recorded traffic can be read by whoever gets the server's key later",
     "remove RSA key transport and static Diffie-Hellman", "RFC 9325 section 4.1"),
    ("suite-legacy", _WARN, "a cipher suite that guidance phases out",
     "restrict the suites to ECDHE with AES-GCM or ChaCha20-Poly1305", f"{_NCSC}; Mozilla intermediate"),
    ("group-weak", _FAIL, "keys are agreed on in a group that can be broken, and recorded traffic read",
     "use ECDHE with x25519 or P-256; for finite fields a group of 2048 bits or more",
     "RFC 9325 sections 4.2.1 and 4.4"),
    ("renegotiation", _WARN, "a client may begin handshake after handshake, each dear for the server",
     "turn client-initiated renegotiation off (OpenSSL: SSL_OP_NO_RENEGOTIATION), or allow TLS 1.3 only",
     "RFC 9325 section 3.5"),
    ("handshake-failed", _FAIL, "the server chose version and suite, and did not finish the handshake",
     "see the server's log", "-"),
    ("chain-untrusted", _FAIL, "no trusted authority vouches for the certificate",
     "give --ca for an authority of your own; have the server send its intermediates", "RFC 5280 section 6"),
    ("name-mismatch", _FAIL, "the certificate is not for this host",
     "issue it with the host as subject alternative name", "RFC 9525"),
    ("certificate-expired", _FAIL, "a certificate has expired", "renew it", "RFC 5280 section 4.1.2.5"),
    ("certificate-not-yet-valid", _FAIL, "a certificate is not valid yet", "check both clocks",
     "RFC 5280 section 4.1.2.5"),
    ("certificate-expires-soon", _WARN, "a certificate expires soon, so its renewal has probably failed",
     "renew it", "threshold expires_warn_days"),
    ("certificate-expires-now", _FAIL, "a certificate expires in a few days", "renew it today",
     "threshold expires_fail_days"),
    ("key-weak", _FAIL, "RSA below 2048 bits, a curve below 256 bits, or DSA", "issue it with a new key",
     f"{_NCSC}; Mozilla intermediate"),
    ("signature-weak", _FAIL, "signed with MD5 or SHA-1", "issue it with SHA-256 or better",
     "RFC 9325 section 4.5"),
    ("revoked", _FAIL, "the authority has revoked the certificate", "replace certificate and key",
     "RFC 6960"),
    ("revocation-unknown", _WARN, "asked, and no authority gave an answer that counts",
     "check the addresses in the certificate from here", "RFC 6960"),
    ("staple-invalid", _WARN, "the OCSP response that the server sends along does not count",
     "check the server's access to its authority", "RFC 6066 section 8"),
    ("must-staple-missing", _FAIL, "the certificate says that an OCSP response comes with it, and none does",
     "turn stapling on", "RFC 7633"),
    ("client-certificate-not-demanded", _OFF, "the server lets clients in without a certificate",
     "demand one, where policy asks for mutual TLS", "-"),
    ("client-certificate-needed", _WARN, "a client certificate is demanded, so it was not looked inside",
     "give --client-certificate", "-"),
    ("mongodb-hello", _FAIL, "what answers inside TLS is not a MongoDB server that is ready",
     "check the address and the server's log", "-"),
    ("https-answer", _FAIL, "what answers inside TLS is not a web server", "check the address", "-"),
    ("hsts-missing", _WARN, "browsers are not told to come back by https only",
     "send Strict-Transport-Security with max-age=31536000", "RFC 6797"),
    ("hsts-short", _WARN, "browsers forget soon that they must come back by https",
     "send Strict-Transport-Security with max-age=31536000", "threshold hsts_days"),
    ("http-not-redirected", _FAIL, "plain http is answered with something else than a redirect to https",
     "answer every request on port 80 with a redirect to https, or close the port",
     f"{_NCSC}; RFC 6797 section 7.2"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Numbers that rules compare with, in days."""

    expires_warn_days: int = 21
    """Certificates of 90 days are usually renewed 30 days before their end: by now that has failed."""
    expires_fail_days: int = 7
    hsts_days: int = 180


MAX_DAYS = 3650


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules as the operator set them."""

    severities: Mapping[str, Severity] = field(default_factory=dict)
    """What differs from the defaults, by rule id."""
    thresholds: Thresholds = field(default_factory=Thresholds)

    def severity(self, rule: str) -> Severity:
        """Raises:  KeyError for a rule that does not exist"""
        return self.severities.get(rule, RULES[rule].severity)


def parse_rules(source: bytes, filename: str) -> RuleSet:
    """A YAML file with `rules` (severity by id) and `thresholds`. Raises SourceError."""
    entries = parse_yaml(source, filename, "docs/operations/tls.md").entries((), ("rules", "thresholds"))
    severities, thresholds = {}, Thresholds()
    if "rules" in entries:
        severities = {name: _severity(node) for name, node in entries["rules"].entries((), RULES).items()}
    if "thresholds" in entries:
        given = entries["thresholds"].entries((), tuple(Thresholds.__dataclass_fields__))
        thresholds = Thresholds(**{name: node.integer(0, MAX_DAYS) for name, node in given.items()})
    return RuleSet(severities, thresholds)


def _severity(node: Node) -> Severity:
    if node.value is False:  # YAML 1.1 reads a bare `off` so
        return Severity.OFF
    return Severity(node.choice([severity.value for severity in Severity]))


Broken = tuple[str, str]
"""A rule's id, and what exactly breaks it."""

_BY_VERDICT = {
    SuiteVerdict.INSECURE: "suite-insecure",
    SuiteVerdict.NO_FORWARD_SECRECY: "suite-no-forward-secrecy",
    SuiteVerdict.LEGACY: "suite-legacy",
}


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """One broken rule at one place (an endpoint's `host:port`, or the target's label)."""

    where: str
    rule: str
    severity: Severity
    detail: str


def judge(facts: TargetFacts, rules: RuleSet) -> tuple[BrokenRule, ...]:
    """What is wrong with a target and its endpoints, failures first; rules that are off are left out."""
    broken = [(facts.target.label, *found) for found in _target(facts)]
    for endpoint in facts.endpoints:
        found = _endpoint(endpoint, rules.thresholds, facts.seen)
        broken += [(endpoint.endpoint.label, *rule) for rule in found]
    findings = [BrokenRule(where, rule, rules.severity(rule), detail) for where, rule, detail in broken]
    kept = [finding for finding in findings if finding.severity is not Severity.OFF]
    return tuple(sorted(kept, key=lambda finding: finding.severity is not Severity.FAIL))


def _target(facts: TargetFacts) -> Iterator[Broken]:
    if not facts.target.asks_for_tls:
        yield "uri-without-tls", "no tls=true among its options"
    if not facts.target.verifies:
        yield "uri-unverified", "an option of it turns verification off"


def _endpoint(facts: EndpointFacts, thresholds: Thresholds, now: datetime) -> Iterator[Broken]:
    if facts.plaintext is Plaintext.ACCEPTED:
        if facts.endpoint.kind is TargetKind.HTTPS:
            yield "http-not-redirected", "http:// is answered without a redirect to https on this host"
        else:
            yield "plaintext-accepted", "a MongoDB hello without TLS is answered"
    if not facts.accepted:
        if facts.trouble is not None and facts.plaintext is not Plaintext.ACCEPTED:
            yield "unreachable", facts.trouble.value
        else:
            yield "no-tls", "no version of TLS is accepted"
        return
    yield from _versions(facts)
    yield from _suites(facts)
    if facts.trouble is not None or facts.presented is None:
        yield "handshake-failed", facts.trouble.value if facts.trouble else "no certificate was shown"
    if facts.presented is None:
        return
    yield from _presented(facts.presented, thresholds, now)
    yield from _application(facts, facts.presented, thresholds)


def _versions(facts: EndpointFacts) -> Iterator[Broken]:
    accepted = {found.version for found in facts.accepted}
    if ProtocolVersion.TLS10 in accepted:
        yield "protocol-tls10", "accepted"
    if ProtocolVersion.TLS11 in accepted:
        yield "protocol-tls11", "accepted"
    if not accepted & {ProtocolVersion.TLS12, ProtocolVersion.TLS13}:
        yield "no-modern-protocol", "the newest accepted is " + max(accepted, key=lambda v: v.value).label
    elif ProtocolVersion.TLS13 not in accepted:
        yield "no-tls13", "not accepted"
    for found in facts.versions:
        if found.support is Support.UNKNOWN or found.trouble is not None:
            why = found.trouble.value if found.trouble else "no answer"
            yield "incomplete", f"{found.version.label}: {why}"


def _suites(facts: EndpointFacts) -> Iterator[Broken]:
    """One finding for each kind of weakness; the report lists every suite by itself."""
    weak: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for found in facts.accepted:
        for suite in found.suites:
            if suite.verdict in _BY_VERDICT:
                version = found.version.label.removeprefix("TLS ")
                weak[_BY_VERDICT[suite.verdict], suite.why].append((suite.name, version))
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for found in facts.accepted:
        for group in found.weak_groups:
            groups[group].append(found.version.label.removeprefix("TLS "))
    for group, in_versions in groups.items():
        yield "group-weak", f"{group} (TLS {', '.join(in_versions)})"
    for (rule, why), taken in weak.items():
        (first, *more), versions = (list(dict.fromkeys(column)) for column in zip(*taken, strict=True))
        names = f"{first} and {len(more)} more" if more else first
        yield rule, f"{why}: {names} (TLS {', '.join(versions)})"


def _presented(shown: Presented, thresholds: Thresholds, now: datetime) -> Iterator[Broken]:
    if shown.distrust:
        yield "chain-untrusted", shown.distrust
    if not shown.names_host:
        names = ", ".join(shown.chain[0].names[:5]) or "no name at all"
        yield "name-mismatch", f"it is for {names}"
    for certificate in shown.chain:
        yield from _validity(certificate, thresholds, now)
        if not certificate.key_strong:
            yield "key-weak", f"{certificate.subject}: {certificate.key}"
        # Nobody relies on the signature of an authority's own certificate.
        relied_on = certificate is shown.chain[0] or not certificate.self_signed
        if relied_on and not certificate.signature_strong:
            yield "signature-weak", f"{certificate.subject}: {certificate.signature}"
    yield from _revocation(shown)
    if shown.renegotiates:
        yield "renegotiation", "a second handshake was begun by the client, and finished"
    if shown.client_certificate is not ClientCertificate.REQUIRED:
        yield "client-certificate-not-demanded", shown.client_certificate.value


def _validity(certificate: CertificateFacts, thresholds: Thresholds, now: datetime) -> Iterator[Broken]:
    left = certificate.not_after - now
    end = f"{certificate.subject}: {certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if left <= timedelta(0):
        yield "certificate-expired", end
    elif left < timedelta(days=thresholds.expires_fail_days):
        yield "certificate-expires-now", f"{end}, {left.days} days left"
    elif left < timedelta(days=thresholds.expires_warn_days):
        yield "certificate-expires-soon", f"{end}, {left.days} days left"
    if certificate.not_before > now:
        begin = f"{certificate.not_before:%Y-%m-%d %H:%M} UTC"
        yield "certificate-not-yet-valid", f"{certificate.subject}: {begin}"


def _revocation(shown: Presented) -> Iterator[Broken]:
    revocation = shown.revocation
    if revocation.status is Status.REVOKED:
        yield "revoked", f"by {revocation.via.value}"
    if revocation.status is Status.UNKNOWN:
        yield "revocation-unknown", "neither OCSP nor CRL answered"
    if revocation.stapled and not revocation.staple_valid:
        yield "staple-invalid", "it does not count"
    if shown.chain[0].must_staple and not revocation.staple_valid:
        yield "must-staple-missing", "no response that counts"


def _application(facts: EndpointFacts, shown: Presented, thresholds: Thresholds) -> Iterator[Broken]:
    kind = facts.endpoint.kind
    if facts.application_trouble is not None:
        rule = "mongodb-hello" if kind is TargetKind.MONGODB else "https-answer"
        if shown.client_certificate is ClientCertificate.REQUIRED:
            rule = "client-certificate-needed"
        yield rule, facts.application_trouble.value
    if facts.http is None:
        return
    seconds = facts.http.hsts_seconds
    if seconds is None:
        yield "hsts-missing", "no Strict-Transport-Security with a max-age"
    elif seconds < thresholds.hsts_days * 86_400:
        yield "hsts-short", f"max-age is {seconds // 86_400} days"
