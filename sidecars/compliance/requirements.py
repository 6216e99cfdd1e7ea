"""What is looked at, and which rows of which framework rest on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, Final, NamedTuple, Self


class ComplianceOutcome(Enum):
    """How it turned out."""

    PASS = "pass"  # noqa: S105 - no password
    PARTLY = "partly"
    """What was looked at is so. Something was not looked at, or is declared to be otherwise."""
    FAIL = "fail"
    """It is not so, or nobody could look: what is not known to be well is not well."""
    NOT_LOOKED_AT = "not looked at"
    NOT_APPLICABLE = "not applicable"
    """Somebody says so in the settings, with a reason. It was not looked at either."""

    @property
    def is_unseen(self) -> bool:
        """Whether nothing was looked at."""
        return self in (ComplianceOutcome.NOT_LOOKED_AT, ComplianceOutcome.NOT_APPLICABLE)


class _Explained(Enum):
    """A name, which is the value, with a text about it."""

    _value_: str
    text: str

    def __new__(cls, name: str, text: str = "") -> Self:
        made = object.__new__(cls)
        made._value_, made.text = name, text
        return made


class ComplianceCheck(_Explained):
    """Everything that is looked at: its name in settings and reports, and what is asked."""

    PROTECTION = "protection", "Does the policy protect all that it covers, and not only observe it?"
    AT_REST = "at-rest", "Does everything that the database has open lie on dm-crypt?"
    IN_TRANSIT = "in-transit", "Do servers and web servers speak TLS 1.2 or newer, with good certificates?"
    PROXY_TLS = "proxy-tls", "Does the proxy demand TLS from clients, and verify the server?"
    FIELDS = "fields", "Is every stored value of a covered field encrypted?"
    SCOPE = "scope", "Does the policy name every database and collection of the server?"
    MINIMISATION = "minimisation", "Is no field in clear that looks personal or is covered?"
    BACKUPS = "backups", "Is the newest backup recent and sealed, and none in plaintext left?"
    RESTORE = "restore", "Has a restore been drilled?"
    KEYS = "keys", "Is no key overdue for rotation or rewrapping?"
    KEY_PROVIDER = "key-provider", "Do running proxies keep the key-encryption key out of the environment?"
    RUNNING_POLICY = "running-policy", "Do the running proxies have the policy that was looked at?"
    SERVER_LOGIN = "server-login", "Does the server ask everybody to log in?"
    ROLES = "roles", "Does the policy say who may see what, and not give it to everybody?"
    PURPOSES = "purposes", "Must whoever reads protected data state a purpose?"
    AUDIT_CHAIN = "audit-chain", "Is the audit log whole, and signed up to now?"
    AUDIT_COMMANDS = "audit-commands", "Is every command on protected data on record?"
    PSEUDONYMS = "pseudonyms", "Are subjects in the audit log pseudonyms?"
    LOGS = "logs", "Is there no personal data in the logs?"
    DETECTION = "detection", "Is the audit log watched for breaches?"
    ERASURE = "erasure", "Does the policy say whose data documents are, so that a person can be erased?"
    VERSIONS = "versions", "Has no installed version a known vulnerability?"


@dataclass(frozen=True, slots=True)
class ComplianceFinding:
    """What one look found. All of it is names, counts and times, never a value."""

    outcome: ComplianceOutcome
    evidence: tuple[str, ...]
    hint: str = ""
    """What to do about it, where something is to be done."""
    unseen: tuple[str, ...] = ()
    """The databases and collections that were not looked at."""


class Framework(Enum):
    """Who asks."""

    UK_GDPR = "UK GDPR"
    CALDICOTT = "Caldicott"
    DSPT = "DSPT (CAF B3)"


class Duty(_Explained):
    """What no program can see: somebody attests it, with a date. Name in settings, what is attested."""

    PRIVACY_NOTICE = "privacy-notice", "patients are told what is kept, why, and who can see it"
    STAFF_TRAINING = "staff-training", "everybody with access was trained within the year"
    DPIA = "dpia", "a data protection impact assessment is in force"
    INCIDENT_PLAN = "incident-plan", "the incident plan was exercised within the year"
    SHARING = "sharing-agreements", "what is shared, with whom and why, is agreed in writing"
    RECORDS = (
        "records-of-processing",
        "the record of processing activities names this data and its lawful basis",
    )
    DEVICES = "mobile-devices", "devices that hold this data are encrypted and managed"
    MEDIA = "media-sanitisation", "media and equipment are sanitised before they leave"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row."""

    id: str
    framework: Framework
    source: str
    title: str
    checks: tuple[ComplianceCheck, ...]
    duties: tuple[Duty, ...] = ()


def _required(id_: str, source: str, title: str, checks: str, duties: str = "") -> Requirement:
    """A row whose checks and duties are given by their names. The id begins with the framework's."""
    framework = _FRAMEWORKS[id_.partition("-")[0]]
    named = tuple(map(ComplianceCheck, checks.split()))
    return Requirement(id_, framework, source, title, named, tuple(map(Duty, duties.split())))


_FRAMEWORKS: Final = {
    "gdpr": Framework.UK_GDPR,
    "caldicott": Framework.CALDICOTT,
    "dspt": Framework.DSPT,
}
REQUIREMENTS: Final = (
    _required(
        "gdpr-at-rest",
        "Article 32(1)(a)",
        "Encryption at rest",
        "protection at-rest fields scope backups keys key-provider running-policy",
    ),
    _required("gdpr-in-transit", "Article 32(1)(a)", "Encryption in transit", "in-transit proxy-tls"),
    _required(
        "gdpr-pseudonymisation",
        "Articles 4(5), 32(1)(a)",
        "Pseudonymisation: no identifiers in logs",
        "pseudonyms logs",
    ),
    _required(
        "gdpr-access",
        "Articles 5(1)(f), 5(2), 32(1)(b)",
        "Access by role, with an audit",
        "server-login roles running-policy audit-commands audit-chain",
    ),
    _required(
        "gdpr-minimisation",
        "Articles 5(1)(c), 25",
        "Data minimisation",
        "minimisation scope",
        "records-of-processing dpia",
    ),
    _required("gdpr-erasure", "Article 17", "Right to erasure", "erasure"),
    _required(
        "gdpr-breach",
        "Articles 33, 34",
        "Breaches found, and told of within 72 hours",
        "detection audit-chain",
        "incident-plan",
    ),
    _required(
        "gdpr-resilience",
        "Article 32(1)(b), (c), (d)",
        "Restored when it has to be, and tested",
        "backups restore versions",
    ),
    _required("caldicott-1", "Principle 1", "Justify the purpose", "purposes", "records-of-processing"),
    _required(
        "caldicott-2", "Principle 2", "Use it only when it is necessary", "minimisation fields scope", "dpia"
    ),
    _required("caldicott-3", "Principle 3", "Use the minimum that is necessary", "roles running-policy"),
    _required(
        "caldicott-4",
        "Principle 4",
        "Access on a need-to-know basis",
        "roles running-policy server-login audit-commands",
    ),
    _required("caldicott-5", "Principle 5", "Everybody knows their responsibilities", "", "staff-training"),
    _required(
        "caldicott-6",
        "Principle 6",
        "Comply with the law",
        "at-rest in-transit audit-chain",
        "dpia records-of-processing",
    ),
    _required(
        "caldicott-7",
        "Principle 7",
        "The duty to share is as important as confidentiality",
        "roles",
        "sharing-agreements",
    ),
    _required(
        "caldicott-8", "Principle 8", "Patients know how their data is used", "pseudonyms", "privacy-notice"
    ),
    _required(
        "dspt-b3a",
        "B3.a",
        "Understanding data: what there is, where, and who has it",
        "minimisation fields scope audit-commands",
        "records-of-processing",
    ),
    _required("dspt-b3b", "B3.b", "Data in transit", "in-transit proxy-tls"),
    _required(
        "dspt-b3c", "B3.c", "Stored data", "at-rest fields scope backups restore key-provider running-policy"
    ),
    _required("dspt-b3d", "B3.d", "Mobile data", "", "mobile-devices"),
    _required("dspt-b3e", "B3.e", "Media and equipment sanitisation", "erasure", "media-sanitisation"),
)


# A report: every row with its outcome and evidence, dated, and what has changed since an earlier one.

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
    findings: Mapping[ComplianceCheck, ComplianceFinding]
    duties: tuple[DutyState, ...]

    @property
    def outcome(self) -> ComplianceOutcome:
        """FAIL if anything fails, PASS if everything passes.

        NOT_LOOKED_AT if no check looked at anything: somebody's word is not a look. Otherwise PARTLY.
        """
        seen = [each.outcome for each in self.findings.values()]
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
    findings: Mapping[ComplianceCheck, ComplianceFinding]
    """In the order of the checks."""
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
        return tuple(dict.fromkeys(name for each in self.findings.values() for name in each.unseen))


def make_report(
    name: str,
    made: datetime,
    versions: Mapping[str, str],
    findings: Mapping[ComplianceCheck, ComplianceFinding],
    attested: Mapping[Duty, Attestation],
) -> ComplianceReport:
    """Hold findings, one for each check in their order, against the requirements."""
    rows = tuple(
        ReportRow(
            each,
            {check: findings[check] for check in each.checks},
            tuple(_state(duty, attested.get(duty), made.date()) for duty in each.duties),
        )
        for each in REQUIREMENTS
    )
    return ComplianceReport(name, made, versions, findings, rows)


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
                "check": check.value,
                "question": check.text,
                "outcome": each.outcome.value,
                "evidence": list(each.evidence),
                "hint": each.hint,
            }
            for check, each in report.findings.items()
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
        "checks": [check.value for check in row.findings],
        "duties": [
            {"duty": each.duty.value, "outcome": each.outcome.value, "text": each.text} for each in row.duties
        ],
    }


class ReportChange(NamedTuple):
    """A row or a check that turned out otherwise than in an earlier report."""

    what: str
    before: str
    """`-` where the earlier report did not have it."""
    after: str


def changed_since(report: ComplianceReport, earlier: Mapping[str, Any]) -> tuple[ReportChange, ...]:
    """What turned out otherwise than in `earlier`, the document of a report."""
    rows = {each["id"]: each["outcome"] for each in earlier.get("rows", ())}
    checks = {each["check"]: each["outcome"] for each in earlier.get("findings", ())}
    now = [(row.requirement.id, rows, row.outcome) for row in report.rows]
    now += [(check.value, checks, each.outcome) for check, each in report.findings.items()]
    found = (ReportChange(name, before.get(name, "-"), outcome.value) for name, before, outcome in now)
    return tuple(each for each in found if each.before != each.after)
