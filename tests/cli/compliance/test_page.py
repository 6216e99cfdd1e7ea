"""Tests for sealwire.cli.compliance.page."""

from datetime import UTC, date, datetime
from hashlib import sha256

from sealwire.cli.compliance.page import page_of
from sealwire.cli.html.page import page_html
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.compliance.report import Attestation, ComplianceReport, ReportChange, make_report
from sealwire.sidecars.compliance.requirements import Duty

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def report(failing: ComplianceCheck | None = None) -> ComplianceReport:
    found = {
        check: ComplianceFinding(
            check,
            ComplianceOutcome.FAIL if check is failing else ComplianceOutcome.PASS,
            (f"seen <{check.value}>",),
            "look there",
        )
        for check in ComplianceCheck
    }
    attested = {Duty.DPIA: Attestation(date(2026, 6, 1), "the board", "IG-12")}
    return make_report("clinic.example", NOW, {"sealwire": "1.2"}, found, attested)


def test_every_row_and_every_check_is_on_the_page() -> None:
    made = report(ComplianceCheck.KEYS)
    html = page_html(page_of(made, (), b""), NOW)
    for row in made.rows:
        assert row.requirement.source in html
    assert html.count("seen &lt;") == len(ComplianceCheck)
    assert html.count("look there") == 1
    assert "attested on 2026-06-01 by the board (IG-12)" in html
    assert "SHA-256" not in html


def test_a_signed_report_and_changes_are_named() -> None:
    changes = (ReportChange("keys", "pass", "fail"),)
    page = page_of(report(), changes, b"signed")
    assert ("SHA-256 of the signed report", sha256(b"signed").hexdigest()) in page.facts
    assert page.sections[0].title == "Changed"
    assert page.sections[0].tables[0].rows == (("keys", "pass", "fail"),)
