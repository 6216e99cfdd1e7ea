"""A watched log, and the commands about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.runs import Outcome, Run
from tests.sidecars.detection.logs import append, line, source


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the rules for a log of a clerk who has read far too much."""
    path = tmp_path / "alerts.yaml"
    path.write_bytes(source(tmp_path))
    shown: dict[str, Any] = {"read": {"nhs_number": 1200}, "documents": 1200, "namespace": "clinic.patients"}
    people = [f"{number:032x}" for number in range(100)]
    append(tmp_path, [line(0, "login"), line(1, subjects=people, **shown), line(2, "refused", reason="role")])
    monkeypatch.setenv("SEALWIRE_WATCH_CONFIG", str(path))
    return path


@pytest.fixture
def watched(config: Path, run: Run) -> Callable[[], Outcome]:
    """Has the log read to its end."""
    return lambda: run("watch", config, "--once")
