"""Shows a TLS report on the terminal. Names come from servers: they are printed as text, never as markup."""

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sealwire.sidecars.tls_check.connection.offers import Support
from sealwire.sidecars.tls_check.connection.suites import Verdict
from sealwire.sidecars.tls_check.facts import EndpointFacts, Presented
from sealwire.sidecars.tls_check.judging.findings import Finding
from sealwire.sidecars.tls_check.judging.rules import RULES, Severity
from sealwire.sidecars.tls_check.report.report import VERDICT_WORDS, Report, TargetReport, days_left

_STYLES = {"fail": "bold red", "warn": "yellow", "pass": "green"}


def show_report(report: Report, console: Console, *, quiet: bool) -> None:
    """Print every target and the verdict; with `quiet` only what is wrong, and nothing when nothing is."""
    for target in report.targets:
        if target.findings or not quiet:
            _show_target(target, console, quiet=quiet)
    if not quiet or report.verdict is not Severity.OFF:
        word = VERDICT_WORDS[report.verdict]
        fails, warns = report.count(Severity.FAIL), report.count(Severity.WARN)
        counts = f" failures: {fails}, warnings: {warns}, targets: {len(report.targets)}"
        console.print(Text(word, _STYLES[word]) + Text(counts))


def _show_target(report: TargetReport, console: Console, *, quiet: bool) -> None:
    label = report.facts.target.label
    console.print(Text(label, "bold"), soft_wrap=True)
    labels = {facts.endpoint.label for facts in report.facts.endpoints}
    if label not in labels:
        _show_findings(report.at(label), console)
    for facts in report.facts.endpoints:
        if facts.endpoint.label != label:
            member = ", a member that another one named" if facts.discovered else ""
            console.print(Text(f"{facts.endpoint.label}{member}"), soft_wrap=True)
        if not quiet:
            _show_facts(facts, console)
        _show_findings(report.at(facts.endpoint.label), console)
    console.print()


def _show_facts(facts: EndpointFacts, console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    if facts.versions:
        _row(table, "versions", _versions(facts))
    for found in facts.accepted:
        kinds = Counter(suite.verdict for suite in found.suites)
        counts = ", ".join(f"{kinds[verdict]} {verdict.value}" for verdict in Verdict if kinds[verdict])
        _row(table, f"{found.version.label} suites", counts)
    if facts.presented is not None:
        _show_certificate(table, facts.presented)
    if facts.plaintext is not None:
        _row(table, "without TLS", facts.plaintext.value)
    if facts.http is not None:
        _row(table, "HSTS", facts.http.hsts or "none")
    console.print(table)


def _versions(facts: EndpointFacts) -> str:
    """What is accepted and refused; what was not answered is neither."""
    named = {
        support: ", ".join(found.version.label for found in facts.versions if found.support is support)
        for support in Support
    }
    text = f"accepted {named[Support.ACCEPTED] or 'none'}; refused {named[Support.REFUSED] or 'none'}"
    unknown = named[Support.UNKNOWN]
    return f"{text}; no answer to {unknown}" if unknown else text


def _show_certificate(table: Table, shown: Presented) -> None:
    for number, certificate in enumerate(shown.chain):
        end = f"until {certificate.not_after:%Y-%m-%d} ({days_left(certificate)} days)"
        subject = f"{certificate.subject or '-'}, {certificate.key}, {certificate.signature}, {end}"
        _row(table, "certificate" if number == 0 else "  issued by", subject)
    _row(table, "names", ", ".join(shown.chain[0].names) or "none")
    _row(table, "trusted", shown.distrust or "yes")
    staple = ", stapled" if shown.revocation.stapled else ""
    _row(table, "revocation", f"{shown.revocation.status.value}{staple}")
    _row(table, "client cert", shown.client_certificate.value)


def _row(table: Table, name: str, value: str) -> None:
    table.add_row(Text(f"  {name}"), Text(value))


def _show_findings(findings: tuple[Finding, ...], console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    # a rule's name is what --rule takes: it is never cut, and the rest finds its place beside it
    for options in ({"no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"}):
        table.add_column(**options)
    for finding in findings:
        word = finding.severity.value
        remedy = RULES[finding.rule].remedy
        table.add_row(
            Text(f"  {word}", _STYLES[word]), Text(finding.rule), Text(f"{finding.detail}\n-> {remedy}")
        )
    if findings:
        console.print(table)
