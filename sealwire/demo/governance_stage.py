"""What the demo of governance plays on: an encrypted clinic with roles, on record, and watched."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient

from sealwire.demo.dataset import Dataset, make_dataset
from sealwire.demo.stage import CLINIC, Announce, DemoOperator
from sealwire.keys.kek.kek import DEFAULT_VARIABLE
from sealwire.sidecars.compliance.finding import ComplianceCheck
from sealwire.sidecars.compliance.requirements import Duty
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.child import Child
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, ServerTls
from sealwire.testbed.mongo_server import User
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess

GOVERNANCE_SETUP_STEPS: Final = 4
PURPOSE: Final = "direct-care"
BULK: Final = 100
"""So many values of one class in ten minutes are an alert."""

POLICY: Final = """\
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  mrn: {mode: deterministic, type: string}
  person: {mode: random}
  postcode: {mode: deterministic, type: string}
  phone: {mode: random}
  date_of_birth: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2100-01-01}}
  notes: {mode: random}
collections:
  clinic.patients:
    nhs_number: nhs_number
    mrn: mrn
    name: person
    postcode: postcode
    date_of_birth: date_of_birth
    address: person
    contacts.phone: phone
    notes: notes
  clinic.appointments:
    patient_nhs: nhs_number
subjects: {class: nhs_number}
roles:
  clerk:
    users: ["clerk@admin"]
    purposes: [direct-care]
    comparisons_per_hour: 200
    classes:
      nhs_number: {read: {mask: last4}, filter: true}
      mrn: {read: clear, filter: true}
      person: {read: clear}
      date_of_birth: {read: {mask: year}}
  clinician:
    users: ["clinician@admin"]
    purposes: [direct-care]
    classes: {"*": {read: clear, filter: true, write: true}}
  on_call:
    users: ["clerk@admin"]
    purposes: [direct-care]
    break_glass: true
    documents_per_hour: 20
    classes: {"*": {read: clear, filter: true}}
  subject_access:
    users: ["admin@admin"]
    purposes: [subject-access]
    delete: true
    classes: {"*": {read: clear, filter: true, write: true}}
"""

_ALERTS: Final = f"""\
version: 1
audit: {{path: audit.jsonl, key: audit.key.pub}}
state: watch.sqlite
rules:
  bulk-read: {{at_least: {BULK}}}
"""

_COMPLIANCE: Final = """\
version: 1
name: demo.clinic.example
proxy: sealwire/sealwire.yaml
server: {{uri_file: server.uri, sample: 0}}
audit: {{key: audit.key.pub}}
logs: [sealwire/sealwire.log]
watch: alerts.yaml
not_applicable:
{exempt}
attested:
{attested}
"""


_EXEMPT: Final = {
    ComplianceCheck.AT_REST: "the demo's disk is this machine's; sealwire luks status looks at one",
    ComplianceCheck.IN_TRANSIT: "sealwire tls verify looks at servers from outside",
    ComplianceCheck.BACKUPS: "sealwire demo backup tells that story",
    ComplianceCheck.RESTORE: "sealwire demo backup drills one",
    ComplianceCheck.KEY_PROVIDER: "the demo's key lives as long as the demo",
    ComplianceCheck.VERSIONS: "the demo asks nobody outside",
}


@dataclass(frozen=True, slots=True)
class GovernanceStage:
    """The running parts, and the people who use them."""

    database: DatabaseProcess
    proxy: ProxyProcess
    watch_log: Path
    administrator: User
    clerk: User
    clinician: User
    dataset: Dataset
    folder: Path
    operator: DemoOperator

    def file(self, name: str) -> str:
        """The path of a file of the demo."""
        return str(self.folder / name)

    def as_user(self, user: User) -> MongoClient[dict[str, Any]]:
        """A connection through Sealwire; the caller closes it."""
        return MongoClient(self.proxy.uri(user, CLINIC))


@contextmanager
def build_governance(folder: Path, patients: int, seed: int, announce: Announce) -> Iterator[GovernanceStage]:
    """Start everything in `folder`, end everything with the block. Raises TestbedError.

    Cost: about 8 s on two cores.
    """
    administrator, clerk, clinician = (
        User(name, secrets.token_urlsafe(12), roles)
        for name, roles in (
            ("admin", (("root", "admin"),)),
            ("clerk", (("readWrite", CLINIC),)),
            ("clinician", (("readWrite", CLINIC),)),
        )
    )
    announce("inventing patients")
    dataset = make_dataset(folder / "data", patients, seed)
    announce("starting the database")
    authority = create_authority(folder / "tls")
    issued = authority.issue("database")
    tls = ServerTls(issued.certificate, issued.key, authority.certificate_file)
    users = (administrator, clerk, clinician)
    with ExitStack() as stack:
        database = DatabaseProcess(DatabaseOptions(folder / "storage", users, tls))
        stack.callback(database.stop)
        database.start()
        announce("making keys, starting Sealwire and the watch")
        _write_files(folder, database.uri(administrator))
        options = ProxyOptions(
            *(folder / "sealwire", folder / "policy.yaml", database.address),
            *(authority.issue("sealwire"), authority.certificate_file),
            settings={"audit": _audit(folder), "log": {"format": "json"}},
        )
        operator = DemoOperator(_environment(folder, options), {f"{folder}/": ""})
        subjects = ("--subjects-key", str(folder / "subjects.key"))
        operator.run(
            "audit", "create-key", str(folder / "audit.key"), "--name", "demo.clinic.example", *subjects
        )
        proxy = stack.enter_context(ProxyProcess(options))
        announce("filling the clinic, through Sealwire")
        with MongoClient[dict[str, Any]](proxy.uri(administrator, CLINIC)) as client:
            _fill(client, dataset)
        operator.run("watch", str(folder / "alerts.yaml"), "--learn")
        watch_log = folder / "watch.log"
        watch = Child([sys.executable, "-m", "sealwire", "watch", folder / "alerts.yaml"], watch_log)
        stack.callback(watch.stop)
        watch.wait_until(lambda: b'"watching"' in watch_log.read_bytes(), "the watch")
        operator.typed()
        yield GovernanceStage(
            database, proxy, watch_log, administrator, clerk, clinician, dataset, folder, operator
        )


def _audit(folder: Path) -> dict[str, object]:
    return {
        "path": str(folder / "audit.jsonl"),
        "key": str(folder / "audit.key"),
        "subjects_key": str(folder / "subjects.key"),
        "checkpoint_s": 1,
    }


def _environment(folder: Path, options: ProxyOptions) -> dict[str, str]:
    """What an operator's commands have: keys, the server, and where they are put on record."""
    return os.environ | {
        DEFAULT_VARIABLE: options.kek,
        "SEALWIRE_KEYRING": str(options.folder / "keyring.json"),
        "SEALWIRE_SERVER_URI_FILE": str(folder / "server.uri"),
        "SEALWIRE_AUDIT_PATH": str(folder / "audit.jsonl"),
        "SEALWIRE_AUDIT_KEY": str(folder / "audit.key"),
        "SEALWIRE_AUDIT_SUBJECTS_KEY": str(folder / "subjects.key"),
        "SEALWIRE_HOLDS": str(folder / "holds.json"),
        "SEALWIRE_WATCH_CONFIG": str(folder / "alerts.yaml"),
    }


def _write_files(folder: Path, server_uri: str) -> None:
    today = datetime.now(UTC).date().isoformat()
    attested = "\n".join(f"  {duty.value}: {{date: {today}, by: the demo}}" for duty in Duty)
    exempt = "\n".join(
        f"  {check.value}: {{date: {today}, by: the demo, reason: {reason}}}"
        for check, reason in _EXEMPT.items()
    )
    for name, content in (
        ("policy.yaml", POLICY),
        ("alerts.yaml", _ALERTS),
        ("compliance.yaml", _COMPLIANCE.format(exempt=exempt, attested=attested)),
        ("server.uri", server_uri),
    ):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(content, encoding="utf-8")


def _fill(client: MongoClient[dict[str, Any]], dataset: Dataset) -> None:
    clinic, comment = client[CLINIC], "purpose=subject-access"
    clinic.patients.create_index("nhs_number", unique=True, comment=comment)
    clinic.patients.create_index("mrn", unique=True, comment=comment)
    clinic.patients.insert_many((dict(each) for each in dataset.patients), comment=comment)
    clinic.appointments.insert_many((dict(each) for each in dataset.appointments), comment=comment)
