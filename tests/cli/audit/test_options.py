"""What the readers of an audit log share."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.cli.audit.options import existing_files, moment_of
from tests.audit.logs import written


def test_the_files_of_a_log_that_is_there(tmp_path: Path) -> None:
    written(tmp_path, 1)
    assert existing_files(tmp_path / "audit.log") == [tmp_path / "audit.log"]


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text("not a log\n")
    for name in ("audit.log", "other.log"):
        with pytest.raises(AuditFileProblem) as caught:
            existing_files(tmp_path / name)
        assert caught.value.reason is AuditReason.FILE_MISSING
        assert name in str(caught.value)


@pytest.mark.parametrize("time", [None, "tomorrow", "2026-01-02T03:04:05", 7])
def test_a_line_that_does_not_say_when_has_no_moment(time: object) -> None:
    assert moment_of({"time": time}) is None


def test_a_line_says_when_it_was_written() -> None:
    assert moment_of({"time": "2026-01-02T03:04:05+00:00"}) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
