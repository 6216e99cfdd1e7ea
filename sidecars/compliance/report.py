"""A report: every row with its outcome and evidence, dated, and what has changed since an earlier one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sealwire.sidecars.compliance.requirements import (
    REQUIREMENTS,
    ComplianceCheck,
    ComplianceFinding,
    ComplianceOutcome,
    Duty,
    Requirement,
)

FORM: Final = "sealwire-compliance-report"
FORM_VERSION: Final = 2
ATTESTED_FOR: Final = timedelta(days=366)
"""How long somebody's word counts."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """Somebody's word for what no program can see."""

    on: date
    by: str
    reference: str = ""

    def counts_on(self, day: date) -> bool:
        """Whether it was given by then, and within ATTESTED_FOR."""
        return timedelta() <= day - self.on <= ATTESTED_FOR


@dataclass(frozen=True, slots=True)
class DutyState:
    """A duty, and whether somebody's word for it counts."""

    duty: Duty
    attestation: Attestation | None
    outcome: ComplianceOutcome

    @property
    def text(self) -> str:
        """What there is to say."""
        word = self.attestation
        if word is None:
            return f"{self.duty.text}: nobody has attested it"
        said = f"{self.duty.text}: attested on {word.on.isoformat()} by {word.by}"
        said += f" ({word.reference})" if word.reference else ""
        return said if self.outcome is ComplianceOutcome.PASS else f"{said}, which does not count on this day"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One requirement."""

    requirement: Requirement
    findings: tuple[ComplianceFinding, ...]
    duties: tuple[DutyState, ...]

    @property
    def outcome(self) -> ComplianceOutcome:
        """FAIL if anything fails, PASS if everything passes.

        NOT_LOOKED_AT if no check looked at anything: somebody's word is not a look. Otherwise PARTLY.
        """
        seen = [each.outcome for each in self.findings]
        found = {*seen, *(each.outcome for each in self.duties)}
        if ComplianceOutcome.FAIL in found:
            return ComplianceOutcome.FAIL
        if found == {ComplianceOutcome.PASS}:
            return ComplianceOutcome.PASS
        is_unseen = all(each.is_unseen for each in seen)
        return ComplianceOutcome.NOT_LOOKED_AT if is_unseen else ComplianceOutcome.PARTLY


@dataclass(frozen=True, slots=True)
class ComplianceReport:
    """All rows."""

    name: str
    """Whose deployment it is."""
    made: datetime
    versions: Mapping[str, str]
    rows: tuple[ReportRow, ...]

    def count(self, outcome: ComplianceOutcome) -> int:
        """How many rows turned out so."""
        return sum(row.outcome is outcome for row in self.rows)

    @property
    def verdict(self) -> str:
        """The whole report in a line, with how many rows did not pass and why."""
        failed, partly, unseen = map(
            self.count,
            (ComplianceOutcome.FAIL, ComplianceOutcome.PARTLY, ComplianceOutcome.NOT_LOOKED_AT),
        )
        word = "fails" if failed else "partly" if partly or unseen else "passes"
        return f"{word} ({failed} of {len(self.rows)} failed, {partly} partly, {unseen} not looked at)"

    @property
    def unseen(self) -> tuple[str, ...]:
        """The databases and collections that were not looked at."""
        return tuple(dict.fromkeys(name for each in self.findings for name in each.unseen))

    @property
    def findings(self) -> tuple[ComplianceFinding, ...]:
        """Each once, in the order of the checks."""
        found = {each.check: each for row in self.rows for each in row.findings}
        return tuple(found[check] for check in ComplianceCheck if check in found)


def make_report(
    name: str,
    made: datetime,
    versions: Mapping[str, str],
    findings: Mapping[ComplianceCheck, ComplianceFinding],
    attested: Mapping[Duty, Attestation],
) -> ComplianceReport:
    """Hold findings, one for each check, against the requirements."""
    rows = tuple(
        ReportRow(
            each,
            tuple(findings[check] for check in each.checks),
            tuple(_state(duty, attested.get(duty), made.date()) for duty in each.duties),
        )
        for each in REQUIREMENTS
    )
    return ComplianceReport(name, made, versions, rows)


def _state(duty: Duty, word: Attestation | None, today: date) -> DutyState:
    counts = word is not None and word.counts_on(today)
    return DutyState(duty, word, ComplianceOutcome.PASS if counts else ComplianceOutcome.FAIL)


def document_of(report: ComplianceReport) -> dict[str, Any]:
    """The report for programs, to be signed."""
    return {
        "version": FORM_VERSION,
        "verdict": report.verdict,
        "name": report.name,
        "made": report.made.isoformat(timespec="seconds"),
        "versions": dict(report.versions),
        "passed": report.count(ComplianceOutcome.PASS),
        "failed": report.count(ComplianceOutcome.FAIL),
        "partly": report.count(ComplianceOutcome.PARTLY),
        "not_looked_at": report.count(ComplianceOutcome.NOT_LOOKED_AT),
        "unseen": list(report.unseen),
        "rows": [_row(row) for row in report.rows],
        "findings": [
            {
                "check": each.check.value,
                "question": each.check.text,
                "outcome": each.outcome.value,
                "evidence": list(each.evidence),
                "hint": each.hint,
            }
            for each in report.findings
        ],
    }


def _row(row: ReportRow) -> dict[str, Any]:
    asked = row.requirement
    return {
        "id": asked.id,
        "framework": asked.framework.value,
        "source": asked.source,
        "title": asked.title,
        "outcome": row.outcome.value,
        "checks": [each.check.value for each in row.findings],
        "duties": [
            {"duty": each.duty.value, "outcome": each.outcome.value, "text": each.text} for each in row.duties
        ],
    }


@dataclass(frozen=True, slots=True)
class ReportChange:
    """A row or a check that turned out otherwise than in an earlier report."""

    what: str
    before: str
    """`-` where the earlier report did not have it."""
    after: str


def changed_since(report: ComplianceReport, earlier: Mapping[str, Any]) -> Sequence[ReportChange]:
    """What turned out otherwise than in `earlier`, the document of a report."""
    rows = {each["id"]: each["outcome"] for each in earlier.get("rows", ())}
    checks = {each["check"]: each["outcome"] for each in earlier.get("findings", ())}
    return tuple(_differences(report, rows, checks))


def _differences(
    report: ComplianceReport, rows: Mapping[str, str], checks: Mapping[str, str]
) -> Iterator[ReportChange]:
    now = [(row.requirement.id, rows, row.outcome) for row in report.rows]
    now += [(each.check.value, checks, each.outcome) for each in report.findings]
    for name, before, outcome in now:
        was = before.get(name, "-")
        if was != outcome.value:
            yield ReportChange(name, was, outcome.value)
