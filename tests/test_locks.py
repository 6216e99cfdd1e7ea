"""The locks pin and hash everything, agree with each other, and go stale when pyproject.toml moves on.

A vulnerable package fails their audit. A service that gives no answer is never taken for a pass.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from tools import audit_dependencies as audit
from tools import lock


def pins(name: str) -> dict[str, set[str]]:
    """Project -> the versions a lock pins (more than one where they differ by Python version)."""
    found: dict[str, set[str]] = {}
    for project, version in re.findall(
        r"^([\w.-]+)==([^\s;\\]+)", lock.lock_path(name).read_text(), re.MULTILINE
    ):
        found.setdefault(project, set()).add(version)
    return found


@pytest.fixture
def copied_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with pyproject.toml and the locks that tools.lock looks at instead of the repository."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "pyproject.toml").write_bytes((lock.ROOT / "pyproject.toml").read_bytes())
    for name in lock.LOCKS:
        (tmp_path / "requirements" / f"{name}.txt").write_bytes(lock.lock_path(name).read_bytes())
    monkeypatch.setattr(lock, "ROOT", tmp_path)
    return tmp_path


def test_every_lock_is_in_step_with_the_project() -> None:
    assert lock.stale_locks() == []


@pytest.mark.parametrize("name", lock.LOCKS)
def test_every_pin_of_a_lock_has_a_hash_and_no_line_has_an_address(name: str) -> None:
    text = lock.lock_path(name).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[\w.-]+==)", text)[1:]
    assert len(blocks) == sum(map(len, pins(name).values()))
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert not re.search(r"^(-i|--index-url|--extra-index-url|--find-links)", text, re.MULTILINE)


def test_the_image_runs_the_versions_that_were_tested() -> None:
    tested = pins("dev")
    assert pins("runtime").items() <= pins("image").items() <= pins("image-full").items() <= tested.items()
    assert pins("build").items() <= tested.items()


def test_the_image_has_compression_and_traces_and_the_full_one_every_provider_of_keys() -> None:
    assert {"cramjam", "backports-zstd", "opentelemetry-sdk"} <= set(pins("image"))
    others = {"boto3", "azure-keyvault-keys", "google-auth", "python-pkcs11"}
    assert not others & set(pins("image"))
    assert others <= set(pins("image-full"))


def test_a_changed_dependency_makes_every_lock_stale(copied_project: Path) -> None:
    project = copied_project / "pyproject.toml"
    project.write_text(project.read_text().replace('"click>=8.1,<9"', '"click>=8.2,<9"'))
    assert lock.stale_locks() == list(lock.LOCKS)


def test_a_changed_description_makes_no_lock_stale(copied_project: Path) -> None:
    project = copied_project / "pyproject.toml"
    project.write_text(
        re.sub(r'^description = ".*"$', 'description = "x"', project.read_text(), flags=re.MULTILINE)
    )
    assert lock.stale_locks() == []


def test_a_missing_lock_is_stale(copied_project: Path) -> None:
    (copied_project / "requirements" / "runtime.txt").unlink()
    assert lock.stale_locks() == ["runtime"]


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
def short_lock(tmp_path: Path) -> Path:
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


def test_a_finding_fails_the_audit(short_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, {"dependencies": [CLEAN]}, {"dependencies": [CLEAN, VULNERABLE]})
    lines, code = audit.verdict(audit.audit_lock(short_lock), require_answer=False)
    assert code == 1
    assert "pyyaml 5.3: PYSEC-2021-142" in lines[0]


def test_a_clean_answer_for_everything_passes(short_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_with(monkeypatch, {"dependencies": [CLEAN]}, {"dependencies": [CLEAN, CLEAN]})
    lines, code = audit.verdict(audit.audit_lock(short_lock), require_answer=True)
    assert code == 0
    assert asked[1] == LOCK
    assert "could not be checked" not in "".join(lines)


@pytest.mark.parametrize("probe", [None, {"dependencies": [SKIPPED]}])
def test_no_service_is_said_and_fails_only_where_an_answer_is_required(
    probe: dict[str, Any] | None, short_lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer_with(monkeypatch, probe)
    result = audit.audit_lock(short_lock)
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
