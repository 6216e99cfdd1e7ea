"""What `sealwire demo backup` tells: a backup of the clinic from its making to its restore, checked.

The steps are the commands that an operator types, run as processes of their own with files and environment as
documented; nothing here reaches into the backups by itself but the search for patients.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from sealwire.demo.application import run_application
from sealwire.demo.file_scan import covered_texts, scan_folder
from sealwire.demo.inspection import find_patient
from sealwire.demo.layout import POLICY_FILE
from sealwire.demo.stage import CLINIC, Announce, Stage
from sealwire.demo.story import Check, shown_patient

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
class BackupStory:
    """Every step with its claim, whether it held, and what was seen."""

    patients: int
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every claim held."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True, slots=True)
class _Done:
    """One command that was run."""

    exit_code: int
    output: str
    errors: str

    def json(self) -> dict[str, Any]:
        """What it printed for programs; nothing where it failed."""
        parsed: dict[str, Any] = json.loads(self.output) if self.output else {}
        return parsed

    @property
    def why(self) -> str:
        """The last line of its errors."""
        return (self.errors.strip().splitlines() or ["no message"])[-1]


class _Operator:
    """Types `sealwire backup ...` on a machine that knows the server's address by a file."""

    def __init__(self, stage: Stage) -> None:
        self.folder = stage.folder / "backup"
        self.store = self.folder / "store"
        self.store.mkdir(parents=True, mode=0o700)
        self._uri_file = self._private("uri", stage.guarded.uri(stage.administrator))
        self._passphrase_file = self._private("passphrase", secrets.token_urlsafe(24))

    def backup(self, subcommand: str, *arguments: str, server: bool = False) -> _Done:
        """Run it to its end."""
        command = [sys.executable, "-m", "sealwire", "backup", subcommand, *arguments]
        environment = os.environ | {
            "SEALWIRE_BACKUP_STORE": str(self.store),
            "SEALWIRE_PASSPHRASE_FILE": str(self._passphrase_file),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        if server:
            environment["SEALWIRE_SERVER_URI_FILE"] = str(self._uri_file)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return _Done(done.returncode, done.stdout, done.stderr)

    def key(self, name: str) -> Path:
        """A fresh key pair; its public half has `.pub` behind it."""
        path = self.folder / name
        self.backup("create-key", str(path))
        return path

    def _private(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(content)
        return path


def tell_backup(stage: Stage, announce: Announce) -> BackupStory:
    """Fill the clinic through Sealwire, then make, check, drill, rekey and restore a backup of it.

    Raises:  TestbedError when the application fails; a step that fails is a failed check instead
    """
    announce("filling the clinic through Sealwire")
    run_application(stage.sealwire_uri, stage.dataset, stage.folder / "application.log", lambda _: None)
    operator = _Operator(stage)
    announce("making keys")
    old, new = operator.key("backup-key"), operator.key("next-key")
    steps: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("making a backup", lambda: _create(operator, old)),
        ("looking for patients in it", lambda: _search(stage, operator, old)),
        ("verifying it", lambda: _verify(operator, old)),
        ("restoring it into a throw-away server", lambda: _drill(operator, old)),
        ("changing its key", lambda: _rekey(operator, old, new)),
        ("restoring it under another name", lambda: _restore(stage, operator, new)),
    )
    checks = []
    for text, step in steps:
        announce(text)
        checks.append(step())
    return BackupStory(len(stage.dataset.patients), tuple(checks))


def _create(operator: _Operator, key: Path) -> Check:
    recipient = ("--recipient", f"public:{key}.pub")
    arguments = (_NAME, *recipient, "--only", CLINIC, "--policy", str(POLICY_FILE), "--json")
    done = operator.backup("create", *arguments, server=True)
    made = done.json()
    claim = "a backup was made with a public key: this machine cannot read it"
    if done.exit_code != 0:
        return Check(claim, False, done.why)
    detail = f"{made['documents']:,} documents, {made['consistency']}, read by {made['dumper']}"
    return Check(claim, (operator.store / f"{_NAME}.tar.gz.enc").exists(), detail)


def _search(stage: Stage, operator: _Operator, key: Path) -> Check:
    """Sealed, and opened as well: what is compressed would hide the patients from a search by itself."""
    texts = covered_texts(stage.dataset)
    sealed = scan_folder(operator.store, texts)
    opened_folder = operator.folder / "opened"
    operator.backup("unpack", _NAME, str(opened_folder), "--key", f"private:{key}")
    opened = scan_folder(opened_folder, texts)
    control = scan_folder(stage.dataset.patients_file.parent, texts)
    passed = sealed.hits == opened.hits == 0 and opened.size_bytes > 0 and control.hits > 0
    detail = (
        f"{sealed.hits} hits in the file, {opened.hits} in {opened.size_bytes / 1e6:.1f} MB of it opened; "
        f"{control.hits:,} in the clinic's own lists"
    )
    return Check("a search finds no patient in it, sealed or opened", passed, detail)


def _verify(operator: _Operator, key: Path) -> Check:
    done = operator.backup("verify", _NAME, "--key", f"private:{key}", "--json")
    claim = "verified to its authenticated end, every checksum and count"
    if done.exit_code != 0:
        return Check(claim, False, done.why)
    (row,) = done.json()["sound"]
    return Check(claim, bool(row["recorded"]), f"{row['files']} files, {row['documents']:,} documents")


def _drill(operator: _Operator, key: Path) -> Check:
    done = operator.backup("restore", _NAME, "--key", f"private:{key}", "--drill", "--json")
    claim = "the drill: restored into a server of its own, compared, removed"
    report = done.json()
    if not report:
        return Check(claim, False, done.why)
    detail = f"{len(report['collections'])} collections the same after {report['seconds']:.1f} s"
    return Check(claim, done.exit_code == 0 and bool(report["holds"]), detail)


def _rekey(operator: _Operator, old: Path, new: Path) -> Check:
    payload = operator.store / f"{_NAME}.tar.gz.enc"
    before = payload.stat()
    keys = ("--key", f"private:{old}", "--recipient", f"public:{new}.pub")
    done = operator.backup("rekey", _NAME, *keys)
    after = payload.stat()
    claim = "another key opens it, the old one does not, the payload was not touched"
    if done.exit_code != 0:
        return Check(claim, False, done.why)
    refused = operator.backup("verify", _NAME, "--key", f"private:{old}")
    untouched = (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    return Check(claim, untouched and refused.exit_code == _WRONG_KEY, f"the old key: {refused.why[:72]}")


def _restore(stage: Stage, operator: _Operator, key: Path) -> Check:
    rename = ("--rename", f"{CLINIC}={RESTORED}", "--json")
    done = operator.backup("restore", _NAME, "--key", f"private:{key}", *rename, server=True)
    claim = "restored under another name, and readable through Sealwire"
    report = done.json()
    if not report:
        return Check(claim, False, done.why)
    patient = shown_patient(stage.dataset.patients)
    with (
        MongoClient[dict[str, Any]](stage.sealwire_uri) as application,
        MongoClient[dict[str, Any]](stage.proxy.uri(stage.administrator, RESTORED)) as restored,
    ):
        before, after = find_patient(application, patient), find_patient(restored, patient)
    same = before is not None and before == after and before["nhs_number"] == patient["nhs_number"]
    documents = sum(row["documents"] for row in report["collections"])
    return Check(claim, done.exit_code == 0 and same, f"{documents:,} documents, one patient read: the same")
