"""What `sealwire demo backup` tells: a backup of the clinic from its making to its restore, checked.

The steps are the commands that an operator types, run as processes of their own with files and environment as
documented; nothing here reaches into the backups by itself but the search for patients.
"""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sealwire import core_name
from sealwire.demo.application import run_application
from sealwire.demo.engine import Check, Checked, Screen, checked, marked
from sealwire.demo.inspection import covered_texts, find_patient, scan_folder
from sealwire.demo.stage import CLINIC, POLICY_FILE, Announce, DemoOperator, Stage, StepFailed, write_private
from sealwire.demo.story import shown_patient

BACKUP_STEPS = 8
RESTORED = "clinic_restored"

_NAME = "clinic-1"
_WRONG_KEY = 77


def write_policy(folder: Path) -> Path:
    """The example's policy, and its collections once more under the name that they are restored to."""
    rules = POLICY_FILE.read_text(encoding="utf-8")
    collections = rules.partition("\ncollections:\n")[2]
    file = folder / "policy.yaml"
    file.write_text(rules + collections.replace(f"  {CLINIC}.", f"  {RESTORED}."), encoding="utf-8")
    return file


@dataclass(frozen=True, slots=True)
class BackupStory(Checked):
    """Every step with its claim, whether it held, and what was seen."""

    patients: int
    checks: tuple[Check, ...]


class _Operator:
    """Types `sealwire backup ...` on a machine that knows the server's address by a file."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.folder = stage.databases.folder / "backup"
        self.old_key, self.new_key = self.folder / "backup-key", self.folder / "next-key"
        self.store = self.folder / "store"
        self.store.mkdir(parents=True, mode=0o700)
        uri = stage.databases.guarded.uri(stage.databases.administrator)
        self._uri_file = write_private(self.folder / "uri", uri)
        self._passphrase_file = write_private(self.folder / "passphrase", secrets.token_urlsafe(24))

    def backup(self, subcommand: str, *arguments: str, server: bool = False) -> dict[str, Any]:
        """Run it to its end; what it printed for programs. Raises StepFailed."""
        environment = os.environ | {
            "SEALWIRE_BACKUP_STORE": str(self.store),
            "SEALWIRE_PASSPHRASE_FILE": str(self._passphrase_file),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        if server:
            environment["SEALWIRE_SERVER_URI_FILE"] = str(self._uri_file)
        printed: dict[str, Any] = DemoOperator(environment, {}).ask("backup", subcommand, *arguments)
        return printed


def _create(operator: _Operator) -> tuple[bool, str]:
    recipient = ("--recipient", f"public:{operator.old_key}.pub")
    arguments = (_NAME, *recipient, "--only", CLINIC, "--policy", str(POLICY_FILE))
    made = operator.backup("create", *arguments, server=True)
    detail = f"{made['documents']:,} documents, {made['consistency']}, read by {made['dumper']}"
    return (operator.store / f"{_NAME}.tar.gz.enc").exists(), detail


def _search(operator: _Operator) -> tuple[bool, str]:
    """Sealed, and opened as well: what is compressed would hide the patients from a search by itself."""
    texts = covered_texts(operator.stage.databases.dataset)
    sealed = scan_folder(operator.store, texts)
    opened_folder = operator.folder / "opened"
    operator.backup("unpack", _NAME, str(opened_folder), "--key", f"private:{operator.old_key}")
    opened = scan_folder(opened_folder, texts)
    control = scan_folder(operator.stage.databases.dataset.patients_file.parent, texts)
    passed = sealed.hits == opened.hits == 0 and opened.size_bytes > 0 and control.hits > 0
    detail = (
        f"{sealed.hits} hits in the file, {opened.hits} in {opened.size_bytes / 1e6:.1f} MB of it opened; "
        f"{control.hits:,} in the clinic's own lists"
    )
    return passed, detail


def _verify(operator: _Operator) -> tuple[bool, str]:
    (row,) = operator.backup("verify", _NAME, "--key", f"private:{operator.old_key}")["sound"]
    return bool(row["recorded"]), f"{row['files']} files, {row['documents']:,} documents"


def _drill(operator: _Operator) -> tuple[bool, str]:
    report = operator.backup("restore", _NAME, "--key", f"private:{operator.old_key}", "--drill")
    detail = f"{len(report['collections'])} collections the same after {report['seconds']:.1f} s"
    return bool(report["holds"]), detail


def _rekey(operator: _Operator) -> tuple[bool, str]:
    payload = operator.store / f"{_NAME}.tar.gz.enc"
    before = payload.stat()
    keys = ("--key", f"private:{operator.old_key}", "--recipient", f"public:{operator.new_key}.pub")
    operator.backup("rekey", _NAME, *keys)
    after = payload.stat()
    untouched = (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    try:
        operator.backup("verify", _NAME, "--key", f"private:{operator.old_key}")
    except StepFailed as refused:
        return untouched and refused.exit_code == _WRONG_KEY, f"the old key: {str(refused)[:72]}"
    return False, "the old key opens it"


def _restore(operator: _Operator) -> tuple[bool, str]:
    rename = ("--rename", f"{CLINIC}={RESTORED}")
    report = operator.backup("restore", _NAME, "--key", f"private:{operator.new_key}", *rename, server=True)
    stage = operator.stage
    patient = shown_patient(stage.databases.dataset.patients)
    with (
        MongoClient[dict[str, Any]](stage.sealwire_uri) as application,
        MongoClient[dict[str, Any]](stage.proxy.uri(stage.databases.administrator, RESTORED)) as restored,
    ):
        before, after = find_patient(application, patient), find_patient(restored, patient)
    same = before is not None and before == after and before["nhs_number"] == patient["nhs_number"]
    documents = sum(row["documents"] for row in report["collections"])
    return bool(report["holds"]) and same, f"{documents:,} documents, one patient read: the same"


_STEPS: tuple[tuple[str, str, Callable[[_Operator], tuple[bool, str]]], ...] = (
    ("making a backup", "a backup was made with a public key: this machine cannot read it", _create),
    ("looking for patients in it", "a search finds no patient in it, sealed or opened", _search),
    ("verifying it", "verified to its authenticated end, every checksum and count", _verify),
    (
        "restoring it into a throw-away server",
        "the drill: restored into a server of its own, compared, removed",
        _drill,
    ),
    ("changing its key", "another key opens it, the old one does not, the payload was not touched", _rekey),
    (
        "restoring it under another name",
        "restored under another name, and readable through Sealwire",
        _restore,
    ),
)
"""What is announced, what is claimed, and the step that says whether it holds, and what was seen."""


def tell_backup(stage: Stage, announce: Announce) -> BackupStory:
    """Fill the clinic through Sealwire, then make, check, drill, rekey and restore a backup of it.

    Raises:  TestbedError when the application fails; a step that fails is a failed check instead
    """
    announce("filling the clinic through Sealwire")
    run_application(
        stage.sealwire_uri,
        stage.databases.dataset,
        stage.databases.folder / "application.log",
        lambda _: None,
    )
    operator = _Operator(stage)
    announce("making keys")
    for key in (operator.old_key, operator.new_key):
        with suppress(StepFailed):  # the steps that need it say so
            operator.backup("create-key", str(key))
    checks = []
    for text, claim, step in _STEPS:
        announce(text)
        checks.append(checked(claim, partial(step, operator)))
    return BackupStory(len(stage.databases.dataset.patients), tuple(checks))


def show_backup(console: Console, story: BackupStory) -> None:
    """Print the whole story of the backup: one line a step."""
    screen = Screen(console, "Sealwire: a backup of the clinic, from its making to its restore")
    table = Table.grid(padding=(0, 1))
    for number, check in enumerate(story.checks, 1):
        table.add_row(f"{number}.", marked(check), check.claim)
        table.add_row("", "", Text(check.detail, style="dim"))
    screen.show(table)
    closing = f"{story.patients:,} patients, {core_name()}; each step is a `sealwire backup` command"
    screen.show(closing, "dim")
