"""Tests for the checks of sealwire.sidecars.compliance: what fails, and what nobody can look at."""

import http.client
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.audit.files import LogPlace
from sealwire.audit.log import AuditLog, LogPace
from sealwire.audit.signing import make_key
from sealwire.cli.groups import compliance as command
from sealwire.cli.pages import page_html
from sealwire.keys.keyring.file import create_keyring
from sealwire.sidecars.compliance import in_settings, on_machine
from sealwire.sidecars.compliance.commands import page_of
from sealwire.sidecars.compliance.deployment import (
    Deployment,
    Look,
    RunningProxies,
    RunningProxy,
    ask_proxies,
    looked,
    read_compliance,
)
from sealwire.sidecars.compliance.in_settings import key_provider, running_policy
from sealwire.sidecars.compliance.requirements import (
    REQUIREMENTS,
    Attestation,
    ComplianceCheck,
    ComplianceFinding,
    ComplianceOutcome,
    ComplianceReport,
    Duty,
    ReportChange,
    make_report,
)
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

    def made(config: str = "", policy: str = "", more: str = "", base: str = CONFIG) -> Deployment:
        (tmp_path / "sealwire.yaml").write_text(base + config)
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
        (in_settings.key_provider, "the key-encryption key is in an environment variable"),
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


def test_a_policy_that_is_only_observed_fails_first(deploy: Deploy) -> None:
    assert in_settings.protection(deploy()).outcome is ComplianceOutcome.PASS
    deployment = deploy(policy=ROLES + "mode: observe\n")
    assert "clinic.patients" in failed(in_settings.protection(deployment))
    assert "no role counts" in failed(in_settings.roles(deployment))
    assert REQUIREMENTS[0].checks[0] is next(iter(ComplianceCheck)) is ComplianceCheck.PROTECTION


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
        (ComplianceCheck.FIELDS, on_machine.fields),
        (ComplianceCheck.MINIMISATION, on_machine.minimisation),
        (ComplianceCheck.AUDIT_CHAIN, in_settings.audit_chain),
        (ComplianceCheck.AUDIT_COMMANDS, in_settings.audit_commands),
        (ComplianceCheck.PSEUDONYMS, in_settings.pseudonyms),
        (ComplianceCheck.DETECTION, in_settings.detection),
    ],
)
def test_what_is_not_set_up_says_what_to_add(deploy: Deploy, check: ComplianceCheck, look: Look) -> None:
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


CERTIFIED = "roles: {all: {%s, classes: {nhs: {read: clear}}}}\n"


@pytest.mark.parametrize(
    ("policy", "passes"),
    [
        (OPEN_ROLE % ("*", "", "'*'", "clear"), False),
        (OPEN_ROLE % ("clinic", "", "nhs", "clear"), False),
        (OPEN_ROLE % ("*", "purposes: [care],", "nhs", "clear"), False),
        (OPEN_ROLE % ("*", "require_certificate: true,", "nhs", "clear"), False),
        (OPEN_ROLE % ("*", "certificates: [CN=w], require_certificate: true,", "nhs", "clear"), True),
        (OPEN_ROLE % ("*", "break_glass: true,", "nhs", "clear"), True),
        (OPEN_ROLE % ("*", "", "nhs", "ciphertext"), True),
        (CERTIFIED % 'certificates: ["*"]', False),
        (CERTIFIED % 'certificates: ["*"], require_certificate: true', False),
        (CERTIFIED % 'users: ["w@a"], certificates: ["*"]', False),
        (CERTIFIED % 'users: ["*@a"], certificates: ["CN=w"]', False),
        (CERTIFIED % 'users: ["w@a"], certificates: ["*"], require_certificate: true', True),
        (CERTIFIED % 'certificates: ["CN=w"]', True),
    ],
)
def test_a_role_for_everybody_that_shows_every_class_fails(deploy: Deploy, policy: str, passes: bool) -> None:
    """Also one for every certificate."""
    outcome = ComplianceOutcome.PASS if passes else ComplianceOutcome.FAIL
    assert in_settings.roles(deploy(policy=policy)).outcome is outcome


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


@pytest.mark.parametrize("look", [in_settings.audit_commands, in_settings.pseudonyms])
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
    assert in_settings.audit_commands(deploy(AUDITED)).outcome is ComplianceOutcome.PARTLY


@pytest.mark.parametrize(
    ("look", "more"),
    [
        (on_machine.fields, "server: {uri_file: nowhere}\n"),
        (on_machine.logs, "logs: [nowhere.log]\n"),
        (on_machine.backups, "backups: {store: nowhere}\n"),
        (in_settings.detection, "watch: nowhere.yaml\n"),
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


def test_only_the_scope_of_protected_commands_or_more_passes(deploy: Deploy, tmp_path: Path) -> None:
    record(tmp_path / "a", {"event": "command"})
    for scope, outcome in (
        ("all", ComplianceOutcome.PASS),
        ("protected", ComplianceOutcome.PASS),
        ("writes", ComplianceOutcome.FAIL),
    ):
        found = in_settings.audit_commands(deploy(f"audit: {{path: a, commands: {scope}}}\n"))
        assert found.outcome is outcome


def test_persons_have_to_be_told_and_to_be_pseudonyms(deploy: Deploy) -> None:
    said = failed(in_settings.pseudonyms(deploy("audit: {path: a}\n")))
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


URL = "http://127.0.0.1:9464"
POLICY_HASH = sha256(POLICY.encode()).hexdigest()[:12]
IN_AWS = CONFIG.replace("environment", "aws, name: x")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What is answered at /readyz, by host and port. Nobody answers at others."""
    answers: dict[str, bytes] = {}

    class Connection:
        def __init__(self, host: str, port: int, **_: Any) -> None:
            self._place = f"{host}:{port}"

        def request(self, method: str, path: str) -> None:
            assert (method, path) == ("GET", "/readyz")
            if self._place not in answers:
                raise ConnectionRefusedError

        def getresponse(self) -> io.BytesIO:
            return io.BytesIO(answers[self._place])

        def close(self) -> None:
            pass

    monkeypatch.setattr(http.client, "HTTPConnection", Connection)
    return answers


ASKED = f"proxies: {{admin: [{URL}]}}\n"


def ready(policy: str = POLICY_HASH, provider: str = "aws") -> bytes:
    return json.dumps({"status": "ready", "policy": policy, "provider": provider}).encode()


def test_without_an_address_nothing_was_looked_at(deploy: Deploy) -> None:
    for look in (running_policy, key_provider):
        found = look(deploy(base=IN_AWS))
        assert found.outcome is ComplianceOutcome.NOT_LOOKED_AT
        assert found.hint


def test_proxies_that_run_with_what_the_files_say_pass(deploy: Deploy, said: dict[str, bytes]) -> None:
    said["127.0.0.1:9464"] = ready()
    deployment = deploy(base=IN_AWS, more=ASKED)
    assert running_policy(deployment).outcome is ComplianceOutcome.PASS
    said.clear()  # each proxy is asked once for all checks
    assert key_provider(deployment).outcome is ComplianceOutcome.PASS


def test_a_proxy_that_only_observes_fails(deploy: Deploy, said: dict[str, bytes]) -> None:
    said["127.0.0.1:9464"] = json.dumps(json.loads(ready()) | {"mode": "observe"}).encode()
    assert failed(in_settings.protection(deploy(base=IN_AWS, more=ASKED))) == f"{URL} only observes"


def test_another_policy_than_the_file_s_fails(deploy: Deploy, said: dict[str, bytes]) -> None:
    said |= {"127.0.0.1:9464": ready(), "127.0.0.1:9465": ready("mixed")}
    other = "http://127.0.0.1:9465"
    found = running_policy(deploy(base=IN_AWS, more=f"proxies: {{admin: [{URL}, {other}]}}\n"))
    assert found.outcome is ComplianceOutcome.FAIL
    assert found.evidence[0] == f"{other}: policy mixed, and the file is {POLICY_HASH}"


@pytest.mark.parametrize("provider", ["env", "file"])
def test_another_provider_than_the_files_fails(deploy: Deploy, said: dict[str, bytes], provider: str) -> None:
    said["127.0.0.1:9464"] = ready(provider=provider)
    assert key_provider(deploy(base=IN_AWS, more=ASKED)).outcome is ComplianceOutcome.FAIL


def test_a_key_in_the_environment_fails_by_the_file_alone(deploy: Deploy) -> None:
    assert key_provider(deploy()).outcome is ComplianceOutcome.FAIL


@pytest.mark.parametrize("answer", [None, b"", b"[]", b"no JSON", b'{"status": "ready"}', b"[" * 200_000])
def test_a_proxy_that_does_not_say_fails_both(
    deploy: Deploy, said: dict[str, bytes], answer: bytes | None
) -> None:
    said |= {} if answer is None else {"127.0.0.1:9464": answer}
    deployment = deploy(base=IN_AWS, more=ASKED)
    for look in (running_policy, key_provider):
        assert look(deployment).outcome is ComplianceOutcome.FAIL


def test_https_asks_with_the_settings_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []

    class Secure:
        def __init__(self, host: str, port: int, *, timeout: float, context: object) -> None:
            used.append((host, port, context))

        def request(self, method: str, path: str) -> None:
            raise OSError

        def close(self) -> None:
            pass

    monkeypatch.setattr(http.client, "HTTPSConnection", Secure)
    monkeypatch.setattr("sealwire.sidecars.compliance.deployment.pinned_context", lambda path: path)
    url = "https://[::1]:9464"
    found = ask_proxies(RunningProxies((url,), tmp_path / "admin.crt"))
    assert found == [RunningProxy(url, problem="no answer that a proxy gives")]
    assert used == [("::1", 9464, tmp_path / "admin.crt")]


LOOKED_AT = (ComplianceCheck.KEYS, ComplianceCheck.KEY_PROVIDER)


@pytest.fixture
def folder(tmp_path: Path, deploy: Deploy) -> Path:
    """A deployment of which only the keys are looked at, and the key that signs reports."""
    deploy()
    left_out = [check.value for check in ComplianceCheck if check not in LOOKED_AT]
    settings = {"version": 1, "name": "clinic.example", "proxy": "sealwire.yaml"}
    said = f"{{reason: a test, date: {datetime.now(UTC).date().isoformat()}, by: the test}}"
    exempt = ", ".join(f"{name}: {said}" for name in left_out)  # quoted dates are texts
    text = json.dumps(settings).removesuffix("}")
    (tmp_path / "compliance.yaml").write_text(f'{text}, "not_applicable": {{{exempt}}}}}')
    key = make_key("clinic.example", bytes(32))
    for name, content in (("audit.key", key.written()), ("audit.key.pub", f"{key.verification}\n".encode())):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def run(folder: Path, *words: str) -> Result:
    found = [str(folder / word) if (folder / word).exists() or "." in word else word for word in words]
    return CliRunner().invoke(command, found)


def test_a_failing_row_is_shown_with_evidence_and_next_step(folder: Path) -> None:
    done = run(folder, "report", "compliance.yaml")
    assert done.exit_code == 1
    assert done.output.splitlines()[0].startswith("verdict: fails (")
    assert "key-provider: fail: the key-encryption key is in an environment variable" in done.output
    assert "next: sealwire keys rewrap" in done.output
    assert "nobody has attested it" in done.output


def test_a_report_is_signed_and_an_earlier_one_compared(folder: Path) -> None:
    written = ("--key", "audit.key", "--output", "first.json", "--html", "first.html")
    assert run(folder, "report", "compliance.yaml", *written).exit_code == 1
    assert "clinic.example" in (folder / "first.html").read_text()
    shown = run(folder, "verify", "first.json", "--key", "audit.key.pub")
    assert shown.exit_code == 0
    assert shown.output.startswith("verdict: fails (")
    assert "clinic.example, made" in shown.output
    (folder / "sealwire.yaml").write_text(CONFIG.replace("environment", "aws, name: x"))
    compared = ("report", "compliance.yaml", "--key", "audit.key", "--baseline", "first.json")
    document = json.loads(run(folder, *compared, "--json").stdout)
    assert ["key-provider", "fail", "not looked at"] in document["changed"]
    assert len(document["rows"]) == len(REQUIREMENTS)
    assert "changed: key-provider was fail, is not looked at" in run(folder, *compared).output


@pytest.mark.parametrize("words", [("--output", "x.json"), ("--baseline", "compliance.yaml")])
def test_what_is_signed_needs_a_key(folder: Path, words: tuple[str, str]) -> None:
    assert run(folder, "report", "compliance.yaml", *words).exit_code == 2


def test_a_report_that_was_edited_is_not_believed(folder: Path) -> None:
    run(folder, "report", "compliance.yaml", "--key", "audit.key", "--output", "first.json")
    signed = folder / "first.json"
    signed.write_text(signed.read_text().replace('"fail"', '"pass"'))
    for words in (
        ("verify", "first.json", "--key", "audit.key.pub"),
        ("report", "compliance.yaml", "--key", "audit.key", "--baseline", "first.json"),
    ):
        error = run(folder, *words).exception
        assert isinstance(error, AuditFileProblem)
        assert error.reason is AuditReason.NOT_SIGNED


NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def report(failing: ComplianceCheck | None = None) -> ComplianceReport:
    found = {
        check: ComplianceFinding(
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
