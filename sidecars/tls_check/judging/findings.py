"""Judges facts by the rules. Pure: the same facts, rules and time give the same findings."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sealwire.sidecars.tls_check.certificate.certificate import CertificateFacts
from sealwire.sidecars.tls_check.certificate.revocation import Status
from sealwire.sidecars.tls_check.connection.client_hello import ProtocolVersion
from sealwire.sidecars.tls_check.connection.handshake import ClientCertificate
from sealwire.sidecars.tls_check.connection.offers import Support
from sealwire.sidecars.tls_check.connection.suites import Verdict
from sealwire.sidecars.tls_check.facts import EndpointFacts, Plaintext, Presented, TargetFacts
from sealwire.sidecars.tls_check.judging.rules import RuleSet, Severity, Thresholds
from sealwire.sidecars.tls_check.target import Kind

Broken = tuple[str, str]
"""A rule's id, and what exactly breaks it."""

_BY_VERDICT = {
    Verdict.INSECURE: "suite-insecure",
    Verdict.NO_FORWARD_SECRECY: "suite-no-forward-secrecy",
    Verdict.LEGACY: "suite-legacy",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule at one place (an endpoint's `host:port`, or the target's label)."""

    where: str
    rule: str
    severity: Severity
    detail: str


def judge(facts: TargetFacts, rules: RuleSet) -> tuple[Finding, ...]:
    """What is wrong with a target and its endpoints, failures first; rules that are off are left out."""
    broken = [(facts.target.label, *found) for found in _target(facts)]
    for endpoint in facts.endpoints:
        found = _endpoint(endpoint, rules.thresholds, facts.seen)
        broken += [(endpoint.endpoint.label, *rule) for rule in found]
    findings = [Finding(where, rule, rules.severity(rule), detail) for where, rule, detail in broken]
    kept = [finding for finding in findings if finding.severity is not Severity.OFF]
    return tuple(sorted(kept, key=lambda finding: finding.severity is not Severity.FAIL))


def _target(facts: TargetFacts) -> Iterator[Broken]:
    if not facts.target.asks_for_tls:
        yield "uri-without-tls", "no tls=true among its options"
    if not facts.target.verifies:
        yield "uri-unverified", "an option of it turns verification off"


def _endpoint(facts: EndpointFacts, thresholds: Thresholds, now: datetime) -> Iterator[Broken]:
    if facts.plaintext is Plaintext.ACCEPTED:
        if facts.endpoint.kind is Kind.HTTPS:
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
        rule = "mongodb-hello" if kind is Kind.MONGODB else "https-answer"
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
