"""A whole run: what was seen of each target, what is wrong with it, the verdict; as JSON and metrics.

Metrics are a file for node_exporter's textfile collector, or an address. A run succeeds when every target was
reached and no rule failed. When that was last so outlives a run that does not succeed, and the program: it is
read back from the file. Until it was so once, the file says since when it is tried.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest

from sealwire.keys.errors import KeySettingError
from sealwire.keys.private_file import replace_public
from sealwire.sidecars.errors import CannotCreate, TlsCheckReason
from sealwire.sidecars.tls_check.certificate import CertificateFacts, Revocation
from sealwire.sidecars.tls_check.judging import RULES, BrokenRule, RuleSet, Severity, judge
from sealwire.sidecars.tls_check.offers import VersionSupport
from sealwire.sidecars.tls_check.target import EndpointFacts, Presented, TargetFacts

FORMAT = "sealwire-tls-report"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class TargetReport:
    """One target and its findings, failures first."""

    facts: TargetFacts
    findings: tuple[BrokenRule, ...]

    def at(self, where: str) -> tuple[BrokenRule, ...]:
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


def _finding(finding: BrokenRule) -> dict[str, Any]:
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
    return _plain(found) | {"version": found.version.label, "suites": suites}


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


def _plain(facts: BrokenRule | Revocation | VersionSupport) -> dict[str, Any]:
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

    Readers see the old file or the new one, whole. Raises CannotCreate OUTPUT; the old file stays then
    """
    try:
        replace_public(path, content)
    except KeySettingError as error:
        hint = "check the folder, its permissions and the space on it"
        raise CannotCreate(TlsCheckReason.OUTPUT, str(error), hint) from None


_PLACE = ("target", "endpoint")
_MAX_FILE_BYTES: Final = 1 << 24
_SUCCESS: Final = "sealwire_tls_last_success_timestamp_seconds"
_FIRST: Final = "sealwire_tls_first_run_timestamp_seconds"


class TlsMetrics:
    """Gauges of the report that was given last. Targets and endpoints are labels; no secret is in them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._report: Report | None = None
        self._success_s: float | None = None
        self._first_s: float | None = None
        self.registry.register(self)

    def recall(self, path: Path) -> None:
        """Take over from the file of an earlier run when that succeeded, or since when it is tried.

        A file that is missing, cut or somebody else's says nothing.
        """
        try:
            with path.open("rb") as file:
                lines = file.read(_MAX_FILE_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            return
        said = dict(line.split(" ", 1) for line in lines if line.startswith((f"{_SUCCESS} ", f"{_FIRST} ")))
        self._success_s, self._first_s = _seconds(said.get(_SUCCESS)), _seconds(said.get(_FIRST))

    def update(self, report: Report) -> None:
        """Show this report from now on. Safe to call while another thread collects."""
        if report.is_success:
            self._success_s = report.finished.timestamp()
        self._report = report

    def collect(self) -> Iterable[Any]:
        """What prometheus_client asks for at each scrape."""
        report = self._report
        if report is None:
            return
        expiry = _gauge(
            "certificate_expiry_timestamp_seconds", "First end among the chain's certificates", _PLACE
        )
        seen = _gauge("certificate_seen", "1 where a certificate was shown", _PLACE)
        findings = _gauge("findings", "Rules broken at the target", ("target", "severity"))
        for target in report.targets:
            label = target.facts.target.label
            for facts in target.facts.endpoints:
                place = [label, facts.endpoint.label]
                seen.add_metric(place, float(facts.presented is not None))
                if facts.presented is not None:
                    ends = [certificate.not_after.timestamp() for certificate in facts.presented.chain]
                    expiry.add_metric(place, min(ends))
            for severity in (Severity.WARN, Severity.FAIL):
                count = sum(found.severity is severity for found in target.findings)
                findings.add_metric([label, severity.value], float(count))
        last = _gauge("last_run_timestamp_seconds", "When the last run ended, whatever it found", ())
        last.add_metric([], report.finished.timestamp())
        yield from (expiry, seen, findings, last, self._standing())

    def _standing(self) -> GaugeMetricFamily:
        if self._success_s is None and self._first_s is not None:
            first = _gauge("first_run_timestamp_seconds", "When it was first tried; it never succeeded", ())
            first.add_metric([], self._first_s)
            return first
        text = "When every target was last reached and no rule failed"
        success = _gauge("last_success_timestamp_seconds", text, ())
        if self._success_s is not None:
            success.add_metric([], self._success_s)
        return success

    def write(self, path: Path) -> None:
        """Write the textfile, whole or not at all. Raises CannotCreate."""
        write_whole(path, generate_latest(self.registry))

    def listen(self, host: str, port: int) -> None:
        """Serve /metrics in a thread of its own, without TLS or password. Raises CannotCreate."""
        try:
            start_http_server(port, host, self.registry)
        except OSError:
            text = "the address for metrics cannot be bound"
            hint = "choose a free port on an address of this machine"
            raise CannotCreate(TlsCheckReason.METRICS_ADDRESS, text, hint) from None


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sealwire_tls_{name}", text, labels=labels)


def _seconds(said: str | None) -> float | None:
    """A time that a file gives; None where it gives none."""
    try:
        seconds = float(said or "nan")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None
