"""`sealwire keys` with a key-encryption key."""

import sys
from pathlib import Path

import pytest

from sealwire.cli import main
from tests.cli.runs import Outcome, Run
from tests.keys.samples import PASSPHRASE


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in `tmp_path` with a KEK in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in (
        "SEALWIRE_KEYRING",
        "SEALWIRE_KEK_PROVIDER",
        "SEALWIRE_PASSPHRASE",
        "SEALWIRE_PASSPHRASE_FILE",
    ):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sealwire", "keys", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        assert "Traceback" not in captured.err
        return Outcome(code, captured.out, captured.err)

    monkeypatch.setenv("SEALWIRE_KEK", run("create-kek").out.strip())
    return run


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(PASSPHRASE + "\n")
    return path
