"""Tests for sealwire.cli.compliance.report and verify: what is asked, written and answered."""

import json
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.audit.signing import make_key
from sealwire.cli.compliance import command
from sealwire.cli.compliance.report import page_of
from sealwire.cli.html.page import page_html
from sealwire.keys.keyring.file import create_keyring
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.compliance.report import Attestation, ComplianceReport, ReportChange, make_report
from sealwire.sidecars.compliance.requirements import REQUIREMENTS, Duty
from tests.cli.compliance.test_checks import CONFIG, POLICY
from tests.keys.samples import local_kek

LOOKED_AT = (ComplianceCheck.KEYS, ComplianceCheck.KEY_PROVIDER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A deployment of which only the keys are looked at, and the key that signs reports."""
    (tmp_path / "sealwire.yaml").write_text(CONFIG)
    (tmp_path / "policy.yaml").write_text(POLICY)
    create_keyring(tmp_path / "keyring.json", local_kek(), ["nhs"], datetime.now(UTC))
    left_out = [check.value for check in ComplianceCheck if check not in LOOKED_AT]
    settings = {
        "version": 1,
        "name": "clinic.example",
        "proxy": "sealwire.yaml",
    }
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
            check,
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
