"""A whole run: what was seen of each target, what is wrong with it, the verdict; as JSON, and as files."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from sealwire.keys.errors import KeySettingError
from sealwire.keys.private_file import replace_public
from sealwire.sidecars.tls_check.certificate.certificate import CertificateFacts
from sealwire.sidecars.tls_check.certificate.revocation import Revocation
from sealwire.sidecars.tls_check.connection.offers import VersionSupport
from sealwire.sidecars.tls_check.errors import OutputProblem, TlsCheckReason
from sealwire.sidecars.tls_check.facts import EndpointFacts, Presented, TargetFacts
from sealwire.sidecars.tls_check.judging.findings import Finding, judge
from sealwire.sidecars.tls_check.judging.rules import RULES, RuleSet, Severity

FORMAT = "sealwire-tls-report"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class TargetReport:
    """One target and its findings, failures first."""

    facts: TargetFacts
    findings: tuple[Finding, ...]

    def at(self, where: str) -> tuple[Finding, ...]:
        """The findings at one place: an endpoint's label, or the target's own."""
        return tuple(finding for finding in self.findings if finding.where == where)


@dataclass(frozen=True, slots=True)
class Report:
    """All targets of one run."""

    targets: tuple[TargetReport, ...]
    finished: datetime

    def count(self, severity: Severity) -> int:
        """How many findings have this severity."""
        return sum(found.severity is severity for target in self.targets for found in target.findings)

    @property
    def verdict(self) -> Severity:
        """The worst severity found; OFF when nothing was."""
        return next((worst for worst in (Severity.FAIL, Severity.WARN) if self.count(worst)), Severity.OFF)

    @property
    def is_success(self) -> bool:
        """Whether no rule failed and every server was reached, whatever severity that has."""
        endpoints = (facts for target in self.targets for facts in target.facts.endpoints)
        return self.verdict is not Severity.FAIL and not any(facts.trouble for facts in endpoints)


def make_report(seen: Iterable[TargetFacts], rules: RuleSet) -> Report:
    """Judge everything that was seen."""
    targets = tuple(TargetReport(facts, judge(facts, rules)) for facts in seen)
    return Report(targets, datetime.now(UTC))


VERDICT_WORDS = {Severity.OFF: "pass", Severity.WARN: "warn", Severity.FAIL: "fail"}


def to_json(report: Report) -> str:
    """The report for programs: stable names, times as ISO 8601 in UTC, a newline at the end."""
    return json.dumps(_report(report), indent=2, ensure_ascii=True) + "\n"


def _report(report: Report) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "finished": _time(report.finished),
        "verdict": VERDICT_WORDS[report.verdict],
        "failures": report.count(Severity.FAIL),
        "warnings": report.count(Severity.WARN),
        "targets": [_target(target) for target in report.targets],
    }


def _target(report: TargetReport) -> dict[str, Any]:
    target = report.facts.target
    return {
        "target": target.label,
        "kind": target.kind.value,
        "seen": _time(report.facts.seen),
        "asks_for_tls": target.asks_for_tls,
        "verifies": target.verifies,
        "endpoints": [_endpoint(facts) for facts in report.facts.endpoints],
        "findings": [_finding(finding) for finding in report.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    rule = RULES[finding.rule]
    more = {"explanation": rule.explanation, "remedy": rule.remedy, "source": rule.source}
    return _plain(finding) | more


def _endpoint(facts: EndpointFacts) -> dict[str, Any]:
    http = facts.http
    return {
        "endpoint": facts.endpoint.label,
        "discovered": facts.discovered,
        "trouble": facts.trouble and facts.trouble.value,
        "application_trouble": facts.application_trouble and facts.application_trouble.value,
        "plaintext": facts.plaintext and facts.plaintext.value,
        "versions": [_version(version) for version in facts.versions],
        "presented": facts.presented and _presented(facts.presented),
        "http": {"status": http.status, "hsts": http.hsts} if http else None,
    }


def _version(found: VersionSupport) -> dict[str, Any]:
    suites = [
        {"name": suite.name, "code": f"{suite.code:04x}", "verdict": suite.verdict.value, "why": suite.why}
        for suite in found.suites
    ]
    trouble = found.trouble and found.trouble.value
    support = found.support.value
    weak = list(found.weak_groups)
    return {
        "version": found.version.label,
        "support": support,
        "trouble": trouble,
        "suites": suites,
        "weak_groups": weak,
    }


def _presented(shown: Presented) -> dict[str, Any]:
    return {
        "version": shown.version,
        "suite": shown.suite,
        "trusted": not shown.distrust,
        "distrust": shown.distrust or None,
        "names_host": shown.names_host,
        "client_certificate": shown.client_certificate.value,
        "revocation": _plain(shown.revocation),
        "renegotiates": shown.renegotiates,
        "chain": [_certificate(certificate) for certificate in shown.chain],
    }


def _plain(facts: Finding | Revocation) -> dict[str, Any]:
    """The fields by their names, enums by their values."""
    values = ((field.name, getattr(facts, field.name)) for field in fields(facts))
    return {name: value.value if isinstance(value, Enum) else value for name, value in values}


def _certificate(facts: CertificateFacts) -> dict[str, Any]:
    times = {"not_before": _time(facts.not_before), "not_after": _time(facts.not_after)}
    return asdict(facts) | times | {"days_left": days_left(facts)}


def days_left(facts: CertificateFacts) -> int:
    """Whole days until the certificate expires; negative afterwards."""
    return (facts.not_after - datetime.now(UTC)).days


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` by a file with `content` that anybody may read, whatever the umask: no secret is in it.

    Readers see the old file or the new one, whole. Raises OutputProblem OUTPUT; the old file stays then
    """
    try:
        replace_public(path, content)
    except KeySettingError as error:
        hint = "check the folder, its permissions and the space on it"
        raise OutputProblem(TlsCheckReason.OUTPUT, str(error), hint) from None
