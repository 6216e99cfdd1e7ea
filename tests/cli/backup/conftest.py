"""`sealwire backup` with a store and two keys."""

import base64
import sys
from pathlib import Path

import pytest

from sealwire.cli import main
from tests.cli.runs import Outcome, Run
from tests.keys.samples import KEK_A, KEK_B, PASSPHRASE


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    directory.mkdir()
    return directory


@pytest.fixture
def run(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs the command line with a store and two KEKs in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in ("SEALWIRE_BACKUP_KEYS", "SEALWIRE_BACKUP_RECIPIENTS", "SEALWIRE_PASSPHRASE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SEALWIRE_BACKUP_STORE", str(store))
    monkeypatch.setenv("OLD_KEK", base64.b64encode(KEK_A).decode())
    monkeypatch.setenv("NEW_KEK", base64.b64encode(KEK_B).decode())

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sealwire", "backup", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        assert "Traceback" not in captured.err
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(PASSPHRASE + "\n")
    return path
