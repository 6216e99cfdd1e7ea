"""The command line in this process, as its user sees it; a room says what its `run` begins with."""

import io
import sys
from pathlib import Path

import pytest

from sealwire.cli import main
from tests.cli.runs import Outcome, Run
from tests.keys.samples import PASSPHRASE


@pytest.fixture
def begins_with() -> tuple[str, ...]:
    """The words of the command line before those that a test gives to `run`."""
    return ()


@pytest.fixture
def run(
    begins_with: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs `sealwire` with these words."""

    def run(*arguments: object, stdin: str | None = None) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sealwire", *begins_with, *map(str, arguments)])
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        assert "Traceback" not in captured.err
        return Outcome(caught.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(PASSPHRASE + "\n")
    return path
