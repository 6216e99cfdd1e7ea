"""An error that ends the doctor leaves what was found before it, for programs too."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.cli import doctor as command
from sealwire.proxy.server.doctor.diagnosis import Diagnosis, good
from sealwire.proxy.server.errors import FileProblem, StartReason
from tests.cli.runs import Run


@pytest.fixture
def begins_with() -> tuple[str, ...]:
    return ("doctor",)


def test_an_error_that_no_diagnosis_holds_is_in_the_document(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ends_early(*_: object) -> Iterator[Diagnosis]:
        yield good("clock", "right")
        raise FileProblem(StartReason.FILE_MISSING, "gone", "look for it")

    monkeypatch.setattr(command, "examine", ends_early)
    monkeypatch.setattr(logging.root.manager, "disable", logging.root.manager.disable)
    document = json.loads(run("--json", "--config", tmp_path / "none.yaml").out)
    assert [check["about"] for check in document["checks"]] == ["clock"]
    assert document["errors"] == [{"reason": "file-missing", "problem": "gone", "hint": "look for it"}]
    assert (document["ok"], document["exit_code"]) == (False, 78)
