"""Each rule is broken by what it is about, and by nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from sealwire.sidecars.tls_check.certificate import Revocation, Status, Via
from sealwire.sidecars.tls_check.handshake import ClientCertificate, HttpAnswer, Trouble
from sealwire.sidecars.tls_check.judging import RULES, RuleSet, Severity, Thresholds, judge
from sealwire.sidecars.tls_check.offers import ProtocolVersion, Support, VersionSupport
from sealwire.sidecars.tls_check.target import EndpointFacts, Plaintext, Presented
from tests.sidecars.tls_check.certificates import (
    DATABASE,
    PRESENTED,
    VERSIONS,
    WEB,
    certificate,
    days,
    target_facts,
    version,
)

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


@pytest.mark.parametrize("facts", [DATABASE, WEB])
def test_a_sound_endpoint_breaks_no_rule(facts: EndpointFacts) -> None:
    assert broken(facts) == set()


@pytest.mark.parametrize(("rule", "facts"), CASES)
def test_a_rule_is_broken_alone(rule: str, facts: EndpointFacts) -> None:
    assert broken(facts) == {rule}


def test_old_versions_only_is_one_more_failure() -> None:
    assert broken(versions(version(V10, 0xC02F), *REFUSED[1:])) == {"protocol-tls10", "no-modern-protocol"}


def test_a_port_that_only_speaks_plaintext_breaks_both_rules() -> None:
    facts = replace(UNSEEN, versions=REFUSED, plaintext=Plaintext.ACCEPTED)
    assert broken(facts) == {"no-tls", "plaintext-accepted"}


def test_a_demanded_client_certificate_is_the_reason_for_not_looking_inside() -> None:
    facts = replace(DATABASE, presented=demanding(), application_trouble=Trouble.ALERT)
    assert broken(facts) == {"client-certificate-needed"}


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


def test_the_signature_of_an_authority_that_vouches_for_itself_does_not_matter() -> None:
    root = certificate(self_signed=True, signature="sha1", signature_strong=False)
    assert broken(shown(chain=(*PRESENTED.chain, root))) == set()


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
