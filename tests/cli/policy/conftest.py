"""A policy file."""

from pathlib import Path

import pytest

from tests.cli.policy.runs import POLICY


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy file."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def begins_with() -> tuple[str, ...]:
    return ("policy",)
