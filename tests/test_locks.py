"""The locks pin and hash everything, agree with each other, and go stale when pyproject.toml moves on."""

import re
from pathlib import Path

import pytest

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
