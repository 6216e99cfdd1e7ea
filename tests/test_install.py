"""What `make setup` shows while pip works, and that nothing is hidden when it fails."""

import pytest

from tools import install
from tools.install import Progress, Step, run_pip, step_of

FETCHED = """\
Ignoring atheris: markers 'python_version < "3.12"' don't match your environment
Collecting attrs==26.1.0 (from -r requirements/dev.txt (line 3))
  Using cached attrs-26.1.0-py3-none-any.whl (61 kB)
Collecting pyyaml==6.0.3 (from -r requirements/dev.txt (line 9))
"""
INSTALLED = FETCHED + "Installing collected packages: pyyaml, backports.zstd, attrs\n"


def test_packages_are_counted_while_pip_fetches_them() -> None:
    assert step_of("Looking in indexes: https://index.example\n", 5, 0) is None
    assert step_of(INSTALLED, 0, 0) is None
    assert step_of(FETCHED, 5, 0) == Step("fetching", 2, 4, "pyyaml")


@pytest.mark.parametrize(
    ("installed", "place", "name"),
    [(0, 1, "pyyaml"), (1, 2, "backports.zstd"), (2, 3, "attrs"), (3, 3, "attrs")],
)
def test_packages_are_counted_while_pip_installs_them(installed: int, place: int, name: str) -> None:
    assert step_of(INSTALLED, 5, installed) == Step("installing", place, 3, name)


def steps(progress: Progress) -> None:
    for what in ("fetching", "installing"):
        for done in range(1, 61):
            progress.show(Step(what, done, 60, f"package-{done}"))
            progress.show(None)
    progress.end()


def test_without_a_terminal_there_is_a_line_every_few_packages(capsys: pytest.CaptureFixture[str]) -> None:
    steps(Progress())
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in shown] == ["1", "26", "51"] * 2
    assert install.EVERY == 25


def test_on_a_terminal_one_line_is_written_anew(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "31")
    steps(Progress())
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    lines = shown.rstrip("\n").split("\r")[1:]
    assert len(lines) == 120
    assert {len(line) for line in lines} == {30}
    assert "package-60" not in lines[-1]


def test_when_pip_fails_all_that_it_said_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_pip(["--no-index", "no-such-package"], 1, Progress()) == 1
    said = capsys.readouterr()
    assert "no-such-package" in said.err
    assert "ERROR" in said.err
