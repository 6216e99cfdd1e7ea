"""Tests for the checks of sealwire.cli.compliance: what fails, and what nobody can look at."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.audit.files import LogPlace
from sealwire.audit.log import AuditLog, LogPace
from sealwire.cli.compliance import in_audit, in_settings, on_machine, on_proxies, on_server
from sealwire.cli.compliance.deployment import Deployment, Look, looked
from sealwire.keys.keyring.file import create_keyring
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.compliance.settings import read_compliance
from tests.keys.samples import local_kek

NHS = "9434765919"
CONFIG = """
listen: {address: "127.0.0.1:27018", tls: {mode: plaintext}}
upstream: {address: "127.0.0.1:27017", tls: {mode: plaintext}, access_control: none}
policy: policy.yaml
keyring: keyring.json
kek: {provider: environment}
"""
POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""
ROLES = """
roles:
  ward: {users: ["w@a"], purposes: [care], classes: {nhs: {read: clear}}}
  desk: {users: ["d@a"], classes: {nhs: {read: clear}}}
"""

Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    """Writes the files of a deployment, in which nothing is as it should be."""

    def made(config: str = "", policy: str = "", more: str = "") -> Deployment:
        (tmp_path / "sealwire.yaml").write_text(CONFIG + config)
        (tmp_path / "policy.yaml").write_text(POLICY + policy)
        if not (tmp_path / "keyring.json").exists():
            create_keyring(tmp_path / "keyring.json", local_kek(), ["nhs"], datetime.now(UTC))
        text = f"version: 1\nname: clinic\nproxy: sealwire.yaml\n{more}"
        return Deployment(read_compliance(text.encode(), tmp_path / "compliance.yaml"), {})

    return made


def failed(found: ComplianceFinding) -> str:
    assert found.outcome is ComplianceOutcome.FAIL
    assert found.hint
    return "; ".join(found.evidence)


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (in_settings.proxy_tls, "listen.tls.mode is plaintext; upstream.tls.mode is plaintext"),
        (in_settings.server_login, "upstream.access_control is none"),
        (on_proxies.key_provider, "the key-encryption key is in an environment variable"),
        (in_settings.roles, "the policy has no section `roles`"),
        (in_settings.purposes, "the policy has no section `roles`"),
        (in_settings.erasure, "the policy has no section `subjects`"),
    ],
)
def test_settings_that_are_not_enough_fail(deploy: Deploy, look: Look, said: str) -> None:
    assert failed(look(deploy())) == said


def test_settings_that_are_enough_pass(deploy: Deploy) -> None:
    subjects = "subjects: {class: nhs}\n"
    for look in (in_settings.keys, in_settings.roles, in_settings.erasure):
        assert look(deploy(policy=subjects + ROLES)).outcome is ComplianceOutcome.PASS


def test_a_role_without_a_purpose_is_named(deploy: Deploy) -> None:
    said = failed(in_settings.purposes(deploy(policy=ROLES)))
    assert said == "role desk asks for no purpose; role ward: care"


def test_a_class_without_a_key_is_overdue(deploy: Deploy) -> None:
    deployment = deploy()
    policy = deployment.settings.proxy.with_name("policy.yaml")
    policy.write_text(POLICY.replace("classes: {", "classes: {mrn: {mode: random}, "))
    assert "sealwire keys create mrn" in failed(in_settings.keys(deployment))


@pytest.mark.parametrize(
    ("check", "look"),
    [
        (ComplianceCheck.AT_REST, on_machine.at_rest),
        (ComplianceCheck.IN_TRANSIT, on_machine.in_transit),
        (ComplianceCheck.BACKUPS, on_machine.backups),
        (ComplianceCheck.RESTORE, on_machine.restore),
        (ComplianceCheck.LOGS, on_machine.logs),
        (ComplianceCheck.FIELDS, on_server.fields),
        (ComplianceCheck.MINIMISATION, on_server.minimisation),
        (ComplianceCheck.AUDIT_CHAIN, in_audit.audit_chain),
        (ComplianceCheck.AUDIT_COMMANDS, in_audit.audit_commands),
        (ComplianceCheck.PSEUDONYMS, in_audit.pseudonyms),
        (ComplianceCheck.DETECTION, in_audit.detection),
    ],
)
def test_what_is_not_set_up_has_failed_and_says_what_to_add(
    deploy: Deploy, check: ComplianceCheck, look: Look
) -> None:
    found = looked(check, look, deploy())
    assert found.evidence == ("nothing says where to look",)
    assert "docs/operations/compliance.md" in found.hint
    assert found.outcome is ComplianceOutcome.FAIL


def test_what_does_not_apply_is_not_looked_at(deploy: Deploy) -> None:
    def never(_deployment: Deployment) -> ComplianceFinding:
        raise AssertionError

    today = datetime.now(UTC).date().isoformat()
    found = looked(ComplianceCheck.AT_REST, never, deploy(more=exempt(today)))
    said = f"contract 7 (said on {today} by the IAO)"
    assert (found.outcome, found.evidence) == (ComplianceOutcome.NOT_APPLICABLE, (said,))


@pytest.mark.parametrize("days", [-367, 2])
def test_a_word_that_is_old_or_of_a_later_day_exempts_nothing(deploy: Deploy, days: int) -> None:
    on = (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
    found = looked(ComplianceCheck.AT_REST, on_machine.at_rest, deploy(more=exempt(on)))
    assert found.outcome is ComplianceOutcome.FAIL
    assert on in found.evidence[0]


def exempt(on: str) -> str:
    return f"not_applicable: {{at-rest: {{reason: contract 7, date: {on}, by: the IAO}}}}\n"


OPEN_ROLE = 'roles: {all: {users: ["*@%s"], %s classes: {%s: {read: %s, filter: true, write: true}}}}\n'


@pytest.mark.parametrize(
    ("role", "outcome"),
    [
        (("*", "", "'*'", "clear"), ComplianceOutcome.FAIL),
        (("clinic", "", "nhs", "clear"), ComplianceOutcome.FAIL),
        (("*", "purposes: [care],", "nhs", "clear"), ComplianceOutcome.FAIL),
        (("*", "require_certificate: true,", "nhs", "clear"), ComplianceOutcome.FAIL),
        (("*", "certificates: [CN=w], require_certificate: true,", "nhs", "clear"), ComplianceOutcome.PASS),
        (("*", "break_glass: true,", "nhs", "clear"), ComplianceOutcome.PASS),
        (("*", "", "nhs", "ciphertext"), ComplianceOutcome.PASS),
    ],
)
def test_a_role_for_everybody_that_shows_every_class_fails(
    deploy: Deploy, role: tuple[str, ...], outcome: ComplianceOutcome
) -> None:
    assert in_settings.roles(deploy(policy=OPEN_ROLE % role)).outcome is outcome


def test_a_role_for_everybody_that_shows_some_classes_is_named(deploy: Deploy) -> None:
    deployment = deploy(policy=OPEN_ROLE % ("*", "", "nhs", "clear"))
    policy = deployment.settings.proxy.with_name("policy.yaml")
    policy.write_text(policy.read_text().replace("classes: {nhs", "classes: {mrn: {mode: random}, nhs", 1))
    found = in_settings.roles(deployment)
    assert found.outcome is ComplianceOutcome.PARTLY
    assert found.evidence[0] == "every user sees nhs in clear: all"


AUDITED = "audit: {path: audit.jsonl}\n"


def record(path: Path, *lines: dict[str, Any]) -> None:
    """Append lines as a proxy does."""
    log = AuditLog(LogPlace(path), None, LogPace())
    log.append(list(lines))
    log.close()


@pytest.mark.parametrize("look", [in_audit.audit_commands, in_audit.pseudonyms])
def test_a_log_in_which_nothing_is_on_record_fails(deploy: Deploy, tmp_path: Path, look: Look) -> None:
    (tmp_path / "subjects.key").touch(mode=0o600)
    (tmp_path / "subjects.key").write_text("00" * 32)
    config = "audit: {path: audit.jsonl, subjects_key: subjects.key}\n"
    deployment = deploy(config, policy="subjects: {class: nhs}\n")
    (tmp_path / "audit.jsonl").touch()
    assert "the audit log is empty" in failed(look(deployment))
    record(tmp_path / "audit.jsonl", {"event": "command"})
    assert look(deployment).outcome is ComplianceOutcome.PASS


def test_a_log_without_a_command_shows_not_that_they_are_recorded(deploy: Deploy, tmp_path: Path) -> None:
    record(tmp_path / "audit.jsonl", {"event": "started"})
    assert in_audit.audit_commands(deploy(AUDITED)).outcome is ComplianceOutcome.PARTLY


@pytest.mark.parametrize(
    ("look", "more"),
    [
        (on_server.fields, "server: {uri_file: nowhere}\n"),
        (on_machine.logs, "logs: [nowhere.log]\n"),
        (on_machine.backups, "backups: {store: nowhere}\n"),
        (in_audit.detection, "watch: nowhere.yaml\n"),
    ],
)
def test_what_cannot_be_read_has_failed(deploy: Deploy, look: Look, more: str) -> None:
    found = looked(ComplianceCheck.FIELDS, look, deploy(more=more))
    assert found.outcome is ComplianceOutcome.FAIL
    assert found.evidence[0].startswith("could not look")


def test_an_error_of_the_program_itself_is_raised(deploy: Deploy) -> None:
    def broken(_deployment: Deployment) -> ComplianceFinding:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        looked(ComplianceCheck.AT_REST, broken, deploy())


def test_a_target_that_does_not_answer_fails(deploy: Deploy) -> None:
    found = on_machine.in_transit(deploy(more='tls: {targets: ["127.0.0.1:1"]}\n'))
    assert failed(found).startswith("127.0.0.1:1: ")


def test_a_directory_on_a_plain_disk_fails(deploy: Deploy, tmp_path: Path) -> None:
    more = f"at_rest: {{directory: {tmp_path}, service: no-such.service}}\n"
    said = failed(on_machine.at_rest(deploy(more=more)))
    assert f"{tmp_path} does not lie on dm-crypt" in said
    assert "no-such.service does not run" in said


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [json.dumps({"msg": "read", "patient": NHS})] * 3,
            "p.log: patient looks like NHS number; p.log: 3 lines",
        ),
        ([f"2026-11-27 read {NHS} for ann@clinic.example"] * 3, "NHS number"),
        ([f"2026-11-27 read {NHS} for ann@clinic.example"] * 3, "e-mail address"),
    ],
)
def test_personal_data_in_a_log_is_found(deploy: Deploy, tmp_path: Path, lines: list[str], said: str) -> None:
    (tmp_path / "p.log").write_text("\n".join(lines))
    shown = failed(on_machine.logs(deploy(more="logs: [p.log]\n")))
    assert said in shown
    assert NHS not in shown


def test_a_log_of_names_counts_and_times_passes(deploy: Deploy, tmp_path: Path) -> None:
    epoch = 1_764_230_000
    lines: list[Any] = [{"ts": epoch + n, "client": "10.0.0.7", "user": "a@b.example"} for n in range(40)]
    (tmp_path / "p.log").write_text("\n".join(map(json.dumps, lines)))
    assert on_machine.logs(deploy(more="logs: [p.log]\n")).outcome is ComplianceOutcome.PASS


@pytest.mark.parametrize(("age", "outcome"), [(10, ComplianceOutcome.PASS), (40, ComplianceOutcome.FAIL)])
def test_a_drill_that_is_on_record_counts_for_a_time(
    deploy: Deploy, tmp_path: Path, age: int, outcome: ComplianceOutcome
) -> None:
    ended: dict[str, Any] = {"event": "command-ended", "command": "backup restore"}
    when = (datetime.now(UTC) - timedelta(days=age)).isoformat()
    record(
        tmp_path / "audit.jsonl",
        {**ended, "options": ["--drill"], "exit": 65, "time": datetime.now(UTC).isoformat()},
        {**ended, "options": ["--only"], "exit": 0, "time": datetime.now(UTC).isoformat()},
        # what somebody edited has no moment, and is no drill
        {**ended, "options": ["--drill"], "exit": 0, "time": "tomorrow"},
        {**ended, "options": ["--drill"], "exit": 0, "time": "2999-01-01T00:00:00"},
        {**ended, "options": ["--drill", "--key"], "exit": 0, "time": when},
    )
    deployment = deploy("audit: {path: audit.jsonl}\n", more="backups: {store: x, drill_days: 31}\n")
    found = on_machine.restore(deployment)
    assert found.outcome is outcome
    assert when[:10] in found.evidence[0]


def test_only_the_scope_of_protected_commands_or_more_is_enough(deploy: Deploy, tmp_path: Path) -> None:
    record(tmp_path / "a", {"event": "command"})
    for scope, outcome in (
        ("all", ComplianceOutcome.PASS),
        ("protected", ComplianceOutcome.PASS),
        ("writes", ComplianceOutcome.FAIL),
    ):
        found = in_audit.audit_commands(deploy(f"audit: {{path: a, commands: {scope}}}\n"))
        assert found.outcome is outcome


def test_persons_have_to_be_told_and_to_be_pseudonyms(deploy: Deploy) -> None:
    said = failed(in_audit.pseudonyms(deploy("audit: {path: a}\n")))
    assert "audit.subjects_key is not set" in said
    assert "no section `subjects`" in said


@pytest.mark.parametrize(
    ("printed", "outcome", "said"),
    [
        (
            {"dependencies": [{"name": "a", "version": "1", "vulns": []}]},
            ComplianceOutcome.PASS,
            "1 packages",
        ),
        (
            {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}]},
            ComplianceOutcome.FAIL,
            "a 1: CVE-1",
        ),
        ("nothing", ComplianceOutcome.FAIL, "could not look: no network"),
    ],
)
def test_a_known_vulnerability_fails_and_so_does_silence(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch, printed: Any, outcome: ComplianceOutcome, said: str
) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        assert command[:3] == [sys.executable, "-m", "pip_audit"]
        return subprocess.CompletedProcess(command, 1, json.dumps(printed).encode(), b"x\nno network\n")

    monkeypatch.setattr(subprocess, "run", run)
    found = on_machine.versions(deploy())
    assert found.outcome is outcome
    assert said in found.evidence[0]


def test_a_look_that_does_not_end_in_time_has_failed(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> Any:
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert "in time" in failed(on_machine.versions(deploy()))
