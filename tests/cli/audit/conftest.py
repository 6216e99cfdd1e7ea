"""`sealwire audit` in a folder of its own."""

from pathlib import Path

import pytest


@pytest.fixture
def begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    return ("audit",)
