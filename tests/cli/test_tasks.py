"""What a task leaves behind when it has succeeded."""

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sealwire.cli.exit_codes import EX_CANTCREAT, exit_code
from sealwire.cli.tasks import FigureProblem, write_first_run, write_success

ENDED = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def test_the_file_is_whole_and_readable_by_everybody(tmp_path: Path) -> None:
    file = tmp_path / "backup.prom"
    before = os.umask(0o077)  # as in the units
    try:
        write_success(file, "backup", ENDED, 12.3456)
    finally:
        os.umask(before)
    text = file.read_text(encoding="utf-8")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {sample.name: sample.value for sample in samples} == {
        "sealwire_backup_last_success_timestamp_seconds": ENDED.timestamp(),
        "sealwire_backup_last_duration_seconds": 12.346,
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there_is_a_problem_with_an_exit_code(tmp_path: Path) -> None:
    with pytest.raises(FigureProblem) as problem:
        write_success(tmp_path / "missing" / "backup.prom", "backup", ENDED, 1.0)
    assert exit_code(problem.value) == EX_CANTCREAT
    assert problem.value.hint


def test_a_task_that_never_succeeded_says_since_when_it_tries(tmp_path: Path) -> None:
    file = tmp_path / "backup.prom"
    write_first_run(file, "backup", ENDED)
    first = f"sealwire_backup_first_run_timestamp_seconds {ENDED.timestamp():.3f}\n"
    assert first in file.read_text(encoding="utf-8")
    write_first_run(file, "backup", ENDED + timedelta(days=1))
    assert first in file.read_text(encoding="utf-8")
    write_success(file, "backup", ENDED, 1.0)
    assert "first_run" not in file.read_text(encoding="utf-8")
    write_first_run(file, "backup", ENDED)
    assert "first_run" not in file.read_text(encoding="utf-8")


def test_no_task_stays_undone_since_its_first_run_cannot_be_noted(tmp_path: Path) -> None:
    write_first_run(tmp_path / "missing" / "backup.prom", "backup", ENDED)
    write_first_run(None, "backup", ENDED)
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_where_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backup.prom"
    write_success(file, "backup", ENDED, 1.0)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fchmod", refuse)
    with pytest.raises(FigureProblem):
        write_success(file, "backup", ENDED, 2.0)
    assert "_seconds 1.000" in file.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [file]
