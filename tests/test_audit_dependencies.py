"""A vulnerable package fails the audit; a service that gives no answer is never taken for a pass."""

from pathlib import Path
from typing import Any

import pytest

from tools import audit_dependencies as audit

CLEAN: dict[str, Any] = {"name": "click", "version": "8.1.8", "vulns": []}
SKIPPED: dict[str, Any] = {"name": "rich", "skip_reason": "not found"}
VULNERABLE: dict[str, Any] = {
    "name": "pyyaml",
    "version": "5.3",
    "vulns": [{"id": "PYSEC-2021-142", "fix_versions": ["5.4"]}],
}
FIRST = "click==8.1.8 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
LOCK = f"# comment\n{FIRST}    # via x\nrich==13.0 \\\n    --hash=sha256:cc\n"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    path.write_text(LOCK, encoding="utf-8")
    return path


def answer_with(monkeypatch: pytest.MonkeyPatch, *reports: dict[str, Any] | None) -> list[str]:
    """Let each call of pip-audit give the next report; returns the texts it was asked about."""
    asked: list[str] = []
    answers = iter(reports)

    def run(path: Path) -> dict[str, Any] | None:
        asked.append(path.read_text(encoding="utf-8"))
        return next(answers)

    monkeypatch.setattr(audit, "run_pip_audit", run)
    return asked


def test_the_first_requirement_comes_with_all_of_its_hashes() -> None:
    assert audit.first_requirement(LOCK) == FIRST


def test_a_finding_fails_the_audit(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, {"dependencies": [CLEAN]}, {"dependencies": [CLEAN, VULNERABLE]})
    lines, code = audit.verdict(audit.audit_lock(lock), require_answer=False)
    assert code == 1
    assert "pyyaml 5.3: PYSEC-2021-142" in lines[0]


def test_a_clean_answer_for_everything_passes(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_with(monkeypatch, {"dependencies": [CLEAN]}, {"dependencies": [CLEAN, CLEAN]})
    lines, code = audit.verdict(audit.audit_lock(lock), require_answer=True)
    assert code == 0
    assert asked[1] == LOCK
    assert "could not be checked" not in "".join(lines)


@pytest.mark.parametrize("probe", [None, {"dependencies": [SKIPPED]}])
def test_no_service_is_said_and_fails_only_where_an_answer_is_required(
    probe: dict[str, Any] | None, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer_with(monkeypatch, probe)
    result = audit.audit_lock(lock)
    assert len(asked) == 1
    lines, code = audit.verdict(result, require_answer=False)
    assert code == 0
    assert "could not be checked" in lines[0]
    assert audit.verdict(result, require_answer=True)[1] == 2


def test_a_finding_counts_even_where_other_packages_are_unknown() -> None:
    result = audit.read_report({"dependencies": [SKIPPED, VULNERABLE]})
    assert result.unchecked == ("rich",)
    lines, code = audit.verdict(result, require_answer=False)
    assert code == 1
    assert any("could not be checked" in line for line in lines)
