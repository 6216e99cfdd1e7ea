"""The latest report as Prometheus metrics: a file for node_exporter's textfile collector, or an address.

A run succeeds when every target was reached and no rule failed. When that was last so outlives a run that
does not succeed, and the program: it is read back from the file. Until it was so once, the file says since
when it is tried.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest

from sealwire.sidecars.tls_check.errors import OutputProblem, TlsCheckReason
from sealwire.sidecars.tls_check.judging.rules import Severity
from sealwire.sidecars.tls_check.report.report import Report, write_whole

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
        self._success_s, self._first_s = _time(said.get(_SUCCESS)), _time(said.get(_FIRST))

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
        """Write the textfile, whole or not at all. Raises OutputProblem."""
        write_whole(path, generate_latest(self.registry))

    def listen(self, host: str, port: int) -> None:
        """Serve /metrics in a thread of its own, without TLS or password. Raises OutputProblem."""
        try:
            start_http_server(port, host, self.registry)
        except OSError:
            text = "the address for metrics cannot be bound"
            hint = "choose a free port on an address of this machine"
            raise OutputProblem(TlsCheckReason.METRICS_ADDRESS, text, hint) from None


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sealwire_tls_{name}", text, labels=labels)


def _time(said: str | None) -> float | None:
    """A time that a file gives; None where it gives none."""
    try:
        seconds = float(said or "nan")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None
