"""The command line in this process, as its user sees it; a room says what its `run` begins with."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.cli import main
from sealwire.keys.kek.passphrase import DEFAULT_SCRYPT
from tests.cli.runs import Outcome, Run
from tests.keys.samples import CHEAP_SCRYPT, PASSPHRASE


@pytest.fixture(autouse=True)
def cheap_passphrases() -> Iterator[None]:
    """A command makes and opens what a passphrase protects in a millisecond; tests/keys has the real cost."""
    usual = DEFAULT_SCRYPT.n
    object.__setattr__(DEFAULT_SCRYPT, "n", CHEAP_SCRYPT.n)
    yield
    object.__setattr__(DEFAULT_SCRYPT, "n", usual)


@pytest.fixture
def begins_with(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The words of the command line before those that a test gives to `run`: its module's BEGINS_WITH."""
    words: tuple[str, ...] = getattr(request.module, "BEGINS_WITH", ())
    return words


@pytest.fixture
def run(
    begins_with: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs `sealwire` with these words, which has to end with `code`, if one is given."""

    def run(*arguments: object, stdin: str | None = None, code: int | None = None) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sealwire", *begins_with, *map(str, arguments)])
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        assert "Traceback" not in captured.err
        outcome = Outcome(caught.value.code, captured.out, captured.err)
        assert code in (None, outcome.code), outcome
        return outcome

    return run


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(PASSPHRASE + "\n")
    return path
