"""The rows of a report: what is asked by whom, what shows it here, and what stays the organisation's.

Sources: UK GDPR; the Caldicott Principles (National Data Guardian, 2020); DSPT, CAF-aligned, outcome B3 of
the Cyber Assessment Framework. The texts are ours. A row says what Sealwire can show, and is no legal advice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sealwire.sidecars.compliance.finding import ComplianceCheck


class Framework(Enum):
    """Who asks."""

    UK_GDPR = "UK GDPR"
    CALDICOTT = "Caldicott"
    DSPT = "DSPT (CAF B3)"


class Duty(Enum):
    """What no program can see: somebody attests it, with a date. The value is its name in settings."""

    PRIVACY_NOTICE = "privacy-notice"
    STAFF_TRAINING = "staff-training"
    DPIA = "dpia"
    INCIDENT_PLAN = "incident-plan"
    SHARING = "sharing-agreements"
    RECORDS = "records-of-processing"
    DEVICES = "mobile-devices"
    MEDIA = "media-sanitisation"

    @property
    def text(self) -> str:
        """What is attested."""
        return _DUTIES[self]


_DUTIES: Final[Mapping[Duty, str]] = {
    Duty.PRIVACY_NOTICE: "patients are told what is kept, why, and who can see it",
    Duty.STAFF_TRAINING: "everybody with access was trained within the year",
    Duty.DPIA: "a data protection impact assessment is in force",
    Duty.INCIDENT_PLAN: "the incident plan was exercised within the year",
    Duty.SHARING: "what is shared, with whom and why, is agreed in writing",
    Duty.RECORDS: "the record of processing activities names this data and its lawful basis",
    Duty.DEVICES: "devices that hold this data are encrypted and managed",
    Duty.MEDIA: "media and equipment are sanitised before they leave",
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row."""

    id: str
    framework: Framework
    source: str
    title: str
    checks: tuple[ComplianceCheck, ...]
    duties: tuple[Duty, ...] = ()


REQUIREMENTS: Final = (
    Requirement(
        "gdpr-at-rest",
        Framework.UK_GDPR,
        "Article 32(1)(a)",
        "Encryption at rest",
        (
            ComplianceCheck.AT_REST,
            ComplianceCheck.FIELDS,
            ComplianceCheck.SCOPE,
            ComplianceCheck.BACKUPS,
            ComplianceCheck.KEYS,
            ComplianceCheck.KEY_PROVIDER,
            ComplianceCheck.RUNNING_POLICY,
        ),
    ),
    Requirement(
        "gdpr-in-transit",
        Framework.UK_GDPR,
        "Article 32(1)(a)",
        "Encryption in transit",
        (ComplianceCheck.IN_TRANSIT, ComplianceCheck.PROXY_TLS),
    ),
    Requirement(
        "gdpr-pseudonymisation",
        Framework.UK_GDPR,
        "Articles 4(5), 32(1)(a)",
        "Pseudonymisation: no identifiers in logs",
        (ComplianceCheck.PSEUDONYMS, ComplianceCheck.LOGS),
    ),
    Requirement(
        "gdpr-access",
        Framework.UK_GDPR,
        "Articles 5(1)(f), 5(2), 32(1)(b)",
        "Access by role, with an audit",
        (
            ComplianceCheck.SERVER_LOGIN,
            ComplianceCheck.ROLES,
            ComplianceCheck.RUNNING_POLICY,
            ComplianceCheck.AUDIT_COMMANDS,
            ComplianceCheck.AUDIT_CHAIN,
        ),
    ),
    Requirement(
        "gdpr-minimisation",
        Framework.UK_GDPR,
        "Articles 5(1)(c), 25",
        "Data minimisation",
        (ComplianceCheck.MINIMISATION, ComplianceCheck.SCOPE),
        (Duty.RECORDS, Duty.DPIA),
    ),
    Requirement(
        "gdpr-erasure", Framework.UK_GDPR, "Article 17", "Right to erasure", (ComplianceCheck.ERASURE,)
    ),
    Requirement(
        "gdpr-breach",
        Framework.UK_GDPR,
        "Articles 33, 34",
        "Breaches found, and told of within 72 hours",
        (ComplianceCheck.DETECTION, ComplianceCheck.AUDIT_CHAIN),
        (Duty.INCIDENT_PLAN,),
    ),
    Requirement(
        "gdpr-resilience",
        Framework.UK_GDPR,
        "Article 32(1)(b), (c), (d)",
        "Restored when it has to be, and tested",
        (ComplianceCheck.BACKUPS, ComplianceCheck.RESTORE, ComplianceCheck.VERSIONS),
    ),
    Requirement(
        "caldicott-1",
        Framework.CALDICOTT,
        "Principle 1",
        "Justify the purpose",
        (ComplianceCheck.PURPOSES,),
        (Duty.RECORDS,),
    ),
    Requirement(
        "caldicott-2",
        Framework.CALDICOTT,
        "Principle 2",
        "Use it only when it is necessary",
        (ComplianceCheck.MINIMISATION, ComplianceCheck.FIELDS, ComplianceCheck.SCOPE),
        (Duty.DPIA,),
    ),
    Requirement(
        "caldicott-3",
        Framework.CALDICOTT,
        "Principle 3",
        "Use the minimum that is necessary",
        (ComplianceCheck.ROLES, ComplianceCheck.RUNNING_POLICY),
    ),
    Requirement(
        "caldicott-4",
        Framework.CALDICOTT,
        "Principle 4",
        "Access on a need-to-know basis",
        (
            ComplianceCheck.ROLES,
            ComplianceCheck.RUNNING_POLICY,
            ComplianceCheck.SERVER_LOGIN,
            ComplianceCheck.AUDIT_COMMANDS,
        ),
    ),
    Requirement(
        "caldicott-5",
        Framework.CALDICOTT,
        "Principle 5",
        "Everybody knows their responsibilities",
        (),
        (Duty.STAFF_TRAINING,),
    ),
    Requirement(
        "caldicott-6",
        Framework.CALDICOTT,
        "Principle 6",
        "Comply with the law",
        (ComplianceCheck.AT_REST, ComplianceCheck.IN_TRANSIT, ComplianceCheck.AUDIT_CHAIN),
        (Duty.DPIA, Duty.RECORDS),
    ),
    Requirement(
        "caldicott-7",
        Framework.CALDICOTT,
        "Principle 7",
        "The duty to share is as important as confidentiality",
        (ComplianceCheck.ROLES,),
        (Duty.SHARING,),
    ),
    Requirement(
        "caldicott-8",
        Framework.CALDICOTT,
        "Principle 8",
        "Patients know how their data is used",
        (ComplianceCheck.PSEUDONYMS,),
        (Duty.PRIVACY_NOTICE,),
    ),
    Requirement(
        "dspt-b3a",
        Framework.DSPT,
        "B3.a",
        "Understanding data: what there is, where, and who has it",
        (
            ComplianceCheck.MINIMISATION,
            ComplianceCheck.FIELDS,
            ComplianceCheck.SCOPE,
            ComplianceCheck.AUDIT_COMMANDS,
        ),
        (Duty.RECORDS,),
    ),
    Requirement(
        "dspt-b3b",
        Framework.DSPT,
        "B3.b",
        "Data in transit",
        (ComplianceCheck.IN_TRANSIT, ComplianceCheck.PROXY_TLS),
    ),
    Requirement(
        "dspt-b3c",
        Framework.DSPT,
        "B3.c",
        "Stored data",
        (
            ComplianceCheck.AT_REST,
            ComplianceCheck.FIELDS,
            ComplianceCheck.SCOPE,
            ComplianceCheck.BACKUPS,
            ComplianceCheck.RESTORE,
            ComplianceCheck.KEY_PROVIDER,
            ComplianceCheck.RUNNING_POLICY,
        ),
    ),
    Requirement("dspt-b3d", Framework.DSPT, "B3.d", "Mobile data", (), (Duty.DEVICES,)),
    Requirement(
        "dspt-b3e",
        Framework.DSPT,
        "B3.e",
        "Media and equipment sanitisation",
        (ComplianceCheck.ERASURE,),
        (Duty.MEDIA,),
    ),
)
