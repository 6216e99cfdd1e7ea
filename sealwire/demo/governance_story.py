"""What `sealwire demo governance` tells: who may see what, what if somebody sees too much, and proof.

The clinic is encrypted, with roles, on record, and watched. Its people read through Sealwire as any
application would. Everything else is a command that an operator types.
"""

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import OperationFailure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sealwire import core_name
from sealwire.demo.engine import Check, Screen, checked, table_of
from sealwire.demo.stage import (
    CLINIC,
    Announce,
    Dataset,
    DemoOperator,
    StepFailed,
    make_dataset,
    write_private,
)
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.sidecars.compliance.requirements import ComplianceCheck, Duty
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
        write_private(folder / name, content)


def _fill(client: MongoClient[dict[str, Any]], dataset: Dataset) -> None:
    clinic, comment = client[CLINIC], "purpose=subject-access"
    clinic.patients.create_index("nhs_number", unique=True, comment=comment)
    clinic.patients.create_index("mrn", unique=True, comment=comment)
    clinic.patients.insert_many((dict(each) for each in dataset.patients), comment=comment)
    clinic.appointments.insert_many((dict(each) for each in dataset.appointments), comment=comment)


GOVERNANCE_STEPS: Final = 7
ALERT_WITHIN_S: Final = 5.0
PAGES: Final = ("incident.html", "who-saw-it.html", "compliance.html")
"""What people read, made on the way."""

_COMMENT: Final = f"purpose={PURPOSE}"
_BROKEN: Final = {"sealwire": {"purpose": PURPOSE, "breakGlass": "unconscious in the emergency room"}}
_WITHOUT: Final = {"_id": 0, "postcode": 0, "contacts": 0, "notes": 0}
"""What a clerk may not read is left out."""
_REFUSED: Final = 78
_FLAWED: Final = 1


@dataclass(frozen=True, slots=True)
class GovernanceChapter:
    """One step: what was claimed, what was seen, and the commands that were typed for it."""

    title: str
    shown: tuple[tuple[str, str], ...]
    """Who, and what he saw."""
    commands: tuple[str, ...]
    check: Check


@dataclass(frozen=True, slots=True)
class GovernanceStory:
    """All of it."""

    patients: int
    chapters: tuple[GovernanceChapter, ...]
    pages: tuple[str, ...]
    """Files for a browser."""

    @property
    def holds(self) -> bool:
        """Whether every claim held."""
        return len(self.chapters) == GOVERNANCE_STEPS and all(each.check.passed for each in self.chapters)


def show_governance(console: Console, story: GovernanceStory, pages: Sequence[Path]) -> None:
    """Print each step: what it claims, what was seen, and the commands."""
    screen = Screen(console, "Sealwire: who may see what, what if, and proof")
    for number, chapter in enumerate(story.chapters, 1):
        screen.show(Text(f"\n{number}. {chapter.title}", style="bold"))
        seen = Table.grid(padding=(0, 2))
        for who, what in chapter.shown:
            seen.add_row(Text(who, style="cyan"), Text(what, overflow="fold"))
        screen.show(seen)
        screen.show_commands(chapter.commands)
        screen.show(table_of([chapter.check]))
    console.print()
    for page in pages:
        console.print(Text(str(page)), soft_wrap=True)
    screen.show(f"{story.patients:,} patients, {core_name()}. The pages open in any browser.", "dim")


Seen = tuple[list[tuple[str, str]], bool, str]
"""What a step saw: who and what, whether its claim held, and a detail."""


def readers(stage: GovernanceStage) -> Seen:
    """One patient, asked for by a clerk and by a clinician, with the same question."""
    patient = stage.dataset.patients[0]
    asked = {"nhs_number": patient["nhs_number"]}
    seen: dict[str, Mapping[str, Any]] = {}
    for user in (stage.clerk, stage.clinician):
        with stage.as_user(user) as client:
            found = client[CLINIC].patients.find_one(asked, _WITHOUT, comment=_COMMENT)
        seen[user.name] = found or {}
    with stage.as_user(stage.clerk) as client:
        nameless = _error(lambda: client[CLINIC].patients.find_one(asked, _WITHOUT))
    clerk, clinician = seen["clerk"], seen["clinician"]
    shown = [
        ("clerk", _shown(clerk)),
        ("clinician", _shown(clinician)),
        ("clerk, without a purpose", nameless),
    ]
    number = str(patient["nhs_number"])
    holds = clerk.get("nhs_number") == f"****{number[-4:]}" and clinician.get("nhs_number") == number
    return shown, holds and bool(nameless), "the same filter found the same patient"


def break_glass(stage: GovernanceStage) -> Seen:
    """A clerk reads what is not his to read, with a reason, and it is on record as that."""
    patient = stage.dataset.patients[1]
    asked = {"nhs_number": patient["nhs_number"]}
    with stage.as_user(stage.clerk) as client:
        patients = client[CLINIC].patients
        refused = _error(lambda: patients.find_one(asked, {"notes": 1}, comment=_COMMENT))
        found = patients.find_one(asked, {"_id": 0, "notes": 1}, comment=_BROKEN) or {}
    line = _wait_for(lambda: _last_line(stage, "break-glass"), 5.0) or {}
    shown = [
        ("clerk", refused),
        ("clerk, with a reason", str(found.get("notes", ""))),
        ("audit", f"{line.get('event')} by {line.get('user')}: {line.get('glass', line.get('reason', ''))}"),
    ]
    holds = bool(refused) and found.get("notes") == patient["notes"] and line.get("user") == "clerk@admin"
    return shown, holds, "refused before, and louder in the audit log after"


def bulk_read(stage: GovernanceStage) -> Seen:
    """Somebody reads a whole list; an alert says so, and becomes an incident with a report."""
    alerts_before = len(_alerts(stage, "bulk-read"))
    with stage.as_user(stage.clinician) as client:
        read = len(list(client[CLINIC].patients.find({}, comment=_COMMENT)))
    began = time.monotonic()
    _wait_for(lambda: len(_alerts(stage, "bulk-read")) > alerts_before, 4 * ALERT_WITHIN_S)
    took = time.monotonic() - began
    alerts = _alerts(stage, "bulk-read")
    operator = stage.operator
    number = alerts[-1]["id"] if alerts else "a1"
    opened = operator.ask("incident", "open", "--alert", number, "--title", "a whole list was read")
    operator.run("incident", "acknowledge", opened["id"])
    operator.run("incident", "assess", opened["id"], "--risk", "likely", "--note", "names and numbers")
    # it says that all is proved once a checkpoint vouches for the last line
    lines = len(_json_lines(stage.folder / "audit.jsonl"))
    _wait_for(lambda: _signed_lines(stage) >= lines, 4 * ALERT_WITHIN_S)
    report = operator.ask("incident", "report", opened["id"], "--html", stage.file("incident.html"))
    shown = [
        ("clinician", f"read {read} patients at once"),
        ("watch", f"alert {number} after {took:.1f} s"),
        ("incident", f"{opened['id']}: {opened['left_s'] // 3600} hours left of 72"),
    ]
    holds = read > BULK and took < ALERT_WITHIN_S and bool(alerts) and bool(report)
    return shown, holds, "the report has users, classes, people by pseudonym, and the time line"


def who_saw(stage: GovernanceStage) -> Seen:
    """A patient asks who has seen the record."""
    patient = stage.dataset.patients[0]
    arguments = ("audit", "subject", stage.file("audit.jsonl"), "--policy", stage.file("policy.yaml"))
    html = ("--html", stage.file("who-saw-it.html"))
    told = str(patient["nhs_number"]) + "\n"
    found = stage.operator.ask(*arguments, *html, told=told)["lines"]
    shown = [(f"{each['who']}, {each['purpose']}", f"{each['event']} {each['namespace']}") for each in found]
    people = {each["who"] for each in found}
    holds = {"clerk@admin", "clinician@admin", "admin@admin"} <= people
    return shown[:6], holds, f"{len(found)} lines about one person; the log shows no number"


def erase(stage: GovernanceStage) -> Seen:
    """The patient is erased: a legal hold stops it first, and a receipt proves it then."""
    patient, operator = stage.dataset.patients[0], stage.operator
    number = str(patient["nhs_number"])
    told, policy = f"{number}\n", stage.file("policy.yaml")
    operator.run("hold", "create")
    operator.run("hold", "place", policy, "--case", "QB-2026-117", told=told)
    receipt = stage.file("erased.receipt")
    run = ("erase", "run", policy, "--delete", "--receipt", receipt, "--yes")
    try:
        operator.run(*run, told=told)
        held = ""
    except StepFailed as refused:
        held = refused.said
    operator.run("hold", "release", "1")
    erased = operator.ask(*run, told=told)
    operator.run("erase", "verify-receipt", receipt, "--key", stage.file("audit.key.pub"))
    with stage.as_user(stage.clinician) as client:
        left = client[CLINIC].patients.find_one({"nhs_number": number}, comment=_COMMENT)
        others = client[CLINIC].patients.count_documents({}, comment=_COMMENT)
    shown = [("legal hold", held), ("clinician", f"finds {left}, and {others} others")]
    holds = bool(held) and left is None and others == len(stage.dataset.patients) - 1
    return shown, holds and number not in Path(receipt).read_text(), f"receipt: {_counts(erased)}"


def edited(stage: GovernanceStage) -> Seen:
    """Somebody edits a copy of the log; `verify` points to the line."""
    copy = stage.folder / "copy"
    copy.mkdir()
    for path in stage.folder.glob("audit.jsonl*"):
        shutil.copy(path, copy / path.name)
    log = copy / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    at = next(index for index, line in enumerate(lines) if b'"break-glass"' in line)
    lines[at] = lines[at].replace(b"clerk@admin", b"nurse@admin")
    log.write_bytes(b"".join(lines))
    key = ("--key", stage.file("audit.key.pub"))
    whole = stage.operator.ask("audit", "verify", stage.file("audit.jsonl"), *key)
    found = stage.operator.ask("audit", "verify", str(log), *key, codes=(_FLAWED,))
    flaws = [(each["flaw"], each["line"]) for each in found["flaws"]]
    shown = [(flaw, f"line {line} of {log.name}") for flaw, line in flaws[:2]]
    holds = whole["whole"] and bool(flaws) and flaws[0][1] in (at + 1, at + 2)
    return shown, holds, f"line {at + 1} was edited; the log itself is whole, {whole['lines']} lines"


def compliance(stage: GovernanceStage) -> Seen:
    """The whole deployment against UK GDPR, Caldicott and DSPT."""
    arguments = ("--key", stage.file("audit.key"), "--output", stage.file("compliance.json"))
    html = ("--html", stage.file("compliance.html"))
    settings = stage.file("compliance.yaml")
    report = stage.operator.ask("compliance", "report", settings, *arguments, *html, codes=(0, _FLAWED))
    stage.operator.run(
        "compliance", "verify", stage.file("compliance.json"), "--key", stage.file("audit.key.pub")
    )
    failed = [
        f"{each['check']}: {'; '.join(each['evidence'])}"
        for each in report["findings"]
        if each["outcome"] == "fail"
    ]
    shown = [("verdict", report["verdict"])]
    shown += [("fails", each) for each in failed]
    return shown, report["failed"] == 0, "signed, with evidence for each row"


STEPS: Final[tuple[tuple[str, str, Callable[[GovernanceStage], Seen]], ...]] = (
    ("who may see what", "a clerk sees masked numbers, a clinician clear ones", readers),
    ("an emergency", "a broken glass shows more, and is on record", break_glass),
    ("a breach", f"a bulk read is an alert within {ALERT_WITHIN_S:.0f} seconds, and an incident", bulk_read),
    ("who saw my record?", "a patient is told who saw the record, when and why", who_saw),
    ("erase me", "the patient is erased, unless a legal hold stands", erase),
    ("a forged log", "an edited audit log is found, with the line", edited),
    ("proof", "the deployment meets what is asked of it", compliance),
)


def tell_governance(stage: GovernanceStage, announce: Announce) -> GovernanceStory:
    """Play every step. A step that fails is a failed check, and the last one."""
    chapters: list[GovernanceChapter] = []
    for title, claim, step in STEPS:
        announce(title)
        shown: list[tuple[str, str]] = []
        check = checked(claim, partial(_played, step, stage, shown))
        chapters.append(GovernanceChapter(title, tuple(shown), stage.operator.typed(), check))
        if not check.passed:
            break
    pages = tuple(stage.file(name) for name in PAGES if (stage.folder / name).exists())
    return GovernanceStory(len(stage.dataset.patients), tuple(chapters), pages)


def _played(
    step: Callable[[GovernanceStage], Seen], stage: GovernanceStage, shown: list[tuple[str, str]]
) -> tuple[bool, str]:
    seen, holds, detail = step(stage)
    shown += seen
    return holds, detail


def keep_pages(story: GovernanceStory, folder: Path) -> tuple[Path, ...]:
    """The pages where they stay when the demo is over."""
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(Path(shutil.copy(page, folder)) for page in story.pages)


def _shown(document: Mapping[str, Any]) -> str:
    names = ("name", "nhs_number", "date_of_birth")
    return ", ".join(str(document.get(name, "-")).partition(" 00:")[0] for name in names)


def _error(ask: Callable[[], object]) -> str:
    """What the application was told; empty where it was answered."""
    try:
        ask()
    except OperationFailure as error:
        return str((error.details or {}).get("errmsg", error))
    return ""


def _alerts(stage: GovernanceStage, rule: str) -> list[dict[str, Any]]:
    """What the watch has said of a rule."""
    return [line for line in _json_lines(stage.watch_log) if line.get("rule") == rule]


def _signed_lines(stage: GovernanceStage) -> int:
    """For how many lines the last checkpoint vouches: each has that number in a line of its own."""
    checkpoints = stage.folder / "audit.jsonl.checkpoints"
    text = checkpoints.read_text(encoding="utf-8") if checkpoints.exists() else ""
    return max((int(line) for line in text.splitlines() if line.isdigit()), default=0)


def _last_line(stage: GovernanceStage, event: str) -> dict[str, Any] | None:
    found = [line for line in _json_lines(stage.folder / "audit.jsonl") if line.get("event") == event]
    return found[-1] if found else None


def _json_lines(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def _wait_for(look: Callable[[], Any], within_s: float) -> Any:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + within_s
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _counts(erased: Mapping[str, Any]) -> str:
    return ", ".join(f"{each['erased']} of {each['namespace']}" for each in erased["collections"])
