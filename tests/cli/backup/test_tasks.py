"""`--metrics-file`: a task that fails before it ever succeeded has left when that was."""

from pathlib import Path

import pytest

from tests.cli.runs import Run


@pytest.mark.parametrize(
    ("arguments", "task"),
    [
        (("create", "--recipient", "env:OLD_KEK"), "backup"),
        (("restore", "missing", "--drill", "--key", "env:OLD_KEK"), "restore_drill"),
    ],
    ids=["backup", "drill"],
)
def test_a_task_that_fails_has_left_since_when(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], task: str
) -> None:
    monkeypatch.delenv("SEALWIRE_SERVER_URI", raising=False)
    file = tmp_path / "task.prom"
    assert run(*arguments, "--metrics-file", file).code != 0
    assert f"sealwire_{task}_first_run_timestamp_seconds " in file.read_text(encoding="utf-8")


def test_a_look_at_what_would_be_done_is_no_run(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "task.prom"
    run("create", "--recipient", "env:OLD_KEK", "--dry-run", "--metrics-file", file)
    assert not file.exists()
