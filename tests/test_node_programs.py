"""A machine without mongosh skips its tests with a reason, unless it is the one that must run them."""

import subprocess
from pathlib import Path

import pytest

from tests import node_programs


@pytest.fixture
def without_mongosh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_programs, "MONGOSH", tmp_path / "mongosh")
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/node")


@pytest.mark.usefixtures("without_mongosh")
def test_a_test_without_mongosh_is_skipped_on_a_workstation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        node_programs.require_mongosh()


@pytest.mark.usefixtures("without_mongosh")
def test_a_test_without_mongosh_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        node_programs.require_mongosh()


@pytest.mark.integration
def test_the_pinned_mongosh_runs() -> None:
    mongosh = node_programs.require_mongosh()
    done = subprocess.run([mongosh, "--version"], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().count(".") == 2
