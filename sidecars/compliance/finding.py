"""What was looked at, and what was found."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


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


class ComplianceCheck(Enum):
    """Everything that is looked at. The value is its name in settings and reports."""

    AT_REST = "at-rest"
    IN_TRANSIT = "in-transit"
    PROXY_TLS = "proxy-tls"
    FIELDS = "fields"
    SCOPE = "scope"
    MINIMISATION = "minimisation"
    BACKUPS = "backups"
    RESTORE = "restore"
    KEYS = "keys"
    KEY_PROVIDER = "key-provider"
    RUNNING_POLICY = "running-policy"
    SERVER_LOGIN = "server-login"
    ROLES = "roles"
    PURPOSES = "purposes"
    AUDIT_CHAIN = "audit-chain"
    AUDIT_COMMANDS = "audit-commands"
    PSEUDONYMS = "pseudonyms"
    LOGS = "logs"
    DETECTION = "detection"
    ERASURE = "erasure"
    VERSIONS = "versions"

    @property
    def question(self) -> str:
        """What is asked, for the reader of a report."""
        return QUESTIONS[self]


QUESTIONS: Mapping[ComplianceCheck, str] = {
    ComplianceCheck.AT_REST: "Does everything that the database has open lie on dm-crypt?",
    ComplianceCheck.IN_TRANSIT: "Do servers and web servers speak TLS 1.2 or newer, with good certificates?",
    ComplianceCheck.PROXY_TLS: "Does the proxy demand TLS from clients, and verify the server?",
    ComplianceCheck.FIELDS: "Is every stored value of a covered field encrypted?",
    ComplianceCheck.SCOPE: "Does the policy name every database and collection of the server?",
    ComplianceCheck.MINIMISATION: "Is no field in clear that looks personal or is covered?",
    ComplianceCheck.BACKUPS: "Is the newest backup recent and sealed, and none in plaintext left?",
    ComplianceCheck.RESTORE: "Has a restore been drilled?",
    ComplianceCheck.KEYS: "Is no key overdue for rotation or rewrapping?",
    ComplianceCheck.KEY_PROVIDER: "Do running proxies keep the key-encryption key out of the environment?",
    ComplianceCheck.RUNNING_POLICY: "Do the running proxies have the policy that was looked at?",
    ComplianceCheck.SERVER_LOGIN: "Does the server ask everybody to log in?",
    ComplianceCheck.ROLES: "Does the policy say who may see what, and not give it to everybody?",
    ComplianceCheck.PURPOSES: "Must whoever reads protected data state a purpose?",
    ComplianceCheck.AUDIT_CHAIN: "Is the audit log whole, and signed up to now?",
    ComplianceCheck.AUDIT_COMMANDS: "Is every command on protected data on record?",
    ComplianceCheck.PSEUDONYMS: "Are subjects in the audit log pseudonyms?",
    ComplianceCheck.LOGS: "Is there no personal data in the logs?",
    ComplianceCheck.DETECTION: "Is the audit log watched for breaches?",
    ComplianceCheck.ERASURE: "Does the policy say whose data documents are, so that a person can be erased?",
    ComplianceCheck.VERSIONS: "Has no installed version a known vulnerability?",
}


@dataclass(frozen=True, slots=True)
class ComplianceFinding:
    """What one look found. All of it is names, counts and times, never a value."""

    check: ComplianceCheck
    outcome: ComplianceOutcome
    evidence: tuple[str, ...]
    hint: str = ""
    """What to do about it, where something is to be done."""
    unseen: tuple[str, ...] = ()
    """The databases and collections that were not looked at."""
