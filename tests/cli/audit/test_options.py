"""What the readers of an audit log share."""

from pathlib import Path

import pytest

from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.cli.audit.options import existing_files
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
