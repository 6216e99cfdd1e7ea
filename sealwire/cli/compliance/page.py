"""A compliance report as a page."""

from collections.abc import Sequence
from hashlib import sha256

from sealwire.cli.html.page import PageSection, PageTable, ReportPage
from sealwire.sidecars.compliance.finding import ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.compliance.report import ComplianceReport, ReportChange, ReportRow
from sealwire.sidecars.compliance.requirements import Framework


def page_of(report: ComplianceReport, changes: Sequence[ReportChange], signed: bytes) -> ReportPage:
    """`signed` is the file of the signed report; its hash ties the page to it."""
    facts: list[tuple[str, str | int]] = [
        ("Verdict", report.verdict),
        ("Deployment", report.name),
        ("Made", report.made.isoformat(timespec="seconds")),
        ("Passed", report.count(ComplianceOutcome.PASS)),
        ("Failed", report.count(ComplianceOutcome.FAIL)),
        ("Partly", report.count(ComplianceOutcome.PARTLY)),
        ("Not looked at", report.count(ComplianceOutcome.NOT_LOOKED_AT)),
        ("Databases and collections that were not looked at", len(report.unseen)),
        *report.versions.items(),
    ]
    if signed:
        facts.append(("SHA-256 of the signed report", sha256(signed).hexdigest()))
    sections = [_framework(report, framework) for framework in Framework]
    if changes:
        rows = [(each.what, each.before, each.after) for each in changes]
        sections.insert(0, PageSection("Changed", tables=(PageTable.of(("what", "was", "is"), rows),)))
    checks = PageTable.of(
        ("check", "outcome", "evidence", "next step"), [_check(each) for each in report.findings]
    )
    sections.append(PageSection("Checks", tables=(checks,)))
    if report.unseen:
        names = PageTable.of(("database or collection",), [(name,) for name in report.unseen])
        sections.append(PageSection("Not looked at", tables=(names,)))
    return ReportPage(f"Compliance of {report.name}", tuple(facts), tuple(sections))


def _framework(report: ComplianceReport, framework: Framework) -> PageSection:
    rows = [row for row in report.rows if row.requirement.framework is framework]
    columns = ("where", "what", "outcome", "shown by", "attested")
    return PageSection(framework.value, tables=(PageTable.of(columns, [_row(row) for row in rows]),))


def _row(row: ReportRow) -> tuple[str, ...]:
    asked = row.requirement
    shown = ", ".join(f"{each.check.value} ({each.outcome.value})" for each in row.findings)
    attested = "; ".join(each.text for each in row.duties)
    return asked.source, asked.title, row.outcome.value, shown or "-", attested or "-"


def _check(finding: ComplianceFinding) -> tuple[str, ...]:
    evidence = "; ".join(finding.evidence)
    hint = "" if finding.outcome is ComplianceOutcome.PASS else finding.hint
    return f"{finding.check.value}: {finding.check.question}", finding.outcome.value, evidence, hint or "-"
